"""Chains of ONNX models of one node each, run for real."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

from contract.layout import VersionFolder
from contract.samples import GoldenSample, read_golden, write_golden
from generator.ensembles.chain import chain
from generator.errors import StageRefused
from generator.reports.chain import ChainJob, Link

TABLE = numpy_helper.from_array(np.float32([[10], [20], [30]]), "table")
TYPES = {"ids": TensorProto.INT64, "doubled": TensorProto.INT64}


def put(
    root: Path, name: str, node: onnx.NodeProto, *samples: dict[str, list[list[float]]]
) -> Path:
    """A version of a model with golden inputs; what it answers to them is of no interest."""
    given = [each for each in dict.fromkeys(node.input) if each != "table"]
    tensors = [
        make_tensor_value_info(each, TYPES.get(each, TensorProto.FLOAT), None)
        for each in (*given, *node.output)
    ]
    graph = make_graph([node], name, tensors[: len(given)], tensors[len(given) :], [TABLE])
    files = VersionFolder(root / name)
    files.path.mkdir()
    model = make_model(graph, ir_version=10, opset_imports=[make_opsetid("", 20)])
    onnx.save(model, files.path / "model.onnx")
    files.config.write_text(f'name: "{name}"')
    kinds = {each: np.int64 if each in TYPES else np.float32 for each in given}
    write_golden(
        files.golden,
        [
            GoldenSample({each: np.array(sample[each], kinds[each]) for each in sample}, {})
            for sample in samples
        ],
    )
    return files.path


def link(folder: Path, inputs: dict[str, str], outputs: dict[str, str]) -> Link:
    return Link(label=f"steps.0 ({folder.name})", folder=folder, inputs=inputs, outputs=outputs)


def job(root: Path, *links: Link, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> ChainJob:
    return ChainJob(
        links=links,
        inputs=inputs,
        outputs=outputs,
        max_batch_size=2,
        threads=1,
        golden=root / "golden.npz",
    )


def test_each_answer_goes_into_the_next_model_with_samples_of_the_same_batch(
    tmp_path: Path,
) -> None:
    gather = make_node("GatherND", ["table", "ids"], ["rows"])
    lookup = put(
        tmp_path, "lookup", gather, {"ids": [[0], [1]]}, {"ids": [[2]]}, {"ids": [[0]] * 3}
    )
    add = make_node("Add", ["rows", "bias"], ["sum"])
    total = put(
        tmp_path,
        "total",
        add,
        {"rows": [[0]], "bias": [[1]]},
        {"rows": [[0], [0]], "bias": [[2], [3]]},
    )

    report = chain(
        job(
            tmp_path,
            link(lookup, {"ids": "IDS"}, {"rows": "rows"}),
            link(total, {"rows": "rows", "bias": "BIAS"}, {"sum": "SUM"}),
            inputs=("IDS", "BIAS"),
            outputs=("SUM",),
        )
    )

    samples = read_golden(tmp_path / "golden.npz")
    assert report.samples == 2
    assert [
        (
            each.inputs["IDS"].tolist(),
            each.inputs["BIAS"].tolist(),
            each.outputs["SUM"].ravel().tolist(),
        )
        for each in samples
    ] == [([[2]], [[1]], [31.0]), ([[0], [1]], [[2], [3]], [12.0, 23.0])]


def test_a_model_that_fails_on_what_another_answers_is_named(tmp_path: Path) -> None:
    doubling = make_node("Add", ["ids", "ids"], ["doubled"])
    double = put(tmp_path, "double", doubling, {"ids": [[2]]})
    gather = make_node("GatherND", ["table", "ids"], ["rows"])
    lookup = put(tmp_path, "lookup", gather, {"ids": [[0]]})

    with pytest.raises(StageRefused) as refused:
        chain(
            job(
                tmp_path,
                link(double, {"ids": "IDS"}, {"doubled": "doubled"}),
                link(lookup, {"ids": "doubled"}, {"rows": "ROWS"}),
                inputs=("IDS",),
                outputs=("ROWS",),
            )
        )

    assert "fails at ids [1, 1] of steps.0 (lookup): " in str(refused.value)
    assert "invalid index found, index = 4" in str(refused.value)


def test_models_without_a_common_batch_size_are_refused(tmp_path: Path) -> None:
    doubling = make_node("Add", ["ids", "ids"], ["doubled"])
    double = put(tmp_path, "double", doubling, {"ids": [[2]] * 3})

    with pytest.raises(StageRefused, match="no batch size in common up to 2"):
        chain(
            job(
                tmp_path,
                link(double, {"ids": "IDS"}, {"doubled": "OUT"}),
                inputs=("IDS",),
                outputs=("OUT",),
            )
        )
