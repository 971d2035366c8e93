"""Of a loaded model clients get what Triton answers, byte for byte."""

import asyncio
import gzip

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from tests.builders import MIB
from tests.e2e.gateway.clients import (
    Crowd,
    binary_body,
    json_body,
    message,
    over_grpc,
    over_http,
    streamed,
    y_of,
)
from tests.e2e.gateway.conftest import House
from tests.e2e.gateway.models import WRONG

pytestmark = [pytest.mark.triton, pytest.mark.timeout(180)]

INFER = "/v2/models/hot/infer"
FLOATS_PER_MIB = MIB // 4


def floats(mib: int) -> np.ndarray:
    return np.random.default_rng(mib).random(mib * FLOATS_PER_MIB, np.float32)


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (INFER, json_body(1, 3), {}),
        ("/v2/models/hot/versions/1/infer", json_body(1, 3), {}),
        (INFER, *binary_body(np.float32([1, 3]))),
        (INFER, gzip.compress(json_body(1, 3), mtime=0), {"Content-Encoding": "gzip"}),
        (INFER, json_body(1, 3), {"Accept-Encoding": "gzip"}),
        (INFER, json_body(1, 3), {"Content-Type": "text/plain"}),
        ("/v2/models/hot/generate", b'{"x": [1, 3]}', {}),
        ("/v2/models/hot", None, {}),
        ("/v2/models/hot/versions/1", None, {}),
        ("/v2/models/hot/config", None, {}),
        ("/v2/models/hot/ready", None, {}),
        ("/v2/models/hot/versions/1/ready", None, {}),
        ("/v2", None, {}),
        ("/v2/health/live", None, {}),
        ("/v2/health/ready", None, {}),
    ],
)
def test_what_http_clients_ask_is_answered_as_by_triton(
    gateway: House, path: str, body: bytes | None, headers: dict[str, str]
) -> None:
    for _ in gateway.undisturbed():
        through, direct = (
            over_http(url, path, body, headers) for url in (gateway.http, gateway.triton_http)
        )
    assert direct.code == 200
    assert through.untouched == direct.untouched


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        (INFER, json_body(WRONG), {}),
        (INFER, b"nonsense", {}),
        (INFER, json_body(1, 3), {"Inference-Header-Content-Length": "100000"}),
        (INFER, json_body(1, 3).replace(b"FP32", b"INT8"), {}),
        ("/v2/models/hot/generate", b'{"z": 1}', {}),
    ],
)
def test_a_wrong_http_request_is_refused_in_tritons_words(
    gateway: House, path: str, body: bytes, headers: dict[str, str]
) -> None:
    through, direct = (
        over_http(url, path, body, headers) for url in (gateway.http, gateway.triton_http)
    )
    assert int(direct.code) >= 400
    assert through.untouched == direct.untouched


@pytest.mark.parametrize(
    ("method", "request_message"),
    [
        ("ModelInfer", message("hot", id="mine")),
        ("ModelInfer", message("hot", model_version="1")),
        ("ModelInfer", message("hot", (WRONG,))),
        ("ModelInfer", message("hot").replace(b"FP32", b"INT8")),
        ("ModelMetadata", service_pb2.ModelMetadataRequest(name="hot").SerializeToString()),
        ("ModelConfig", service_pb2.ModelConfigRequest(name="hot").SerializeToString()),
        ("ModelReady", service_pb2.ModelReadyRequest(name="hot").SerializeToString()),
        ("ServerLive", b""),
        ("ServerReady", b""),
        ("ServerMetadata", b""),
    ],
)
@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
def test_what_grpc_clients_ask_is_answered_as_by_triton(
    gateway: House, method: str, request_message: bytes, compression: grpc.Compression
) -> None:
    for _ in gateway.undisturbed():
        through, direct = (
            over_grpc(address, method, request_message, compression=compression)
            for address in (gateway.grpc, gateway.triton_grpc)
        )
    assert through.untouched == direct.untouched


def test_statistics_of_a_model_are_tritons(gateway: House) -> None:
    asked = service_pb2.ModelStatisticsRequest(name="hot").SerializeToString()
    for _ in gateway.undisturbed():
        answer = over_http(gateway.http, "/v2/models/hot/stats")
        stats = over_grpc(gateway.grpc, "ModelStatistics", asked).body
    assert b'"inference_count"' in answer.body
    (of_version,) = service_pb2.ModelStatisticsResponse.FromString(stats).model_stats
    assert of_version.inference_count > 0


def test_a_version_that_does_not_exist_is_refused_in_tritons_words(gateway: House) -> None:
    path = "/v2/models/hot/versions/7/infer"
    through, direct = (
        over_http(url, path, json_body(1, 3)) for url in (gateway.http, gateway.triton_http)
    )
    assert (through.code, through.body) == (direct.code, direct.body)
    of_grpc = message("hot", model_version="7")
    through, direct = (
        over_grpc(address, "ModelInfer", of_grpc) for address in (gateway.grpc, gateway.triton_grpc)
    )
    assert direct.code == "NOT_FOUND"
    assert through.untouched == direct.untouched


@pytest.mark.parametrize("mib", [1, 8, 32])
def test_large_tensors_pass_in_both_directions(gateway: House, mib: int) -> None:
    x = floats(mib)
    expected = (2 * x).tobytes()
    binary, headers = binary_body(x)
    over_h = over_http(gateway.http, INFER, binary, headers)
    assert over_h.body[int(over_h.headers["inference-header-content-length"]) :] == expected
    over_g = over_grpc(gateway.grpc, "ModelInfer", message("hot", x))
    answer = service_pb2.ModelInferResponse.FromString(over_g.body)
    assert answer.raw_output_contents[0] == expected


def test_eight_mib_pass_compressed(gateway: House) -> None:
    x = np.tile(np.float32([1, 3]), 4 * FLOATS_PER_MIB)
    expected = (2 * x).tobytes()
    binary, headers = binary_body(x)
    packed = gzip.compress(binary, 1)
    over_h = over_http(
        gateway.http,
        INFER,
        packed,
        headers | {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"},
    )
    answer = gzip.decompress(over_h.body)
    assert answer[int(over_h.headers["inference-header-content-length"]) :] == expected
    over_g = over_grpc(
        gateway.grpc, "ModelInfer", message("hot", x), compression=grpc.Compression.Gzip
    )
    response = service_pb2.ModelInferResponse.FromString(over_g.body)
    assert response.raw_output_contents[0] == expected


async def test_a_stream_is_a_conversation(clients: Crowd) -> None:
    stream = clients.stream()
    for number in (1.0, 2.0, 3.0):
        await stream.write(message("hot", (number, 3.0)))
        assert y_of(await stream.read()) == [2 * number, 6.0]
    await stream.done_writing()
    assert await stream.read() is grpc.aio.EOF
    assert await stream.code() is grpc.StatusCode.OK


async def test_an_error_in_a_stream_does_not_end_it(clients: Crowd) -> None:
    stream = clients.stream()
    await stream.write(message("hot", (WRONG,)))
    refused = streamed(await stream.read())
    assert refused.error_message == "x is wrong"
    await stream.write(message("hot", (4.0,)))
    assert y_of(await stream.read()) == [8.0]
    await stream.done_writing()
    assert await stream.code() is grpc.StatusCode.OK


async def test_large_messages_pass_through_a_stream(clients: Crowd) -> None:
    stream = clients.stream()
    for mib in (1, 8):
        x = floats(mib)
        await stream.write(message("hot", x))
        answer = streamed(await stream.read())
        assert answer.infer_response.raw_output_contents[0] == (2 * x).tobytes()
    await stream.done_writing()
    assert await stream.code() is grpc.StatusCode.OK


async def test_a_deadline_ends_a_request_that_runs(clients: Crowd) -> None:
    """Clients ask for a second's work and give it a third of one."""
    late = await clients.grpc("hot", -1.0, timeout_s=0.3)
    assert late.code == "DEADLINE_EXCEEDED"


async def test_hot_requests_say_hit(clients: Crowd) -> None:
    replies = await clients.both("hot", 10)
    assert all(reply.is_right for reply in replies)
    assert {reply.warmth for reply in replies} == {"hit"}


async def test_an_answer_that_takes_long_is_waited_for(clients: Crowd) -> None:
    over_h, over_g = await asyncio.gather(clients.http("hot", -1.2), clients.grpc("hot", -1.2))
    assert (over_h.code, over_g.code) == (200, "OK")
