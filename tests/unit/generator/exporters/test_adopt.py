"""ONNX files of others that cannot be served, and golden data that are of something else."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from generator.errors import StageRefused
from generator.exporters.adopt import adopt
from generator.reports.export import ExportJob
from tests.unit.generator.entries import entry

ROWS = ["n", 3]
Y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ROWS)
SEQUENCE = helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None)


def refusal(
    folder: Path,
    operator: str = "Relu",
    *,
    rows: list[Any] = ROWS,
    output: onnx.ValueInfoProto = Y,
    ir: int = 8,
    **changes: Any,
) -> str:
    taken = helper.make_tensor_value_info("x", TensorProto.FLOAT, rows)
    graph = helper.make_graph([helper.make_node(operator, ["x"], ["y"])], "g", [taken], [output])
    model = helper.make_model(graph, ir_version=ir, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, folder / "their.onnx")
    inputs = [{"name": "x", "dtype": "FP32", "shape": [3]}]
    said = {"source": None, "onnx": "their.onnx", "max_batch_size": 4} | changes
    job = ExportJob(
        model=entry(inputs=inputs, outputs=["y"], **said),
        recipe_folder=folder,
        folder=folder,
        threads=1,
    )
    with pytest.raises(StageRefused) as refused:
        adopt(job)
    return str(refused.value)


def test_a_file_that_no_release_reads_is_refused_with_the_limits(tmp_path: Path) -> None:
    assert "opset 17 and IR 14 are beyond Triton " in refusal(tmp_path, ir=14)


def test_a_fixed_batch_is_told_from_other_differences(tmp_path: Path) -> None:
    fixed = " (its batch is fixed: max_batch_size: 0 takes whole shapes)"

    assert refusal(tmp_path, rows=[1, 3]).endswith(f"the recipe says FP32['batch', 3]{fixed}")
    assert fixed not in refusal(tmp_path, rows=["n", 7])


def test_what_is_no_tensor_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "SequenceConstruct", output=SEQUENCE)

    assert said.endswith("y is a sequence_type, and Triton carries tensors only")


def test_chance_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, "RandomNormalLike")

    assert "ONNX Runtime answers the same request twice differently: output y: " in said
    assert said.endswith("take the random operators out of the file")


def test_nan_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, "Log") == (
        "ONNX Runtime gives NaN in y at b1; give a range or samples that the model is for"
    )


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            np.ones((2, 4), np.float32),
            "x is FP32[2, 4], the recipe says FP32[3] with a first axis of the batch before it",
        ),
        (
            np.ones((2, 3)),
            "x is FP64[2, 3], the recipe says FP32[3] with a first axis of the batch before it",
        ),
        (
            np.ones((9, 3), np.float32),
            "x is a batch of 9, max_batch_size is 4; write smaller samples: 0/input/<name>, "
            "1/input/<name>",
        ),
    ],
)
def test_golden_data_must_fit_the_recipe(tmp_path: Path, given: Any, said: str) -> None:
    np.savez(tmp_path / "golden.npz", **{"input/x": given, "output/y": np.ones((1, 3))})

    assert refusal(tmp_path, golden="golden.npz") == f"golden {tmp_path}/golden.npz: {said}"


def test_golden_data_without_a_batch_dimension_have_no_axis_before_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", **{"input/x": np.ones((1, 3)), "output/y": np.ones(3)})

    said = refusal(tmp_path, rows=[3], max_batch_size=0, golden="golden.npz")

    assert said.endswith("x is FP64[1, 3], the recipe says FP32[3]")
