"""ONNX files, without their weights."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from generator.lint.repository import Graph, Tensor, Unreadable
from generator.samples.graph import load_graph, table_rows

_PROTO = onnx.TensorProto
_TYPES: dict[int, str] = {
    _PROTO.BOOL: "TYPE_BOOL",
    _PROTO.UINT8: "TYPE_UINT8",
    _PROTO.UINT16: "TYPE_UINT16",
    _PROTO.UINT32: "TYPE_UINT32",
    _PROTO.UINT64: "TYPE_UINT64",
    _PROTO.INT8: "TYPE_INT8",
    _PROTO.INT16: "TYPE_INT16",
    _PROTO.INT32: "TYPE_INT32",
    _PROTO.INT64: "TYPE_INT64",
    _PROTO.FLOAT16: "TYPE_FP16",
    _PROTO.FLOAT: "TYPE_FP32",
    _PROTO.DOUBLE: "TYPE_FP64",
    _PROTO.BFLOAT16: "TYPE_BF16",
    _PROTO.STRING: "TYPE_STRING",
}


def read_graph(path: Path) -> Graph | Unreadable:
    try:
        model = load_graph(path)
        rows = table_rows(model, path.parent)
    except (OSError, ValueError, DecodeError) as error:
        return Unreadable(str(error))
    if not model.graph.node:
        return Unreadable("it has no nodes")
    constants = {tensor.name for tensor in model.graph.initializer}
    return Graph(
        inputs=[_tensor(each) for each in model.graph.input if each.name not in constants],
        outputs=[_tensor(each) for each in model.graph.output],
        defaults=[_tensor(each) for each in model.graph.input if each.name in constants],
        opset=max((each.version for each in model.opset_import if not each.domain), default=0),
        ir=model.ir_version,
        external=frozenset(_external(model)),
        table_rows=rows,
    )


def _tensor(said: onnx.ValueInfoProto) -> Tensor:
    kind = said.type.tensor_type
    sizes = (each.dim_value if each.HasField("dim_value") else -1 for each in kind.shape.dim)
    return Tensor(
        name=said.name,
        data_type=_TYPES.get(kind.elem_type, "nothing that Triton has"),
        shape=tuple(sizes),
    )


def _external(model: onnx.ModelProto) -> Iterator[str]:
    for tensor in model.graph.initializer:
        if tensor.data_location == _PROTO.EXTERNAL:
            yield from (each.value for each in tensor.external_data if each.key == "location")
