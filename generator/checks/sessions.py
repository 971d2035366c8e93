"""ONNX Runtime as Triton's backend uses it: by path, so that weights can be mapped."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.dtypes import Datatype
from contract.layout import ONNX_MODEL, TENSORRT_PLAN
from contract.samples import Tensors
from generator.checks.engine import PlanSession
from generator.errors import StageRefused
from generator.reports import GraphTensor
from generator.worker import shorten

_DATATYPES = {
    "tensor(bool)": Datatype.BOOL,
    "tensor(uint8)": Datatype.UINT8,
    "tensor(uint16)": Datatype.UINT16,
    "tensor(uint32)": Datatype.UINT32,
    "tensor(uint64)": Datatype.UINT64,
    "tensor(int8)": Datatype.INT8,
    "tensor(int16)": Datatype.INT16,
    "tensor(int32)": Datatype.INT32,
    "tensor(int64)": Datatype.INT64,
    "tensor(float16)": Datatype.FP16,
    "tensor(float)": Datatype.FP32,
    "tensor(double)": Datatype.FP64,
    "tensor(string)": Datatype.BYTES,
}
# `optimization { graph { level } }` as Triton's backend reads it; anything else is all of it.
_GRAPH_LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
_NO_KERNEL = "; it has kernels of float32, and hardly any of bfloat16: compute in float32"


def open_session(
    folder: Path, *, threads: int = 0, graph_level: int = 0
) -> onnxruntime.InferenceSession:
    """Load `folder`'s model: ONNX on the CPU, a TensorRT plan on the GPU.

    0 threads lets ONNX Runtime choose, as in Triton. `graph_level` is that of `config.pbtxt`.

    Raises:
        StageRefused: ONNX Runtime, or TensorRT, does not load it.
    """
    if (folder / TENSORRT_PLAN).is_file():
        return PlanSession(folder / TENSORRT_PLAN)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = _GRAPH_LEVELS.get(
        graph_level, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    )
    try:
        # Named explicitly: the GPU build would otherwise try CUDA and print errors.
        return onnxruntime.InferenceSession(
            str(folder / ONNX_MODEL), options, providers=["CPUExecutionProvider"]
        )
    # ONNX Runtime's errors have no common root below Exception.
    except Exception as error:
        remedy = _NO_KERNEL if "NOT_IMPLEMENTED" in str(error) else ""
        raise StageRefused(
            f"ONNX Runtime does not load it: {shorten(str(error))}{remedy}"
        ) from error


def run(
    session: onnxruntime.InferenceSession, inputs: Mapping[str, NDArray[np.generic]], where: str
) -> Tensors:
    """All outputs by name; `where` says in an error what was run.

    Raises:
        StageRefused: ONNX Runtime fails.
    """
    names = [node.name for node in session.get_outputs()]
    try:
        answers: Sequence[NDArray[np.generic]] = session.run(
            names, {name: _as_text(array) for name, array in inputs.items()}
        )
    # ONNX Runtime's errors have no common root below Exception.
    except Exception as error:
        raise StageRefused(f"ONNX Runtime fails at {where}: {shorten(str(error))}") from error
    return {name: _as_bytes(array) for name, array in zip(names, answers, strict=True)}


def describe(nodes: list[onnxruntime.NodeArg]) -> tuple[GraphTensor, ...]:
    """Inputs or outputs of a session.

    Raises:
        StageRefused: one has a type that Triton has no datatype for.
    """
    found = []
    for node in nodes:
        if node.type not in _DATATYPES:
            raise StageRefused(f"{node.name} is {node.type}, which Triton cannot carry")
        shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
        found.append(GraphTensor(name=node.name, datatype=_DATATYPES[node.type], shape=shape))
    return tuple(found)


def _as_text(array: NDArray[np.generic]) -> NDArray[np.generic]:
    """Strings as ONNX Runtime's Python takes them: of bytes it would take the repr."""
    if array.dtype != np.object_:
        return array
    texts = [element.decode() for element in array.ravel().tolist()]
    return np.array(texts, dtype=np.object_).reshape(array.shape)


def _as_bytes(array: NDArray[np.generic]) -> NDArray[np.generic]:
    if array.dtype != np.object_:
        return array
    encoded = [element.encode() for element in array.ravel().tolist()]
    return np.array(encoded, dtype=np.object_).reshape(array.shape)
