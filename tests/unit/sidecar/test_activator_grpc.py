"""The activator as Envoy meets it over gRPC: a real server, Triton's own messages."""

import asyncio
import struct
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from structlog.testing import capture_logs
from tritonclient.grpc import aio, service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from sidecar.activator import serve
from sidecar.activator.serve import Activator
from sidecar.errors import NotNow, Quarantined
from tests.unit.sidecar.activated import PATIENCE_S, HandHold, activated

Code = grpc.StatusCode
SERVICE = "/inference.GRPCInferenceService"
REQUEST = service_pb2.ModelInferRequest(model_name="m")
MANY = 200
LARGE = 32 * 2**20
AGAIN = (Code.UNAVAILABLE, True, False)
UNKNOWN = (Code.NOT_FOUND, False, True)
FRAME = struct.Struct(">BHBBI")
HEADERS, END_STREAM, END_HEADERS = 1, 1, 4

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def channel(activator: Activator, hold: HandHold) -> AsyncIterator[grpc.aio.Channel]:
    host, port = activator.grpc
    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        yield channel


@pytest.fixture
def triton(channel: grpc.aio.Channel) -> Any:
    return service_pb2_grpc.GRPCInferenceServiceStub(channel)


async def refusal(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


def told(error: grpc.aio.AioRpcError) -> tuple[grpc.StatusCode, bool, bool]:
    """Status, whether Envoy asks again, whether it never does."""
    told = dict(error.trailing_metadata())
    return error.code(), "x-pilotlight-again" in told, "x-envoy-ratelimited" in told


async def test_a_request_is_held_until_its_model_is_loaded(hold: HandHold, triton: Any) -> None:
    asking = asyncio.ensure_future(refusal(triton.ModelInfer(REQUEST)))
    await hold.has(lambda hold: hold.waiting == 1)
    assert not asking.done()

    hold.release()

    error = await asking
    assert told(error) == AGAIN
    assert dict(error.trailing_metadata())["x-warmth"] == "cold"
    assert hold.asked == [("m", None)]


async def test_a_herd_is_held_and_sent_back_together(hold: HandHold, triton: Any) -> None:
    asking = [asyncio.ensure_future(refusal(triton.ModelInfer(REQUEST))) for _ in range(MANY)]
    await hold.has(lambda hold: hold.waiting == MANY)

    hold.release()

    assert {told(error) for error in await asyncio.gather(*asking)} == {AGAIN}


@pytest.mark.parametrize("method", ["ModelMetadata", "ModelConfig"])
async def test_what_tells_of_the_model_is_held_too(
    hold: HandHold, triton: Any, method: str
) -> None:
    hold.release()
    request = getattr(service_pb2, f"{method}Request")(name="m")
    assert told(await refusal(getattr(triton, method)(request))) == AGAIN
    assert hold.asked == [("m", None)]


async def test_a_stream_is_held_at_its_first_request(hold: HandHold, triton: Any) -> None:
    hold.release()
    stream = triton.ModelStreamInfer()
    await stream.write(REQUEST)

    error = await refusal(stream.read())

    assert told(error) == AGAIN
    assert hold.asked == [("m", None)]


async def test_a_stream_that_ends_without_a_request_names_no_model(
    hold: HandHold, triton: Any
) -> None:
    stream = triton.ModelStreamInfer()
    await stream.done_writing()
    assert told(await refusal(stream.read())) == UNKNOWN
    assert hold.asked == []


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer"])
async def test_who_cancels_is_held_no_longer(hold: HandHold, triton: Any, method: str) -> None:
    if method == "ModelInfer":
        call = triton.ModelInfer(REQUEST)
    else:
        call = triton.ModelStreamInfer()
        await call.write(REQUEST)
    await hold.has(lambda hold: hold.waiting == 1)

    call.cancel()

    await hold.has(lambda hold: (hold.waiting, hold.gone) == (0, 1))


async def test_the_clients_deadline_is_handed_on(hold: HandHold, triton: Any) -> None:
    hold.release()
    await refusal(triton.ModelInfer(REQUEST, timeout=3600))
    ((_, timeout_s),) = hold.asked
    assert timeout_s == pytest.approx(3600, abs=60)


async def test_what_was_done_with_a_request_before_counts(hold: HandHold, triton: Any) -> None:
    hold.release()
    once = ["own:0:0:0", "activator:500:9:0", "own:1500:19:5", "activator:4000:29:9"]
    twice = [*once[:-1], "activator:4000:29:5"]

    for tries, expected in ((once, AGAIN), (twice, (Code.INTERNAL, False, True))):
        metadata = [("x-pilotlight-tries", each) for each in tries]
        assert told(await refusal(triton.ModelInfer(REQUEST, metadata=metadata))) == expected

    assert hold.pasts == [(4.0, 1.0)]


async def test_a_deadline_that_passes_ends_the_hold(hold: HandHold, triton: Any) -> None:
    error = await refusal(triton.ModelInfer(REQUEST, timeout=0.1))
    assert error.code() is Code.DEADLINE_EXCEEDED
    await hold.has(lambda hold: hold.waiting == 0)


async def test_a_refusal_is_told_with_the_time_to_wait(hold: HandHold, triton: Any) -> None:
    hold.refuses = NotNow("the sidecar is paused and loads nothing; resume it first")

    error = await refusal(triton.ModelInfer(REQUEST))

    assert told(error) == (Code.UNAVAILABLE, False, True)
    assert error.details() == str(hold.refuses)
    assert b"RetryInfo" in dict(error.trailing_metadata())["grpc-status-details-bin"]


async def test_a_bug_is_logged_and_not_shown(hold: HandHold, triton: Any) -> None:
    hold.refuses = ZeroDivisionError("secret")

    with capture_logs() as logs:
        error = await refusal(triton.ModelInfer(REQUEST))

    assert told(error) == (Code.INTERNAL, False, True)
    assert "secret" not in error.details()
    (line,) = [line for line in logs if line["event"] == "hold_crashed"]
    assert (line["model"], line["exc_info"]) == ("m", hold.refuses)


async def test_tritons_client_is_told_of_an_unknown_model_in_tritons_words(
    activator: Activator,
) -> None:
    host, port = activator.grpc
    async with aio.InferenceServerClient(f"{host}:{port}") as client:
        with pytest.raises(InferenceServerException, match="unknown model: 'x' is not found"):
            await client.get_model_metadata("x")


async def test_readiness_is_told_without_a_load(hold: HandHold, activator: Activator) -> None:
    host, port = activator.grpc
    async with aio.InferenceServerClient(f"{host}:{port}") as client:
        assert await client.is_model_ready("m") is True
        assert await client.is_model_ready("x", "1") is False
        hold.refuses = Quarantined("rests", until_s=None)
        assert await client.is_model_ready("m") is False
    assert hold.asked == []


async def test_a_model_that_is_not_loaded_has_no_statistics(hold: HandHold, triton: Any) -> None:
    hold.refuses = Quarantined("rests", until_s=None)
    request = service_pb2.ModelStatisticsRequest(name="m")
    assert await triton.ModelStatistics(request) == service_pb2.ModelStatisticsResponse()
    request.name = "x"
    assert told(await refusal(triton.ModelStatistics(request))) == UNKNOWN
    assert hold.asked == []


@pytest.mark.parametrize("name", ["", "..", "a/b", "%6D", "é", "a\nb", "\0", "é" * 10_000])
async def test_an_odd_name_is_unknown(hold: HandHold, triton: Any, name: str) -> None:
    error = await refusal(triton.ModelInfer(service_pb2.ModelInferRequest(model_name=name)))
    expected = f"Request for unknown model: '{name}' is not found"
    assert (told(error), error.details()) == (UNKNOWN, expected[:1000])
    assert hold.asked == []


@pytest.mark.parametrize("method", ["ModelInfer", "ModelStreamInfer", "ModelReady"])
@pytest.mark.parametrize("message", [b"\x0a\x05m", b"\x0a\x02\xff\xfe"])
async def test_a_message_that_is_none_is_refused(
    hold: HandHold, channel: grpc.aio.Channel, method: str, message: bytes
) -> None:
    error = await refusal(channel.unary_unary(f"{SERVICE}/{method}")(message))
    assert told(error) == (Code.INVALID_ARGUMENT, False, True)
    assert hold.asked == []


@pytest.mark.parametrize("path", [f"{SERVICE}/RepositoryModelLoad", "/other.Service/ModelInfer"])
async def test_another_method_is_not_there(channel: grpc.aio.Channel, path: str) -> None:
    error = await refusal(channel.unary_unary(path)(b""))
    assert error.code() is Code.UNIMPLEMENTED


async def test_a_compressed_request_is_understood(hold: HandHold, triton: Any) -> None:
    hold.release()
    call = triton.ModelInfer(REQUEST, compression=grpc.Compression.Gzip)
    assert told(await refusal(call)) == AGAIN


async def test_a_large_request_is_not_kept_while_it_waits(
    hold: HandHold, channel: grpc.aio.Channel
) -> None:
    message = REQUEST.SerializeToString() + b"\x3a" + varint(LARGE) + bytes(LARGE)
    tracemalloc.start()
    try:
        asking = asyncio.ensure_future(
            refusal(channel.unary_unary(f"{SERVICE}/ModelInfer")(message))
        )
        await hold.has(lambda hold: hold.waiting == 1)
        assert tracemalloc.get_traced_memory()[0] < LARGE / 8
        hold.release()
        assert told(await asking) == AGAIN
    finally:
        tracemalloc.stop()


def varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low | 128]) + varint(rest) if rest else bytes([low])


async def test_a_stop_sends_back_what_is_held(
    hold: HandHold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "GRACE_S", PATIENCE_S)
    async with activated(hold) as activator:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{activator.grpc[1]}")
        triton = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        asking = asyncio.ensure_future(refusal(triton.ModelInfer(REQUEST)))
        await hold.has(lambda hold: hold.waiting == 1)

    assert told(await asking) == AGAIN
    await channel.close()


@pytest.mark.parametrize("name", ["m", "x"])
async def test_an_answer_is_one_frame_of_headers_where_envoy_looks_for_it(
    hold: HandHold, activator: Activator, name: str
) -> None:
    hold.release()
    request = service_pb2.ModelInferRequest(model_name=name).SerializeToString()

    frames = await answer_frames(activator, f"{SERVICE}/ModelInfer", request)

    assert frames == [(HEADERS, END_STREAM | END_HEADERS)]


async def answer_frames(activator: Activator, path: str, message: bytes) -> list[tuple[int, int]]:
    """Type and flags of the HTTP/2 frames (RFC 9113) that answer a call, up to its end."""
    headers = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "x",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    # RFC 7541, 6.2.2: literal header fields, without an index and without Huffman's code.
    block = b"".join(b"\0" + string(name) + string(value) for name, value in headers.items())
    body = struct.pack(">BI", 0, len(message)) + message
    reader, writer = await asyncio.open_connection(*activator.grpc)
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(4, 0, 0, b""))
    writer.write(frame(HEADERS, END_HEADERS, 1, block) + frame(0, END_STREAM, 1, body))
    found: list[tuple[int, int]] = []
    while not found or not found[-1][1] & END_STREAM:
        high, low, kind, flags, stream = FRAME.unpack(await reader.readexactly(FRAME.size))
        await reader.readexactly(high << 16 | low)
        if stream == 1 and kind in (0, HEADERS):
            found.append((kind, flags))
    writer.close()
    await writer.wait_closed()
    return found


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return FRAME.pack(0, len(payload), kind, flags, stream) + payload


def string(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()
