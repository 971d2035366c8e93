"""ONNX Runtime as Triton's backend uses it: by path, so that weights can be mapped."""

from pathlib import Path

import onnxruntime

from contract.dtypes import Datatype
from contract.layout import ONNX_MODEL
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


def open_session(folder: Path, *, threads: int = 0) -> onnxruntime.InferenceSession:
    """Load `folder`'s model on the CPU; 0 threads lets ONNX Runtime choose, as in Triton.

    Raises:
        StageRefused: ONNX Runtime does not load it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        # Named explicitly: the GPU build would otherwise try CUDA and print errors.
        return onnxruntime.InferenceSession(
            str(folder / ONNX_MODEL), options, providers=["CPUExecutionProvider"]
        )
    # ONNX Runtime's errors have no common root below Exception.
    except Exception as error:
        raise StageRefused(f"ONNX Runtime does not load it: {shorten(str(error))}") from error


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
