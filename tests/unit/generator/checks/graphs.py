"""ONNX files of one node, and golden samples for them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from contract.layout import CONFIG, GOLDEN, ONNX_MODEL
from contract.samples import GoldenSample, write_golden
from generator.reports import CASES


def scaling(scale: float, *, opset: int = 20, ir: int = 10) -> onnx.ModelProto:
    """`y = scale * x`, three classes per row."""
    shape = ["batch", 3]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "scale"], ["y"])],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.float32(scale), "scale")],
    )
    return helper.make_model(graph, ir_version=ir, opset_imports=[helper.make_opsetid("", opset)])


def sample(rows: Sequence[Sequence[float]], *, scale: float = 2.0) -> GoldenSample:
    x = np.array(rows, np.float32)
    return GoldenSample({"x": x}, {"y": x * np.float32(scale)})


SAMPLES = (sample([[1, 2, 3]]), sample([[3, 2, 1], [-4, 5, 6]]))


def write_version(
    folder: Path,
    model: onnx.ModelProto,
    samples: Sequence[GoldenSample] = SAMPLES,
    *,
    config: str = "",
) -> Path:
    """What a build has on disk of a version, before its manifest."""
    folder.mkdir()
    (folder / ONNX_MODEL).write_bytes(model.SerializeToString())
    (folder / CONFIG).write_text(config)
    write_golden(folder / CASES, samples)
    write_golden(folder / GOLDEN, samples)
    return folder
