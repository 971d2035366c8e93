"""Requests that Triton's client library writes come back as the tensors that it was given."""

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import tritonclient
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray
from tritonclient.grpc import InferInput as GrpcInput
from tritonclient.grpc import service_pb2

from contract.dtypes import Datatype, datatype_of
from contract.errors import InvalidRequest, UnsupportedDatatype
from contract.kserve import from_grpc, from_http
from contract.samples import Tensors

SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5).map(str.encode)
TYPED = {
    Datatype.BOOL: "bool_contents",
    Datatype.INT8: "int_contents",
    Datatype.INT64: "int64_contents",
    Datatype.UINT16: "uint_contents",
    Datatype.UINT64: "uint64_contents",
    Datatype.FP32: "fp32_contents",
    Datatype.FP64: "fp64_contents",
    Datatype.BYTES: "bytes_contents",
}


def values(datatype: Datatype, words: st.SearchStrategy[bytes]) -> st.SearchStrategy[Any]:
    if datatype is Datatype.BYTES:
        return arrays.arrays(np.object_, SHAPES, elements=words, fill=st.nothing())
    return arrays.arrays(datatype.numpy, SHAPES)


def requests(words: st.SearchStrategy[bytes]) -> st.SearchStrategy[Tensors]:
    tensor = st.sampled_from(Datatype).flatmap(lambda datatype: values(datatype, words))
    return st.dictionaries(st.sampled_from(["x", "ids", "ä b"]), tensor, min_size=1)


def same(one: NDArray[np.generic], other: NDArray[np.generic]) -> bool:
    if one.dtype == np.object_:
        return one.shape == other.shape and one.tolist() == other.tolist()
    return one.dtype == other.dtype and one.shape == other.shape and bits(one) == bits(other)


def bits(array: NDArray[np.generic]) -> bytes:
    """JSON has one NaN only."""
    return (
        np.where(np.isnan(array), math.nan, array) if array.dtype.kind == "f" else array
    ).tobytes()


def module(name: str) -> ModuleType:
    """Of tritonclient's HTTP package, which as a whole needs a library that we do not."""
    path = Path(tritonclient.__file__ or "").parent / "http" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"tritonclient_http{name}", path)
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


HTTP_INPUT = module("_infer_input").InferInput
HTTP_REQUEST = module("_utils")._get_inference_request


def http_request(inputs: list[Any]) -> tuple[bytes, int | None]:
    body, length = HTTP_REQUEST(
        inputs,
        request_id="id",
        outputs=None,
        sequence_id=7,
        sequence_start=True,
        sequence_end=False,
        priority=1,
        timeout=None,
        custom_parameters={"custom": "word"},
    )
    return body, length


def over_http(tensors: Tensors, binary: dict[str, bool]) -> tuple[bytes, int | None]:
    """Body and the length of its JSON part, as the client library sends them."""
    inputs = []
    for name, array in tensors.items():
        given = HTTP_INPUT(name, list(array.shape), datatype_of(array).value)
        given.set_data_from_numpy(array, binary_data=binary.get(name, True))
        inputs.append(given)
    return http_request(inputs)


def over_grpc(tensors: Tensors) -> bytes:
    request = service_pb2.ModelInferRequest(model_name="m", id="id")
    for name, array in tensors.items():
        given = GrpcInput(name, list(array.shape), datatype_of(array).value)
        given.set_data_from_numpy(array)
        request.inputs.extend([given._get_tensor()])
        request.raw_input_contents.extend([given._get_content()])
    return bytes(request.SerializeToString())


@given(requests(st.binary(max_size=5)))
def test_a_binary_request_over_http_comes_back(tensors: Tensors) -> None:
    body, length = over_http(tensors, {})
    assert length is not None
    found = from_http(body, length)
    assert list(found) == list(tensors)
    assert all(same(found[name], array) for name, array in tensors.items())


@given(requests(WORDS), st.dictionaries(st.sampled_from(["x", "ids"]), st.booleans()))
def test_a_request_with_json_and_binary_inputs_comes_back(
    tensors: Tensors, binary: dict[str, bool]
) -> None:
    found = from_http(*over_http(tensors, {"ä b": False, **binary}))
    assert list(found) == list(tensors)
    assert all(same(found[name], array) for name, array in tensors.items())


@given(requests(st.binary(max_size=5)))
def test_a_raw_request_over_grpc_comes_back(tensors: Tensors) -> None:
    found = from_grpc(over_grpc(tensors))
    assert list(found) == list(tensors)
    assert all(same(found[name], array) for name, array in tensors.items())


@given(
    st.sampled_from(list(TYPED)).flatmap(
        lambda datatype: values(datatype, st.binary(max_size=5)).map(lambda x: (datatype, x))
    )
)
def test_a_typed_request_over_grpc_comes_back(given_: tuple[Datatype, NDArray[Any]]) -> None:
    datatype, array = given_
    contents = service_pb2.InferTensorContents(**{TYPED[datatype]: array.ravel().tolist()})
    assert same(from_grpc(typed(datatype, list(array.shape), contents))["x"], array)


def typed(datatype: str, shape: list[int], contents: Any) -> bytes:
    request = service_pb2.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype=datatype, shape=shape, contents=contents)
    return bytes(request.SerializeToString())


def in_json(datatype: str, shape: list[int], data: Any) -> bytes:
    found = {"name": "x", "datatype": datatype, "shape": shape, "data": data}
    return json.dumps({"inputs": [found]}).encode()


def test_json_may_be_nested_as_its_shape() -> None:
    found = from_http(in_json("INT32", [2, 1, 2], [[[1, 2]], [[3, 4]]]), None)["x"]
    assert same(found, np.int32([[[1, 2]], [[3, 4]]]))
    words = from_http(in_json("BYTES", [1, 2], [["a", "ä"]]), None)["x"]
    assert words.tolist() == [[b"a", "ä".encode()]]


def test_a_number_in_json_that_is_too_large_for_its_type_is_infinite() -> None:
    with np.errstate(over="raise"):
        found = from_http(in_json("FP16", [2], [1e9, -1e300]), None)["x"]
    assert found.tolist() == [math.inf, -math.inf]


@pytest.mark.parametrize(
    ("datatype", "shape", "data", "reason"),
    [
        ("INT32", [2], [1], r"input x does not fit INT32\[2\]"),
        ("INT32", [1], [1.5], "input x is INT32, but has float"),
        ("INT32", [1], ["1"], "input x is INT32, but has str"),
        ("INT32", [2], [1, True], "input x is INT32, but has bool"),
        ("UINT8", [1], [256], r"does not fit UINT8\[1\]"),
        ("UINT8", [1], [-1], r"does not fit UINT8\[1\]"),
        ("BOOL", [1], [0], "input x is BOOL, but has int"),
        ("BYTES", [1], [1], "input x is BYTES, but has int"),
        ("FP32", [1], [None], "input x is FP32, but has NoneType"),
        ("FP64", [1], [10**400], r"does not fit FP64\[1\]"),
        ("FP32", [2, 2], [[1, 2], 3], "nested unevenly"),
        ("FP32", [-1], [1], r"inputs\[0\].shape\[0\]"),
        ("FP32", [1], None, "shared memory"),
    ],
)
def test_json_that_does_not_fit_is_refused_with_the_reason(
    datatype: str, shape: list[int], data: Any, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        from_http(in_json(datatype, shape, data), None)


@pytest.mark.parametrize(
    ("body", "length", "reason"),
    [
        (b"", None, "no request for inference"),
        (b"\x1f\x8b\x08", None, "no request for inference"),
        (b"[" * 100_000, None, "no request for inference"),
        (b"{}", None, "inputs: this key is missing"),
        (b'{"inputs": []}', None, "no request for inference"),
        (b'{"inputs": [1]}', None, r"inputs\[0\]"),
        (b"{}", 3, "is to have 3 bytes, but all has 2"),
        (b"{}", -1, "is to have -1 bytes"),
    ],
)
def test_a_body_that_is_no_request_is_refused_with_the_reason(
    body: bytes, length: int | None, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        from_http(body, length)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda body: body[:-1], r"input x does not fit"),
        (lambda body: body + b"1234", "4 bytes at the end belong to no input"),
    ],
)
@pytest.mark.parametrize("array", [np.float32([[1, 2]]), np.array([b"ab", b"c"], np.object_)])
def test_binary_data_of_another_length_is_refused(
    change: Any, reason: str, array: NDArray[Any]
) -> None:
    body, length = over_http({"x": array}, {})
    with pytest.raises(InvalidRequest, match=reason):
        from_http(change(body), length)


def test_tensors_in_shared_memory_are_refused_over_both_protocols() -> None:
    given = HTTP_INPUT("x", [1], "FP32")
    given.set_shared_memory("region", 4)
    body, length = http_request([given])
    with pytest.raises(InvalidRequest, match=r"input x: .*shared memory"):
        from_http(body, length)
    request = service_pb2.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype="FP32", shape=[1])
    with pytest.raises(InvalidRequest, match=r"input x: .*shared memory"):
        from_grpc(request.SerializeToString())


def test_a_datatype_that_numpy_lacks_is_refused_by_its_name() -> None:
    with pytest.raises(UnsupportedDatatype, match=r"input x is BF16, .* send one of BOOL, "):
        from_http(in_json("BF16", [1], [1.0]), None)
    with pytest.raises(UnsupportedDatatype, match="input x is BF16"):
        from_grpc(typed("BF16", [1], service_pb2.InferTensorContents(fp32_contents=[1])))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\x0a\x05m", "no request for inference"),
        (b"", "has no inputs"),
        (service_pb2.ModelMetadataRequest(name="m").SerializeToString(), "has no inputs"),
        (
            typed("INT8", [1], service_pb2.InferTensorContents(int_contents=[128])),
            r"does not fit INT8\[1\]",
        ),
        (
            typed("FP32", [-1], service_pb2.InferTensorContents(fp32_contents=[1])),
            "a size is negative",
        ),
        (
            over_grpc({"x": np.float32([1])}) + over_grpc({"y": np.float32([1])})[:-6],
            "2 inputs, but 1 raw contents",
        ),
    ],
)
def test_a_message_that_is_no_request_is_refused_with_the_reason(
    message: bytes, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        from_grpc(message)


@given(st.binary(max_size=64), st.one_of(st.none(), st.integers(-1, 70)))
def test_whatever_bytes_are_sent_the_errors_are_those_that_are_promised(
    body: bytes, length: int | None
) -> None:
    for read in (lambda: from_http(body, length), lambda: from_grpc(body)):
        try:
            read()
        except (InvalidRequest, UnsupportedDatatype):
            continue
