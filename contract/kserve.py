"""Requests for inference in the KServe v2 protocol, as Triton's clients write them, as tensors.

What else a request says (its id, its parameters, the outputs it wants) is left out.
"""

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError
from tritonclient.grpc import service_pb2
from tritonclient.utils import deserialize_bytes_tensor

from contract.dtypes import Datatype
from contract.errors import InvalidRequest, UnsupportedDatatype
from contract.samples import Tensors
from contract.strict import explain

_ELSEWHERE = "it has no data in the request; what is in shared memory cannot be read"
_TYPED = {
    Datatype.BOOL: "bool_contents",
    Datatype.UINT8: "uint_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT32: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT16: "int_contents",
    Datatype.INT32: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}
"""Where `InferTensorContents` has the elements; FP16 is always raw."""


class _Parameters(BaseModel):
    binary_data_size: NonNegativeInt | None = None


class _Input(BaseModel):
    name: str
    shape: tuple[NonNegativeInt, ...]
    datatype: str
    data: list[Any] | None = None
    parameters: _Parameters = _Parameters()


class _Request(BaseModel):
    inputs: list[_Input] = Field(min_length=1)


def from_http(body: bytes, header_length: int | None) -> Tensors:
    """Inputs in JSON, or in bytes behind it.

    `header_length` is what `Inference-Header-Content-Length` says, the length of the JSON; None
    without that header, when all is JSON.

    Raises:
        InvalidRequest: the body is no such request, or its tensors are in shared memory.
        UnsupportedDatatype: numpy has no such numbers; of Triton's that is BF16.
    """
    end = len(body) if header_length is None else header_length
    if not 0 <= end <= len(body):
        raise InvalidRequest(f"the JSON is to have {end} bytes, but all has {len(body)}")
    try:
        request = _Request.model_validate_json(body[:end])
    except ValidationError as error:
        raise InvalidRequest(
            f"this is no request for inference: {explain(error, _Request)}"
        ) from error
    raw, tensors = memoryview(body)[end:], {}
    for given in request.inputs:
        size = given.parameters.binary_data_size
        datatype = _datatype(given.name, given.datatype)
        if size is not None:
            tensors[given.name] = tensor(given.name, raw[:size], datatype, given.shape)
            raw = raw[size:]
        elif given.data is not None:
            values = _of_json(given.name, given.data, datatype)
            tensors[given.name] = _shaped(given.name, values, datatype, given.shape)
        else:
            raise InvalidRequest(f"input {given.name}: {_ELSEWHERE}")
    if raw:
        raise InvalidRequest(f"{len(raw)} bytes at the end belong to no input")
    return tensors


def from_grpc(message: bytes) -> Tensors:
    """Inputs of a `ModelInferRequest`, raw or typed.

    Raises:
        InvalidRequest: the message is no such request, or its tensors are in shared memory.
        UnsupportedDatatype: numpy has no such numbers; of Triton's that is BF16.
    """
    try:
        request = service_pb2.ModelInferRequest.FromString(message)
    except DecodeError as error:
        raise InvalidRequest(f"this is no request for inference: {error}") from error
    if not request.inputs:
        raise InvalidRequest("the request has no inputs")
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidRequest(f"{len(request.inputs)} inputs, but {len(raw)} raw contents")
    tensors = {}
    for at, given in enumerate(request.inputs):
        datatype = _datatype(given.name, given.datatype)
        if raw:
            tensors[given.name] = tensor(given.name, raw[at], datatype, given.shape)
        elif given.HasField("contents") and datatype in _TYPED:
            values = list(getattr(given.contents, _TYPED[datatype]))
            tensors[given.name] = _shaped(given.name, values, datatype, given.shape)
        else:
            raise InvalidRequest(f"input {given.name}: {_ELSEWHERE}")
    return tensors


def tensor(
    name: str, raw: bytes | memoryview, datatype: Datatype, shape: Sequence[int]
) -> NDArray[np.generic]:
    """From its bytes as Triton takes them: row-major, BYTES elements behind their lengths.

    Raises:
        InvalidRequest: the shape needs another number of bytes.
    """
    try:
        if datatype is Datatype.BYTES:
            flat = deserialize_bytes_tensor(raw)
        else:
            flat = np.frombuffer(raw, dtype=datatype.numpy)
        return _reshaped(flat, shape)
    except (ValueError, struct.error) as error:
        raise _misfit(name, datatype, shape, error) from error


def _of_json(name: str, data: list[Any], datatype: Datatype) -> list[Any]:
    """Elements in a row: JSON may nest them as the shape does, or not."""
    values: list[Any] = data
    while values and isinstance(values[0], list):
        if not all(isinstance(value, list) for value in values):
            raise InvalidRequest(f"input {name}: its data is nested unevenly")
        values = list(chain.from_iterable(values))
    allowed = _json_types(datatype)
    if wrong := {type(value).__name__ for value in values if type(value) not in allowed}:
        raise InvalidRequest(f"input {name} is {datatype}, but has {', '.join(sorted(wrong))}")
    return [value.encode() for value in values] if datatype is Datatype.BYTES else values


def _json_types(datatype: Datatype) -> tuple[type, ...]:
    if datatype is Datatype.BYTES:
        return (str,)
    if datatype is Datatype.BOOL:
        return (bool,)
    return (int, float) if datatype.is_float else (int,)


def _shaped(
    name: str, values: list[Any], datatype: Datatype, shape: Sequence[int]
) -> NDArray[np.generic]:
    try:
        # A number that is too large for its type is infinite, as it is to Triton.
        with np.errstate(over="ignore"):
            return _reshaped(np.array(values, dtype=datatype.numpy), shape)
    except (ValueError, OverflowError) as error:
        raise _misfit(name, datatype, shape, error) from error


def _reshaped(flat: NDArray[np.generic], shape: Sequence[int]) -> NDArray[np.generic]:
    if any(size < 0 for size in shape):
        raise ValueError("a size is negative")
    return flat.reshape(tuple(shape))


def _datatype(name: str, given: str) -> Datatype:
    try:
        return Datatype(given)
    except ValueError:
        raise UnsupportedDatatype(
            f"input {name} is {given}, which numpy has no type for; send one of "
            f"{', '.join(Datatype)}"
        ) from None


def _misfit(
    name: str, datatype: Datatype, shape: Sequence[int], error: Exception
) -> InvalidRequest:
    return InvalidRequest(f"input {name} does not fit {datatype}{list(shape)}: {error}")
