"""What a mapping says of a ModelConfig, against Triton's schema. Pure.

The schema comes with tritonclient and is imported when the first mapping is read.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from contract.strict import nearest

# The classes of protobuf's runtime are made when it starts; its stubs know none of them.
Message = Any
Descriptor = Any
Field = Any

_INTEGERS = {
    FieldDescriptor.TYPE_INT32: ("32-bit integer", -(2**31), 2**31),
    FieldDescriptor.TYPE_INT64: ("64-bit integer", -(2**63), 2**63),
    FieldDescriptor.TYPE_UINT32: ("32-bit integer from 0 on", 0, 2**32),
    FieldDescriptor.TYPE_UINT64: ("64-bit integer from 0 on", 0, 2**64),
}

_ANSWERS_ONCE = (
    "ONNX Runtime and TensorRT answer a request once; a model that streams needs Triton's Python "
    "backend and a repository of its own"
)


def message_of(given: Mapping[str, Any]) -> Message:
    """The mapping as a ModelConfig, once `problems` finds none in it."""
    from google.protobuf import json_format  # noqa: PLC0415  (see the top)
    from tritonclient.grpc import model_config_pb2  # noqa: PLC0415  (see the top)

    return json_format.ParseDict(dict(given), model_config_pb2.ModelConfig())


def problems(given: Mapping[str, Any]) -> Iterator[str]:
    """What Triton would not understand, or this generator cannot serve, each with its path."""
    if not given:
        return
    from tritonclient.grpc import model_config_pb2  # noqa: PLC0415  (see the top)

    found = list(_message(given, model_config_pb2.ModelConfig.DESCRIPTOR, ""))
    yield from found
    if found:
        return
    if "ensemble_scheduling" in given:
        yield "ensemble_scheduling: write which models to chain under `ensembles`"
    if message_of(given).model_transaction_policy.decoupled:
        yield f"model_transaction_policy.decoupled: {_ANSWERS_ONCE}"


def is_map(field: Field) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _message(given: object, schema: Descriptor, path: str) -> Iterator[str]:
    if not isinstance(given, Mapping):
        yield f"{path}: {given!r} is no mapping; known: {', '.join(schema.fields_by_name)}"
        return
    for key, value in given.items():
        if key in schema.fields_by_name:
            yield from _field(value, schema.fields_by_name[key], join(path, key))
        else:
            where = join(path, repr(key))
            yield f"unknown field {where}; {nearest(key, schema.fields_by_name)}"
    for choice in schema.oneofs:
        if len(chosen := [field.name for field in choice.fields if field.name in given]) > 1:
            yield f"{join(path, ' and '.join(chosen))} exclude each other; keep one"


def _field(given: object, field: Field, path: str) -> Iterator[str]:
    if is_map(field):
        value = field.message_type.fields_by_name["value"]
        if isinstance(given, Mapping):
            for key, item in given.items():
                yield from _value(item, value, f"{path}[{key}]")
        else:
            yield f"{path}: {given!r} is no mapping from names to values"
    elif field.is_repeated:
        if isinstance(given, list):
            for index, item in enumerate(given):
                yield from _value(item, field, f"{path}[{index}]")
        else:
            yield f"{path}: {given!r} is no list"
    else:
        yield from _value(given, field, path)


def _value(given: object, field: Field, path: str) -> Iterator[str]:
    if field.message_type is not None:
        yield from _message(given, field.message_type, path)
    elif field.enum_type is not None:
        known = field.enum_type.values_by_name
        if given not in known:
            yield f"{path}: unknown value {given!r}; {nearest(str(given), known)}"
    elif wanted := _is_no(given, field):
        yield f"{path}: {given!r} is no {wanted}"


def _is_no(given: object, field: Field) -> str | None:
    """What the field wants, when this is not it."""
    if field.type == FieldDescriptor.TYPE_BOOL:
        return None if isinstance(given, bool) else "true or false"
    if field.type == FieldDescriptor.TYPE_STRING:
        return None if isinstance(given, str) else "text; put it in quotes"
    if isinstance(given, bool):
        given = str(given)
    if field.type in _INTEGERS:
        wanted, low, end = _INTEGERS[field.type]
        return None if isinstance(given, int) and low <= given < end else wanted
    return None if isinstance(given, int | float) and math.isfinite(given) else "number"
