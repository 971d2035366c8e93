"""The ONNX file's answers against those that were expected."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from contract.samples import GoldenSample, read_golden
from generator.checks.verify import verify
from generator.errors import StageRefused
from generator.reports import VerifyJob, VerifyReport
from tests.unit.generator.checks.graphs import SAMPLES, sample, scaling, write_version


def verified(
    root: Path,
    model: onnx.ModelProto,
    samples: tuple[GoldenSample, ...] = SAMPLES,
    **changes: Any,
) -> VerifyReport:
    job = {
        "folder": write_version(root / "version", model, samples),
        "tolerances": {"y": 1e-5},
        "top_k": {},
        "graph_level": 0,
        "triton": "24.10",
        "reference": "float64",
        "threads": 1,
        "failure": root / "failures/ranker.npz",
    }
    return verify(VerifyJob.model_validate(job | changes))


def refusal(*arguments: Any, **changes: Any) -> str:
    with pytest.raises(StageRefused) as caught:
        verified(*arguments, **changes)
    return str(caught.value)


def test_right_answers_leave_their_evidence(tmp_path: Path) -> None:
    report = verified(tmp_path, scaling(2 + 4e-6))

    (evidence,) = report.evidence.values()
    assert report.cases == 2
    assert evidence.scaled_error == pytest.approx(2e-6, rel=0.1)
    assert (evidence.limit, evidence.same_top) == (1e-5, None)
    assert not (tmp_path / "failures").exists()


def test_a_wrong_answer_is_named_with_its_case_its_place_and_both_values(tmp_path: Path) -> None:
    said = refusal(tmp_path, scaling(2.5))

    assert "answers otherwise than PyTorch in 2 of 2 cases, farthest at x [1, 3]: output y" in said
    assert "scaled error 2.50e-01 is above 1.00e-05: [0, 2] is 7.5, expected 6.0" in said


def test_the_case_that_is_farthest_off_is_the_one_that_is_kept(tmp_path: Path) -> None:
    samples = (sample([[1, 2, 3]]), sample([[4, 5, 6]], scale=3), sample([[1, 1, 1]], scale=2.1))

    said = refusal(tmp_path, scaling(2), samples)

    kept = tmp_path / "failures/ranker.npz"
    assert "in 2 of 3 cases, farthest at x [1, 3]: output y: scaled error 3.33e-01" in said
    assert f"that input and the expected answer are in {kept}" in said
    (found,) = read_golden(kept)
    assert found.inputs["x"].tolist() == [[4, 5, 6]]


def test_an_input_that_cannot_be_kept_hides_nothing(tmp_path: Path) -> None:
    (tmp_path / "failures").write_text("a file")

    said = refusal(tmp_path, scaling(2.5))

    assert "scaled error 2.50e-01" in said
    assert "that input cannot be kept in" in said


def test_a_classifier_must_have_the_same_classes_on_top(tmp_path: Path) -> None:
    """Two classes that change places, each within the limit, but farther apart than it."""
    x = np.float32([[1.275, 1.225, 3], [1, 2, 3]])
    others = GoldenSample({"x": x}, {"y": np.float32([[2, 3, -6], [2, 4, -6]])})
    x[:, 2] *= -1

    said = refusal(tmp_path, scaling(2), (others,), tolerances={"y": 0.1}, top_k={"y": 1})

    assert "output y: its top 1 are others in 50.0% of the rows" in said


def test_a_classifiers_agreement_is_kept_as_evidence(tmp_path: Path) -> None:
    assert verified(tmp_path, scaling(2), top_k={"y": 2}).evidence["y"].same_top == 1.0


def test_an_opset_that_the_release_does_not_read_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, scaling(2, opset=22))

    assert "opset 22 and IR 10 are beyond Triton 24.10" in said
    assert "build for Triton 25.03 or newer" in said


def test_a_newer_release_reads_the_same_file(tmp_path: Path) -> None:
    assert verified(tmp_path, scaling(2, opset=22), triton="25.03").cases == 2


@pytest.mark.parametrize(
    ("reference", "whose"),
    [
        ("tolerance", "PyTorch"),
        ("golden", "its golden data"),
        ("itself", "itself without optimization"),
    ],
)
def test_a_refusal_says_whose_answers_were_expected(
    tmp_path: Path, reference: str, whose: str
) -> None:
    said = refusal(tmp_path, scaling(2.5), reference=reference)

    assert f"answers otherwise than {whose} in" in said


def test_a_type_that_onnx_runtime_does_not_compute_in_is_told_from_other_faults(
    tmp_path: Path,
) -> None:
    node = onnx.helper.make_node("MatMul", ["x", "x"], ["y"])
    tensors = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.BFLOAT16, [3, 3]) for name in "xy"
    ]
    graph = onnx.helper.make_graph([node], "g", tensors[:1], tensors[1:])
    imports = [onnx.helper.make_opsetid("", 20)]
    model = onnx.helper.make_model(graph, ir_version=10, opset_imports=imports)

    said = refusal(tmp_path, model)

    assert "ONNX Runtime does not load it: " in said
    assert said.endswith("hardly any of bfloat16: compute in float32")
