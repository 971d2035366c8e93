"""Requests for models that are not loaded: held, and answered after one load for all."""

import asyncio
import json
import socket
import time
from collections import Counter
from urllib.parse import urlsplit

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2

from tests.builders import MIB
from tests.e2e.gateway.clients import (
    PATIENCE_S,
    Crowd,
    binary_body,
    framed,
    json_body,
    message,
    over_grpc,
    over_http,
    wrong,
    y_of,
)
from tests.e2e.gateway.conftest import House
from tests.eventually import eventually

pytestmark = [pytest.mark.triton, pytest.mark.timeout(180)]

AT_ONCE_S = 20.0
"""However busy the machine is; who is held waits for two minutes."""


async def test_two_hundred_first_requests_are_answered_after_one_load(
    gateway: House, clients: Crowd
) -> None:
    asking = asyncio.create_task(clients.both("herd", 100))
    await gateway.holds("herd", 200)
    gateway.shelf.open("herd")
    replies = await asking
    assert wrong(replies) == []
    assert gateway.shelf.loads("herd") == 1
    assert Counter(reply.warmth for reply in replies) == {"cold": 1, "joined": 199}
    later = await clients.both("herd", 1)
    assert [reply.warmth for reply in later] == ["hit", "hit"]
    assert gateway.shelf.loads("herd") == 1


async def test_a_stream_to_a_cold_model_is_held(gateway: House, clients: Crowd) -> None:
    stream = clients.stream()
    for number in (1.0, 2.0):
        await stream.write(message("streamed", (number,)))
        assert y_of(await stream.read()) == [2 * number]
    await stream.done_writing()
    assert await stream.code() is grpc.StatusCode.OK
    assert dict(await stream.initial_metadata())["x-warmth"] == "cold"
    assert gateway.shelf.loads("streamed") == 1


def test_a_first_request_of_eight_mib_is_repeated_as_it_was(gateway: House) -> None:
    x = np.random.default_rng(1).random(8 * MIB // 4, np.float32)
    body, headers = binary_body(x)
    reply = over_http(gateway.http, "/v2/models/eight-mib/infer", body, headers)
    assert reply.warmth == "cold"
    begin = int(reply.headers["inference-header-content-length"])
    assert reply.body[begin:] == (2 * x).tobytes()


def test_a_compressed_first_request_is_repeated_as_it_was(gateway: House) -> None:
    reply = over_grpc(
        gateway.grpc, "ModelInfer", message("packed"), compression=grpc.Compression.Gzip
    )
    assert reply.is_right
    assert reply.warmth == "cold"


async def test_a_compressed_stream_to_a_cold_model_is_held(gateway: House, clients: Crowd) -> None:
    stream = clients.stream(grpc.Compression.Gzip)
    await stream.write(message("packed-stream", (1.0,)))
    assert y_of(await stream.read()) == [2.0]
    await stream.done_writing()
    assert await stream.code() is grpc.StatusCode.OK
    assert gateway.shelf.loads("packed-stream") == 1


async def test_who_names_a_version_is_held_too(gateway: House) -> None:
    asking = asyncio.gather(
        asyncio.to_thread(
            over_http, gateway.http, "/v2/models/versioned/versions/1/infer", json_body(1, 3)
        ),
        asyncio.to_thread(
            over_grpc, gateway.grpc, "ModelInfer", message("versioned", model_version="1")
        ),
    )
    await gateway.holds("versioned", 2)
    gateway.shelf.open("versioned")
    over_h, over_g = await asking
    assert wrong([over_h, over_g]) == []
    assert {over_h.warmth, over_g.warmth} == {"cold", "joined"}
    assert gateway.shelf.loads("versioned") == 1


async def test_questions_about_a_cold_model_are_answered(gateway: House) -> None:
    """Readiness and statistics need no load."""
    ready = over_http(gateway.http, "/v2/models/described/ready")
    asked = service_pb2.ModelReadyRequest(name="described").SerializeToString()
    told = over_grpc(gateway.grpc, "ModelReady", asked)
    stats = over_http(gateway.http, "/v2/models/described/stats")
    assert ready.code == 200
    assert service_pb2.ModelReadyResponse.FromString(told.body).ready
    assert json.loads(stats.body) == {"model_stats": []}
    assert gateway.shelf.loads("described") == 0
    metadata = over_http(gateway.http, "/v2/models/described")
    assert json.loads(metadata.body)["inputs"][0]["name"] == "x"
    assert gateway.shelf.loads("described") == 1


async def test_a_client_whose_time_is_up_is_told_so_and_the_load_goes_on(
    gateway: House, clients: Crowd
) -> None:
    over_g, over_h = await asyncio.gather(
        clients.grpc("left", timeout_s=0.4),
        clients.http("left", headers={"x-request-timeout": "400ms"}),
    )
    assert over_g.code == "DEADLINE_EXCEEDED"
    assert over_h.code == 504
    assert over_h.error == (
        "left was not loaded within the 0.4 s that the client allows; the load goes on: ask again"
    )
    assert all(reply.seconds > 0.35 for reply in (over_g, over_h))
    gateway.shelf.open("left")
    await eventually(lambda: _is_loaded(gateway, "left"), "the load goes on")
    assert (await clients.grpc("left")).is_right
    assert gateway.shelf.loads("left") == 1


async def test_clients_that_leave_while_they_are_held_leave_nothing_behind(
    gateway: House, clients: Crowd
) -> None:
    leaving = [asyncio.create_task(ask("abandoned")) for ask in (clients.http, clients.grpc) * 10]
    await gateway.holds("abandoned", len(leaving))
    for task in leaving:
        task.cancel()
    ended = await asyncio.gather(*leaving, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended)
    # The sidecar itself waits on, for the load that goes on.
    await gateway.holds("abandoned", 1)
    gateway.shelf.open("abandoned")
    assert [reply.is_right for reply in await clients.both("abandoned", 1)] == [True, True]
    assert gateway.shelf.loads("abandoned") == 1


def test_a_body_that_trickles_in_is_answered_when_it_is_complete(gateway: House) -> None:
    """The model is long loaded when the rest of the request comes."""
    body = json_body(1, 3)
    head = (
        "POST /v2/models/trickled/infer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(_address(gateway), timeout=PATIENCE_S) as connection:
        connection.sendall(head + body[:10])
        deadline_s = time.monotonic() + PATIENCE_S
        while not gateway.events("model_loaded", "trickled"):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
        for byte in body[10:]:
            connection.sendall(bytes([byte]))
            time.sleep(0.002)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"x-warmth: cold" in answer
    assert answer.endswith(b'"data":[2.0,6.0]}]}')


async def test_a_model_that_cannot_fit_is_refused_with_the_numbers(
    gateway: House, clients: Crowd
) -> None:
    over_h, over_g = await asyncio.gather(clients.http("too-large"), clients.grpc("too-large"))
    assert (over_h.code, over_g.code) == (507, "RESOURCE_EXHAUSTED")
    assert "too-large needs 200.0 GiB on cpu, where " in over_h.error
    assert "too-large needs 200.0 GiB on cpu, where " in over_g.error
    said = json.loads(over_h.body)
    assert (said["device"], said["needed_bytes"]) == ("cpu", 200 * 1024 * MIB)
    assert over_h.warmth == over_g.warmth == "refused"
    assert gateway.shelf.loads("too-large") == 0


async def test_each_of_fifty_who_wait_for_a_broken_model_gets_its_reason(
    gateway: House, clients: Crowd
) -> None:
    replies = await clients.both("broken", 25)
    assert {reply.code for reply in replies} == {503, "FAILED_PRECONDITION"}
    assert all(reply.error.startswith("broken is in quarantine: ") for reply in replies)
    assert {reply.warmth for reply in replies} == {"refused"}
    tries = gateway.shelf.loads("broken")
    later = await clients.both("broken", 1)
    assert [reply.error for reply in later] == [replies[0].error, replies[-1].error]
    assert all(reply.seconds < AT_ONCE_S for reply in later), "at once"
    assert int(str(later[0].headers["retry-after"])) > 0
    assert gateway.shelf.loads("broken") == tries, "nobody tried again"


def test_a_message_that_is_none_of_tritons_is_refused(gateway: House) -> None:
    reply = over_grpc(gateway.grpc, "ModelInfer", b"\xff\xff\xff")
    assert reply.code == "INVALID_ARGUMENT"
    assert "no message of Triton's" in reply.error


def test_broken_frames_end_in_an_error_and_harm_nobody(gateway: House) -> None:
    """A length that promises more than comes, an unknown flag, and no gRPC at all."""
    for frame, content_type in (
        (b"\x00\x00\x00\xff\xff" + message("hot"), "application/grpc"),
        (b"\x07\x00\x00\x00\x01x", "application/grpc"),
        (framed(message("hot")), "text/plain"),
        (b"nonsense", "text/plain"),
    ):
        reply = over_http(
            f"http://{gateway.grpc}",
            "/inference.GRPCInferenceService/ModelInfer",
            frame,
            {"content-type": content_type, "te": "trailers"},
        )
        assert reply.headers.get("grpc-status") != "0"
        assert reply.seconds < AT_ONCE_S
    assert over_grpc(gateway.grpc, "ModelInfer", message("hot")).is_right


async def _is_loaded(gateway: House, model: str) -> bool:
    return bool(await asyncio.to_thread(gateway.events, "model_loaded", model))


def _address(gateway: House) -> tuple[str, int]:
    where = urlsplit(gateway.http)
    return str(where.hostname), int(where.port or 0)
