"""An ONNX file from outside: is it sound, and is it what the recipe says?"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from contract.dtypes import datatype_of
from contract.errors import UnsupportedDatatype
from contract.strict import nearest
from generator.errors import StageRefused
from generator.recipe import Input, ModelRecipe
from generator.worker import shorten

# Triton's ONNX Runtime has its own operators besides the standard's, and nobody else's.
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
_HALF = (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)

T = TypeVar("T")


def read_foreign(path: Path) -> onnx.ModelProto:
    """The model without its external data.

    Raises:
        StageRefused: unreadable, invalid, with data outside of its folder, or an operator or a
            datatype that Triton lacks.
    """
    try:
        proto = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise StageRefused(f"onnx {path} cannot be read: {error}") from error
    _refuse_data_elsewhere(proto, path)
    _refuse_custom_operators(proto, path)
    _refuse_bfloat16(proto.graph, path)
    try:
        onnx.checker.check_model(path)
    except (onnx.checker.ValidationError, OSError) as error:
        raise StageRefused(f"onnx {path} is invalid: {shorten(str(error))}") from error
    return proto


def data_files(proto: onnx.ModelProto) -> set[str]:
    """Files of external data, relative to the model's."""
    return {_location(tensor) for tensor in _all(proto, onnx.TensorProto)} - {""}


def computes_in_half(proto: onnx.ModelProto) -> bool:
    return any(tensor.data_type in _HALF for tensor in _all(proto, onnx.TensorProto))


def differences(model: ModelRecipe, graph: onnx.GraphProto) -> list[str]:
    """Inputs and outputs that file and recipe do not agree about; empty if they do."""
    # Old files list their weights among the inputs, too.
    filled = {tensor.name for tensor in graph.initializer}
    taken = {info.name: info for info in graph.input}
    given = {info.name: info for info in graph.output}
    specs = {spec.name: spec for spec in model.inputs}
    found = [
        f"the file has no input {name!r}; {nearest(name, taken)}"
        for name in specs
        if name not in taken
    ]
    found += [
        f"the recipe lacks input {_describe(info)}"
        for name, info in taken.items()
        if name not in specs and name not in filled
    ]
    for name, spec in specs.items():
        if name in taken and not _agrees(model, spec, taken[name]):
            found.append(
                f"the file has input {_describe(taken[name])}, the recipe says {spec.dtype}"
                f"{_wanted(model, spec)}{_if_batch_is_fixed(model, taken[name])}"
            )
        if spec.optional and name not in filled:
            found.append(f"input {name} has no default in the file and cannot be optional")
    names = model.output_names
    found += [
        f"the file has no output {name!r}; {nearest(name, given)}"
        for name in names
        if name not in given
    ]
    found += [
        f"the recipe lacks output {_describe(info)}"
        for name, info in given.items()
        if name not in names
    ]
    found += [
        f"{name} is a {info.type.WhichOneof('value')}, and Triton carries tensors only"
        for name, info in (taken | given).items()
        if not info.type.HasField("tensor_type")
    ]
    return found


def _agrees(model: ModelRecipe, spec: Input, info: onnx.ValueInfoProto) -> bool:
    kind = info.type.tensor_type
    wanted = _wanted(model, spec)
    there = [size.dim_value or None for size in kind.shape.dim]
    return (
        _datatype(kind.elem_type) == spec.dtype
        and len(there) == len(wanted)
        and all(size in (None, want) for size, want in zip(there, wanted, strict=True))
    )


def _wanted(model: ModelRecipe, spec: Input) -> list[int | str]:
    return (["batch"] if model.max_batch_size else []) + list(spec.shape)


def _if_batch_is_fixed(model: ModelRecipe, info: onnx.ValueInfoProto) -> str:
    sizes = info.type.tensor_type.shape.dim
    is_fixed = model.max_batch_size and sizes and sizes[0].dim_value
    return " (its batch is fixed: max_batch_size: 0 takes whole shapes)" if is_fixed else ""


def _describe(info: onnx.ValueInfoProto) -> str:
    kind = info.type.tensor_type
    sizes = [size.dim_value or size.dim_param or "?" for size in kind.shape.dim]
    return f"{info.name} {_datatype(kind.elem_type)}{sizes}"


def _datatype(number: int) -> str:
    """Triton's name of an ONNX type; numpy's where Triton has none."""
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(number))
    try:
        return datatype_of(np.empty(0, dtype))
    except UnsupportedDatatype:
        return dtype.name


def _refuse_data_elsewhere(proto: onnx.ModelProto, path: Path) -> None:
    for tensor in _all(proto, onnx.TensorProto):
        location = _location(tensor)
        if location.startswith("/") or ".." in PurePosixPath(location).parts:
            raise StageRefused(
                f"onnx {path}: the data of {tensor.name} lie at {location!r}, outside of its "
                "folder; put them beside the file: onnx.save(model, path, "
                "save_as_external_data=True)"
            )


def _refuse_custom_operators(proto: onnx.ModelProto, path: Path) -> None:
    own = {(function.domain, function.name) for function in proto.functions}
    for node in _all(proto, onnx.NodeProto):
        if node.domain not in _DOMAINS and (node.domain, node.op_type) not in own:
            raise StageRefused(
                f"onnx {path}: node {node.name or node.output[0]} is the custom operator "
                f"{node.domain}::{node.op_type}, which Triton's ONNX Runtime does not have; "
                "compose it of standard operators"
            )


def _refuse_bfloat16(graph: onnx.GraphProto, path: Path) -> None:
    """At the border; inside of the graph, ONNX Runtime says what it has no kernel for."""
    filled = {tensor.name for tensor in graph.initializer}
    for info in (*graph.input, *graph.output):
        kind = info.type.tensor_type.elem_type
        if kind == onnx.TensorProto.BFLOAT16 and info.name not in filled:
            raise StageRefused(
                f"onnx {path}: {info.name} is bfloat16, which Triton's ONNX Runtime backend "
                "neither takes nor gives; export the model again after model.float(), or name "
                "its source"
            )


def _location(tensor: onnx.TensorProto) -> str:
    """The file of a tensor's data; empty if they are in the model."""
    return {entry.key: entry.value for entry in tensor.external_data}.get("location", "")


def _all(message: Any, kind: type[T]) -> Iterator[T]:
    """Every message of a kind below `message`, those of subgraphs and functions too."""
    for field, value in message.ListFields():
        if field.message_type is not None:
            for child in value if field.is_repeated else (value,):
                if isinstance(child, kind):
                    yield child
                yield from _all(child, kind)
