"""What Envoy does with requests when it is configured by us; small servers stand for Triton.

One Envoy for all of it; each test gives it its own routes.
"""

import asyncio
import json
import math
import random
import ssl
import struct
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
import pytest_asyncio
from grpc import StatusCode
from tritonclient.grpc import service_pb2

from sidecar.adapters.envoy.gateway import EnvoyGateway
from sidecar.core.routing import Replica, Routes, Split
from sidecar.core.traffic import Answered
from sidecar.errors import GatewayRefused
from sidecar.settings import host_and_port
from tests.contract.upstreams import (
    AGAIN,
    FINAL,
    MIB,
    PATIENCE_S,
    PROTOCOLS,
    SERVICE,
    UNKNOWN,
    Client,
    Front,
    Says,
    Seen,
    Upstream,
    always,
    client_of,
    envoy_before,
    hang,
    impatient,
    infer_request,
    running,
)
from tests.eventually import eventually
from tests.fixtures.embedded import LIVE_TIMEOUT_S

pytestmark = [
    pytest.mark.triton,
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]

LARGEST = 4 * MIB
DATA, HEADERS, SETTINGS, END_HEADERS = 0, 1, 4, 4
NOT_READY = Says(
    status=503,
    code=StatusCode.UNAVAILABLE,
    text="Request for unknown model: 'm' version 1 is not at ready state",
)
over_all_protocols = pytest.mark.parametrize("protocol", PROTOCOLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    front: Front
    a: Upstream
    b: Upstream
    activator: Upstream
    canary: Upstream
    client: Client

    async def route(self, *models: str, **more: object) -> None:
        """Models on `a`."""
        await self.route_to(self.a.replica(*models), self.b.replica(), **more)

    async def route_to(self, *replicas: Replica, **more: object) -> None:
        await self.front.route(*replicas, **more)
        await self.front.is_live(*replicas)
        await self.client.settled()

    def begin_anew(self) -> None:
        for upstream in (self.a, self.b, self.activator, self.canary):
            upstream.begin_anew()
        self.activator.answers = always(FINAL)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    envoy_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        a, b, activator = [
            await stack.enter_async_context(running(Upstream(name)))
            for name in ("a", "b", "activator")
        ]
        canary = Upstream("canary")
        front = await stack.enter_async_context(
            envoy_before(
                activator,
                canary,
                binary=envoy_binary,
                home=tmp_path_factory.mktemp("envoy"),
                largest_request_bytes=LARGEST,
            )
        )
        client = await stack.enter_async_context(client_of(front))
        yield World(front=front, a=a, b=b, activator=activator, canary=canary, client=client)


@pytest_asyncio.fixture(loop_scope="module")
async def world(shared: World) -> World:
    """As if it were new: `m` is on `a`, and the activator refuses."""
    await shared.route("m")
    shared.begin_anew()
    return shared


# Which server a request goes to.


@over_all_protocols
async def test_a_request_goes_to_the_replica_that_has_its_model(
    world: World, protocol: str
) -> None:
    await world.route_to(world.a.replica("m"), world.b.replica("n"))

    assert (await world.client.ask(protocol, "m")).server == "a"
    assert (await world.client.ask(protocol, "n")).server == "b"
    assert world.activator.seen == []


@over_all_protocols
async def test_replicas_that_have_the_same_model_share_its_requests(
    world: World, protocol: str
) -> None:
    await world.route_to(world.a.replica("m"), world.b.replica("m"))

    answers = [await world.client.ask(protocol) for _ in range(40)]

    assert {answer.server for answer in answers} == {"a", "b"}


@over_all_protocols
async def test_a_model_that_no_replica_has_goes_to_the_activator_at_once(
    world: World, protocol: str
) -> None:
    got = await world.client.ask(protocol, "cold")

    assert got.code in (404, StatusCode.NOT_FOUND)
    assert "no such model" in got.text
    assert len(world.activator.seen) == 1
    assert world.a.seen == world.b.seen == []


@over_all_protocols
async def test_a_held_request_is_repeated_to_the_replica_that_has_the_model_now(
    world: World, protocol: str
) -> None:
    async def load(_: Seen) -> Says:
        await world.route("m", "cold")
        return AGAIN

    world.activator.answers = load
    got = await world.client.ask(protocol, "cold", raw=b"tensor")

    assert (got.is_ok, got.server, got.warmth) == (True, "a", "cold")
    assert world.a.seen[0].body == world.activator.seen[0].body
    assert b"tensor" in world.a.seen[0].body
    assert len(world.activator.seen) == 1


@over_all_protocols
async def test_an_answer_to_a_loaded_model_says_hit_and_no_word_of_ours(
    world: World, protocol: str
) -> None:
    got = await world.client.ask(protocol)

    assert got.warmth == "hit"
    assert [name for name in got.headers if name.startswith(("x-envoy", "x-pilotlight"))] == []
    assert "server" not in got.headers


@over_all_protocols
async def test_a_final_answer_is_not_asked_for_again_and_says_no_word_of_ours(
    world: World, protocol: str
) -> None:
    got = await world.client.ask(protocol, "cold")

    assert len(world.activator.seen) == 1
    assert [name for name in got.headers if name.startswith(("x-envoy", "x-pilotlight"))] == []


@pytest.mark.parametrize(
    ("protocol", "version", "said"),
    [
        ("http", "", UNKNOWN),
        ("http", "1", UNKNOWN),
        ("http", "1", NOT_READY),
        ("grpc", "", UNKNOWN),
        ("grpc", "1", NOT_READY),
        ("stream", "", UNKNOWN),
    ],
)
async def test_a_model_that_has_gone_behind_our_back_is_asked_for_at_the_activator(
    world: World, protocol: str, version: str, said: Says
) -> None:
    gone = True

    async def answer(_: Seen) -> Says:
        return said if gone else Says()

    async def load(_: Seen) -> Says:
        nonlocal gone
        gone = False
        return AGAIN

    world.a.answers, world.activator.answers = answer, load

    got = await world.client.ask(protocol, version=version)

    assert (got.is_ok, got.warmth) == (True, "cold")
    assert len(world.activator.seen) == 1


@pytest.mark.parametrize(
    ("protocol", "said"),
    [
        ("http", Says(status=400, text="bad input")),
        ("http", Says(status=503, text="queue is full")),
        ("http", Says(status=500, text="a bug")),
        ("grpc", Says(code=StatusCode.INVALID_ARGUMENT, text="bad input")),
        ("grpc", Says(code=StatusCode.UNAVAILABLE, text="queue is full")),
        ("stream", Says(code=StatusCode.INTERNAL, text="a bug")),
    ],
)
async def test_any_other_error_of_triton_is_the_answer(
    world: World, protocol: str, said: Says
) -> None:
    world.a.answers = always(said)

    got = await world.client.ask(protocol)

    assert got.code == (said.status if protocol == "http" else said.code)
    assert got.text == said.text
    assert len(world.a.seen) == 1
    assert world.activator.seen == []


async def test_an_activator_that_always_says_again_is_asked_a_bounded_number_of_times(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer times than usual, for that takes many seconds."""
    monkeypatch.setattr("sidecar.adapters.envoy.routes._TRIES", 3)
    await world.route("m")
    world.activator.answers = always(AGAIN)

    answers = await asyncio.gather(*(world.client.ask(each, each) for each in PROTOCOLS))

    unavailable = StatusCode.UNAVAILABLE
    assert [answer.code for answer in answers] == [503, unavailable, unavailable]
    asked = Counter(model_of(seen) for seen in world.activator.seen)
    assert asked == dict.fromkeys(PROTOCOLS, 1 + 3)


async def test_a_compressed_message_goes_by_what_triton_answers(world: World) -> None:
    """Envoy cannot read whose it is."""
    gone = True

    async def answer(_: Seen) -> Says:
        return UNKNOWN if gone else Says()

    async def load(_: Seen) -> Says:
        nonlocal gone
        gone = False
        return AGAIN

    world.a.answers = world.b.answers = answer
    world.activator.answers = load
    message = infer_request("m", raw=b"x" * 10_000)

    got = await world.client.call("ModelInfer", message, compression=grpc.Compression.Gzip)

    assert got.is_ok
    assert got.body == message
    assert len(world.activator.seen) == 1


# Servers that die.


class Slammer:
    """Says that it is live, and closes the connection of whoever asks for more."""

    def __init__(self) -> None:
        self.slammed = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(65_536):
            if not said.startswith(b"GET /v2/health/live"):
                self.slammed += 1
                break
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("stateful", [False, True])
async def test_a_request_whose_server_dies_is_repeated_unless_its_model_keeps_state(
    world: World, protocol: str, *, stateful: bool
) -> None:
    slammer = Slammer()
    async with await asyncio.start_server(slammer.serve, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        dying = Replica(name="dying", http=address, grpc=address, models=frozenset({"s"}))
        await world.route_to(dying, stateful=frozenset({"s"} if stateful else ()))
        slammer.slammed = 0

        got = await world.client.ask(protocol, "s")

        assert slammer.slammed == 1
        assert len(world.activator.seen) == (0 if stateful else 1)
        assert got.code in (
            (503, StatusCode.UNAVAILABLE) if stateful else (404, StatusCode.NOT_FOUND)
        )
        await world.route("m")


@over_all_protocols
async def test_a_replica_that_dies_gets_no_requests_any_more(world: World, protocol: str) -> None:
    """And not before half a second has passed; requests are repeated to another one meanwhile."""
    third = Upstream("third")
    async with running(third):
        await world.route_to(world.b.replica("m"), third.replica("m"))
    world.activator.answers = always(AGAIN)

    answers = [await world.client.ask(protocol) for _ in range(30)]

    assert {answer.server for answer in answers} == {"b"}


# What is open, and what is not.

CLOSED_HTTP = (
    "/",
    "/metrics",
    "/v2/repository/index",
    "/v2/repository/models/m/load",
    "/v2/repository/models/m/unload",
    "/v2/systemsharedmemory/status",
    "/v2/systemsharedmemory/region/r/register",
    "/v2/cudasharedmemory/status",
    "/v2/trace/setting",
    "/v2/models/m/trace/setting",
    "/v2/logging",
    "/v2/models/stats",
    "/v2/models/m/infer/more",
    "/v2/models/m/versions/1/load",
    "/v3/models/m/infer",
)
OPEN_HTTP = (
    "/v2",
    "/v2/health/ready",
    "/v2/models/m",
    "/v2/models/m/infer",
    "/v2/models/m/generate",
    "/v2/models/m/generate_stream",
    "/v2/models/m/config",
    "/v2/models/m/ready",
    "/v2/models/m/stats",
    "/v2/models/m/versions/1",
    "/v2/models/m/versions/1/infer",
    "/v2/models/m/versions/1/ready",
    "/v2/models/m/infer?a=/../b",
)
CLOSED_GRPC = (
    "RepositoryIndex",
    "RepositoryModelLoad",
    "RepositoryModelUnload",
    "SystemSharedMemoryStatus",
    "SystemSharedMemoryRegister",
    "CudaSharedMemoryStatus",
    "TraceSetting",
    "LogSettings",
    "ModelInferMore",
    "",
)
OPEN_GRPC = (
    "ModelInfer",
    "ModelReady",
    "ModelMetadata",
    "ModelConfig",
    "ModelStatistics",
    "ServerLive",
    "ServerReady",
    "ServerMetadata",
)


@pytest.mark.parametrize("path", CLOSED_HTTP)
async def test_what_belongs_to_operators_is_closed_over_http(world: World, path: str) -> None:
    got = await world.client.post(path)

    assert got.code == 403
    assert "open to inference" in json.loads(got.text)["error"]
    assert world.a.seen == world.b.seen == world.activator.seen == []


@pytest.mark.parametrize("path", OPEN_HTTP)
async def test_inference_and_questions_pass_over_http(world: World, path: str) -> None:
    got = await world.client.post(path)

    assert (got.code, got.server in ("a", "b")) == (200, True)
    assert world.a.paths + world.b.paths == [path]


@pytest.mark.parametrize("method", CLOSED_GRPC)
async def test_what_belongs_to_operators_is_closed_over_grpc(world: World, method: str) -> None:
    got = await world.client.call(method, b"")

    assert (got.code, "open to inference" in got.text) == (StatusCode.PERMISSION_DENIED, True)
    assert world.a.seen == world.b.seen == world.activator.seen == []


@pytest.mark.parametrize("method", OPEN_GRPC)
async def test_inference_and_questions_pass_over_grpc(world: World, method: str) -> None:
    """A model's name is field 1 in each of them."""
    message = infer_request("m")

    assert (await world.client.call(method, message)).body == message


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v2/models/m/../../repository/index", 403),
        ("/v2/models/%2e%2e/%2E%2E/repository/index", 403),
        ("/v2/models/./../repository/index", 403),
        ("http://other/v2/repository/index", 403),
        ("/v2/models/m%2F..%2F..%2Frepository/index", 400),
        ("/v2/models/m%5Cinfer", 400),
        ("/v2/models/" + "x" * 100_000, 431),
        ("/v2/models/m\0/infer", 400),
        ("/v2/models//infer/../../repository/index", 403),
        ("/../../v2/repository/index", 403),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_no_trick_with_a_path_reaches_what_is_closed(
    world: World, target: str, status: int
) -> None:
    assert await asked_raw(world, target) == status
    assert world.a.seen == world.b.seen == world.activator.seen == []


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("//v2///models/m/infer", "/v2/models/m/infer"),
        ("/v2/models/n/../m/infer", "/v2/models/m/infer"),
        ("/v2/models/%6D/infer", "/v2/models/m/infer"),
    ],
)
async def test_a_path_is_put_straight_before_the_model_is_read_from_it(
    world: World, target: str, path: str
) -> None:
    assert await asked_raw(world, target) == 200
    assert world.a.paths == [path]


@pytest.mark.parametrize("name", ["x" * 2000, "a;b", "%01", "a%20b", "..."])
async def test_a_strange_name_is_a_matter_for_the_activator(world: World, name: str) -> None:
    assert await asked_raw(world, f"/v2/models/{name}/infer") == 404
    assert world.activator.paths == [f"/v2/models/{name}/infer"]


HOSTILE = ['a"b', "a\nb", 'a","b', '"]', "a\\", "a}b", "ü", "a b", " m", "x" * 2_000, ""]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: repr(name)[:20])
@pytest.mark.parametrize("protocol", ["grpc", "stream"])
async def test_a_strange_name_over_grpc_is_answered_and_does_no_harm(
    world: World, protocol: str, name: str
) -> None:
    await world.route_to(world.a.replica("m"), world.b.replica("n"))

    got = await world.client.ask(protocol, name)

    assert not got.is_ok
    assert world.a.seen == world.b.seen == []
    await world.front.gateway.traffic()
    assert (await world.client.ask(protocol, "m")).server == "a"


async def asked_raw(world: World, target: str) -> int:
    """Status of a POST whose target nobody has put straight."""
    reader, writer = await asyncio.open_connection(*host_and_port(world.front.http))
    writer.write(
        f"POST {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
        "content-length: 0\r\n\r\n".encode()
    )
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


@over_all_protocols
async def test_headers_that_steer_envoy_or_us_are_taken_from_clients(
    world: World, protocol: str
) -> None:
    await world.route_to(world.a.replica("m"), world.b.replica("n"))
    steering = {
        "x-envoy-retry-on": "5xx",
        "x-envoy-max-retries": "50",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-anything": "1",
        "x-pilotlight-model": "n",
        "x-pilotlight-version": "9",
    }
    world.a.answers = always(
        Says(status=500, code=StatusCode.INTERNAL, text="once", headers={"x-pilotlight-x": "1"})
    )

    await world.client.ask(protocol, headers={**steering, "traceparent": "00-1-2-00"})

    (seen,) = world.a.seen
    assert world.b.seen == []
    assert [name for name, value in steering.items() if seen.headers.get(name) == value] == []
    assert seen.headers["traceparent"] == "00-1-2-00"


# Releases: splits, keys, mirrors.


@over_all_protocols
async def test_a_request_that_names_no_version_gets_one_of_the_split(
    world: World, protocol: str
) -> None:
    await world.route("m", splits={"m": Split(weights={1: 50, 2: 50})})

    for _ in range(60):
        assert (await world.client.ask(protocol, raw=b"tensor")).is_ok

    versions = Counter(version_of(seen) for seen in world.a.seen)
    assert set(versions) == {"1", "2"}
    assert 8 <= versions["1"] <= 52
    assert all(b"tensor" in seen.body for seen in world.a.seen)


@over_all_protocols
async def test_weights_are_shares(world: World, protocol: str) -> None:
    await world.route("m", splits={"m": Split(weights={2: 7})})

    for _ in range(10):
        await world.client.ask(protocol)

    assert {version_of(seen) for seen in world.a.seen} == {"2"}


@over_all_protocols
async def test_a_version_that_a_client_names_wins(world: World, protocol: str) -> None:
    await world.route("m", splits={"m": Split(weights={2: 1})})

    await world.client.ask(protocol, version="1")

    assert version_of(world.a.seen[0]) == "1"


@over_all_protocols
async def test_a_split_leaves_other_models_alone(world: World, protocol: str) -> None:
    await world.route("m", "n", splits={"m": Split(weights={2: 1})})

    await world.client.ask(protocol, "n")

    assert version_of(world.a.seen[0]) == ""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/models/m/infer?a=1", "/v2/models/m/versions/2/infer?a=1"),
        ("/v2/models/m/generate", "/v2/models/m/versions/2/generate"),
        ("/v2/models/m/generate_stream", "/v2/models/m/versions/2/generate_stream"),
        ("/v2/models/m/config", "/v2/models/m/config"),
        ("/v2/models/m", "/v2/models/m"),
        ("/v2/models/m.x/infer", "/v2/models/m.x/infer"),
        ("/v2/models/mx/infer", "/v2/models/mx/infer"),
    ],
)
async def test_only_inference_is_split_over_http(world: World, path: str, expected: str) -> None:
    await world.route("m", "m.x", "mx", splits={"m": Split(weights={2: 1})})

    await world.client.post(path)

    assert world.a.paths == [expected]


async def test_a_name_that_looks_like_a_pattern_is_a_name(world: World) -> None:
    await world.route("a.b", "axb", splits={"a.b": Split(weights={2: 1})})

    await world.client.ask("http", "axb")
    await world.client.ask("http", "a.b")

    assert world.a.paths == ["/v2/models/axb/infer", "/v2/models/a.b/versions/2/infer"]


@pytest.mark.parametrize("seed", range(3))
async def test_messages_of_a_split_stream_arrive_whole_whatever_their_size(
    world: World, seed: int
) -> None:
    chance = random.Random(seed)  # noqa: S311
    sizes = [0, 1, 2**14 - 5, 2**16, *(int(2 ** chance.uniform(0, 21)) for _ in range(12))]
    chance.shuffle(sizes)
    messages = [infer_request("m", raw=chance.randbytes(size)) for size in sizes]
    await world.route("m", splits={"m": Split(weights={1: 1, 2: 1})})

    answers = await world.client.stream(messages)

    (seen,) = world.a.seen
    found = [service_pb2.ModelInferRequest.FromString(message) for message in seen.messages]
    (version,) = {request.model_version for request in found}
    assert version in ("1", "2")
    field_2 = b"\x12\x01" + version.encode()
    assert [answer.body for answer in answers] == [field_2 + message for message in messages]


@pytest.mark.parametrize("cut", [1, 2, 3, 7, 64, 10_000])
async def test_messages_of_a_split_stream_arrive_whole_wherever_frames_cut_them(
    world: World, cut: int
) -> None:
    messages = [infer_request("m", raw=b"x" * size) for size in (0, 1, 30, 2, 100, 5) * 20]
    await world.route("m", splits={"m": Split(weights={2: 1})})
    body = b"".join(struct.pack(">BI", 0, len(message)) + message for message in messages)

    async with sent_raw(world.front.grpc, f"{SERVICE}/ModelStreamInfer", body, cut):
        expected = [b"\x12\x012" + message for message in messages]
        arrived = is_true(lambda: [seen.messages for seen in world.a.seen] == [expected])
        await eventually(arrived, "all messages arrive")


@asynccontextmanager
async def sent_raw(address: str, path: str, body: bytes, cut: int) -> AsyncIterator[None]:
    """A gRPC call whose DATA frames have `cut` bytes; open until this is left."""
    head = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "x"}
    head |= {"content-type": "application/grpc", "te": "trailers"}
    block = b"".join(b"\0" + literal(name) + literal(value) for name, value in head.items())
    frames = [frame(SETTINGS, b"", stream=0), frame(HEADERS, block, flags=END_HEADERS)]
    frames += [frame(DATA, body[at : at + cut]) for at in range(0, len(body), cut)]
    _, writer = await asyncio.open_connection(*host_and_port(address))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(frames))
    try:
        yield
    finally:
        writer.close()


def literal(text: str) -> bytes:
    return bytes([len(text)]) + text.encode()


def frame(kind: int, payload: bytes, *, flags: int = 0, stream: int = 1) -> bytes:
    length = struct.pack(">I", len(payload))[1:]
    return length + struct.pack(">BBI", kind, flags, stream) + payload


@pytest.mark.parametrize("size", [0, 1, 2**14, 2**16 - 7, MIB + 1, 2 * MIB])
async def test_a_message_of_a_split_call_arrives_whole_whatever_its_size(
    world: World, size: int
) -> None:
    message = infer_request("m", raw=random.Random(size).randbytes(size))  # noqa: S311
    await world.route("m", splits={"m": Split(weights={12: 1})})

    assert (await world.client.call("ModelInfer", message)).body == b"\x12\x0212" + message


@pytest.mark.parametrize("method", ["ModelReady", "ModelMetadata", "ModelConfig"])
async def test_questions_about_a_split_model_pass_over_grpc(world: World, method: str) -> None:
    await world.route("m", splits={"m": Split(weights={2: 1})})

    got = await world.client.call(method, infer_request("m"))

    assert got.is_ok
    assert world.a.seen[0].path == f"{SERVICE}/{method}"


def model_of(seen: Seen) -> str:
    if seen.protocol == "grpc":
        return str(service_pb2.ModelInferRequest.FromString(seen.messages[0]).model_name)
    return seen.path.split("/")[3]


def version_of(seen: Seen) -> str:
    if seen.protocol == "grpc":
        return str(service_pb2.ModelInferRequest.FromString(seen.messages[0]).model_version)
    parts = seen.path.split("/")
    return parts[parts.index("versions") + 1] if "versions" in parts else ""


# The same value of a header meets the same version, whatever the protocol.

WEIGHTS = {1: 90, 2: 10}


async def test_a_key_meets_the_same_version_over_all_protocols(world: World) -> None:
    split = Split(weights={1: 50, 2: 50}, sticky_header="x-user")
    await world.route("m", splits={"m": split})
    keys = [f"user {number}" for number in range(30)]

    for key in keys:
        world.a.seen.clear()
        for protocol in PROTOCOLS:
            await world.client.ask(protocol, headers={"x-user": key})
        expected = "1" if share(key) < 50 else "2"
        assert [version_of(seen) for seen in world.a.seen] == [expected] * len(PROTOCOLS)


@pytest.mark.parametrize("shape", ["user-{}", "{}", "{:032x}", "a long and common beginning {}"])
async def test_keys_are_spread_as_the_weights_say(shape: str) -> None:
    """Five standard deviations of a fair choice, which the keys of `share` must be like."""
    count = 10_000
    found = sum(share(shape.format(number)) < WEIGHTS[1] for number in range(count))

    assert abs(found - 0.9 * count) < 5 * math.sqrt(count * 0.9 * 0.1)


async def test_without_the_header_chance_decides(world: World) -> None:
    split = Split(weights={1: 50, 2: 50}, sticky_header="x-user")
    await world.route("m", splits={"m": split})

    for _ in range(40):
        await world.client.ask("http")

    assert {version_of(seen) for seen in world.a.seen} == {"1", "2"}


def share(key: str) -> float:
    """From 0 to 100: FNV-1a with 32 bits, written down a second time."""
    value = 2_166_136_261
    for byte in key.encode():
        value = (value ^ byte) * 16_777_619 % 2**32
    return value % 10_000 / 100


# Mirrors.


@over_all_protocols
async def test_canary_gets_a_copy_and_its_answer_is_thrown_away(
    world: World, protocol: str
) -> None:
    await world.route("m", mirrors={"m": 100})

    def copies(raw: bytes) -> int:
        return sum(raw in seen.body for seen in world.canary.seen)

    async def is_copied() -> bool:
        await world.client.ask(protocol, raw=b"tried")
        return copies(b"tried") > 0

    async with running(world.canary):
        world.canary.answers = always(Says(status=500, code=StatusCode.INTERNAL, text="bad"))
        # Until then Envoy may have a connection to the canary of another test.
        await eventually(is_copied, "requests are copied")
        got = await world.client.ask(protocol, raw=b"tensor")

        assert (got.is_ok, got.server) == (True, "a")
        await eventually(is_true(lambda: copies(b"tensor") == 1), "canary gets its copy")


@over_all_protocols
async def test_a_canary_that_is_dead_does_not_touch_live_traffic(
    world: World, protocol: str
) -> None:
    await world.route("m", mirrors={"m": 100})

    answers = await asyncio.gather(*(world.client.ask(protocol) for _ in range(50)))

    assert {(answer.is_ok, answer.server) for answer in answers} == {(True, "a")}
    assert len(world.a.seen) == 50


@over_all_protocols
async def test_a_canary_that_hangs_does_not_touch_live_traffic_and_holds_few_requests(
    world: World, protocol: str
) -> None:
    await world.route("m", mirrors={"m": 100})
    async with running(world.canary):
        world.canary.answers = hang

        answers = [await world.client.ask(protocol) for _ in range(100)]

        assert {(answer.is_ok, answer.server) for answer in answers} == {(True, "a")}
        await eventually(is_true(lambda: len(world.canary.seen) >= 1), "canary gets copies")
        assert len(world.canary.seen) <= 64


async def test_a_mirror_leaves_other_models_and_other_shares_alone(world: World) -> None:
    await world.route("m", "n", mirrors={"m": 0})
    async with running(world.canary):
        for protocol in PROTOCOLS:
            await world.client.ask(protocol, "n")
            await world.client.ask(protocol, "m")

        assert world.canary.seen == []


# Sizes.


async def test_a_body_up_to_the_limit_passes_and_a_larger_one_is_refused(world: World) -> None:
    fits, too_large = b"x" * LARGEST, b"x" * (LARGEST + 1)
    of_length = f"content-length: {len(too_large)}"

    assert (await world.client.post("/v2/models/m/infer", content=fits)).body == fits
    assert b" 413 " in await status_line(world, of_length, [too_large])
    assert b" 413 " in await status_line(world, "transfer-encoding: chunked", chunks(too_large))
    assert len(world.a.seen) == 1


async def test_a_client_that_sends_slowly_still_reads_that_its_body_is_too_large(
    world: World,
) -> None:
    """What it sends after the refusal is no more than lies in a connection that nobody reads."""
    parts = [b"x"] * 4
    of_length = f"content-length: {LARGEST + 1}"

    assert b" 413 " in await status_line(world, of_length, parts, pause_s=0.5, reads_last=True)


def chunks(body: bytes) -> list[bytes]:
    """As HTTP/1.1 frames them."""
    parts = [body[start : start + MIB] for start in range(0, len(body), MIB)]
    return [f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in [*parts, b""]]


async def status_line(
    world: World,
    framing: str,
    parts: list[bytes],
    *,
    pause_s: float = 0.0,
    reads_last: bool = False,
) -> bytes:
    """What a client reads while it sends, or only afterwards."""
    reader, writer = await asyncio.open_connection(*world.front.http.split(":"))

    async def send() -> None:
        writer.write(f"POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\n{framing}\r\n\r\n".encode())
        for part in parts:
            await asyncio.sleep(pause_s)
            writer.write(part)
            await writer.drain()

    sending = asyncio.create_task(send())
    try:
        async with asyncio.timeout(30):
            if reads_last:
                await sending
            return await reader.readline()
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        writer.close()


async def test_a_message_that_is_too_large_is_refused_over_grpc(world: World) -> None:
    fits = infer_request("m", raw=b"x" * (LARGEST - 100))

    assert (await world.client.call("ModelInfer", fits)).body == fits
    got = await world.client.ask("grpc", raw=b"x" * LARGEST)

    assert got.code is StatusCode.RESOURCE_EXHAUSTED
    assert len(world.a.seen) == 1


async def test_a_stream_may_be_longer_than_a_request(world: World) -> None:
    messages = [infer_request("m", raw=b"x" * MIB)] * 8

    answers = await world.client.stream(messages)

    assert [answer.body for answer in answers] == messages


async def test_a_large_body_is_held_and_repeated_whole(world: World) -> None:
    async def load(_: Seen) -> Says:
        await world.route("m", "cold")
        return AGAIN

    world.activator.answers = load
    body = random.Random(1).randbytes(LARGEST)  # noqa: S311

    assert (await world.client.ask("http", "cold", raw=body)).body == body


async def test_the_limit_of_memory_is_in_force(world: World) -> None:
    page = await world.front.admin._get("/stats", filter="overload.*stop_accepting_requests")

    assert "overload.envoy.overload_actions.stop_accepting_requests.active: 0" in page


# What is counted.


async def test_inference_is_counted_by_model_version_and_answer(world: World) -> None:
    await world.route("m", "counted", splits={"m": Split(weights={2: 1})})
    before = await world.front.gateway.traffic()

    for protocol in PROTOCOLS:
        await world.client.ask(protocol, "counted")
        await world.client.ask(protocol, "counted", version="1")
    await world.client.call("ModelReady", infer_request("counted"))
    await world.client.post("/v2/models/counted/config")

    async def is_counted() -> bool:
        seen = (await world.front.gateway.traffic()).get("counted")
        return seen is not None and seen.requests == 6

    await eventually(is_counted, "six requests are counted")
    assert "counted" not in before
    assert (await world.front.gateway.traffic())["counted"].answers == {
        Answered(version=None, code="200", outcome="hit"): 1,
        Answered(version=1, code="200", outcome="hit"): 1,
        Answered(version=None, code="grpc:0", outcome="hit"): 2,
        Answered(version=1, code="grpc:0", outcome="hit"): 2,
    }


async def test_names_that_somebody_made_up_are_not_counted_and_refusals_are(
    world: World,
) -> None:
    for name in ("refused", "unknown"):
        headers = {**FINAL.headers, "x-warmth": name}
        world.activator.answers = always(replace(FINAL, headers=headers))
        for protocol in ("http", "grpc"):
            await world.client.ask(protocol, name)

    async def is_counted() -> bool:
        seen = (await world.front.gateway.traffic()).get("refused")
        return seen is not None and seen.requests == 2

    await eventually(is_counted, "refusals are counted")
    seen = await world.front.gateway.traffic()
    assert {kind.outcome for kind in seen["refused"].answers} == {"refused"}
    assert "unknown" not in seen


async def test_an_open_stream_is_counted_until_it_ends(world: World) -> None:
    async def is_counted(count: int) -> bool:
        seen = (await world.front.gateway.traffic()).get("m")
        return (seen.open_streams if seen else 0) == count

    call: Any = world.client.channel.stream_stream(f"{SERVICE}/ModelStreamInfer")()
    await call.write(infer_request("m"))
    await call.read()
    await eventually(lambda: is_counted(1), "one stream is open")

    await call.done_writing()
    await eventually(lambda: is_counted(0), "no stream is open")


# Who is let in.


@pytest_asyncio.fixture(loop_scope="module")
async def home(tmp_path: Path, shared: World, world: World) -> Path:
    """For an Envoy of the test's own, before the same upstreams."""
    return tmp_path


KEYS = {"ann": "key-of-ann", "bob": "key-of-bob"}


async def test_only_who_has_a_key_is_let_in_and_triton_never_sees_it(
    world: World, envoy_binary: Path, home: Path
) -> None:
    own = envoy_before(world.activator, world.canary, binary=envoy_binary, home=home, api_keys=KEYS)
    async with own as front, client_of(front) as client:
        await front.route(world.a.replica("m"))
        await front.is_live(world.a.replica())
        for protocol in PROTOCOLS:
            for headers in ({}, {"x-api-key": "no"}, {"authorization": "Bearer no"}):
                got = await client.ask(protocol, headers=headers)
                assert got.code in (401, StatusCode.UNAUTHENTICATED)
            assert world.a.seen == world.activator.seen == []

            for headers in ({"x-api-key": KEYS["ann"]}, {"authorization": f"Bearer {KEYS['bob']}"}):
                assert (await client.ask(protocol, headers=headers)).server == "a"
            assert not any("key-of" in str(seen.headers) for seen in world.a.seen)
            world.a.begin_anew()
        assert (await client.post("/v2/health/live")).code == 401


def write_certificate(folder: Path, name: str) -> None:
    """A self-signed one for 127.0.0.1, put in place by rename."""
    made = {kind: folder / f"new-{kind}.pem" for kind in ("key", "certificate")}
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(made["key"]), "-out", str(made["certificate"])),
        ],
        check=True,
        capture_output=True,
    )
    for kind, path in made.items():
        path.replace(folder / f"{kind}.pem")


async def common_name(address: str) -> str:
    """Of the certificate that is shown at an address."""
    pem = await asyncio.to_thread(ssl.get_server_certificate, host_and_port(address))
    asked = ["openssl", "x509", "-noout", "-subject", "-nameopt", "multiline"]
    shown = subprocess.run(asked, input=pem, capture_output=True, text=True, check=True)  # noqa: ASYNC221
    return shown.stdout.rpartition("= ")[2].strip()


async def test_clients_can_speak_tls_and_a_renewed_certificate_is_taken_up(
    world: World, envoy_binary: Path, home: Path
) -> None:
    write_certificate(home, "first")
    pem = (home / "certificate.pem").read_bytes()
    own = envoy_before(
        world.activator,
        world.canary,
        binary=envoy_binary,
        home=home,
        certificate=str(home / "certificate.pem"),
        key=str(home / "key.pem"),
    )
    async with own as front:
        await front.route(world.a.replica("m"))
        await front.is_live(world.a.replica())
        trusted = ssl.create_default_context(cadata=pem.decode())
        async with (
            httpx2.AsyncClient(
                base_url=f"https://{front.http}", verify=trusted, timeout=PATIENCE_S
            ) as web,
            grpc.aio.secure_channel(front.grpc, grpc.ssl_channel_credentials(pem)) as channel,
        ):
            client = Client(web, channel)
            for protocol in PROTOCOLS:
                assert (await client.ask(protocol)).server == "a"

        write_certificate(home, "second")

        async def is_renewed() -> bool:
            return [await common_name(at) for at in (front.http, front.grpc)] == ["second"] * 2

        await eventually(is_renewed, "the renewed certificate is shown")


# What Envoy refuses, and what it remembers.

# Of a name that makes too large a pattern.
REFUSED = {"stateful": frozenset({"x" * 20_000})}


async def test_a_refused_configuration_changes_nothing(
    world: World, envoy_binary: Path, home: Path
) -> None:
    own = envoy_before(world.activator, world.canary, binary=envoy_binary, home=home)
    async with own as front, client_of(front) as client:
        await front.route(world.a.replica("m"))
        await front.is_live(world.a.replica())
        files = files_of(front)

        told = r"Envoy has not taken up .*http\.http\.rds\.http.* within 15 s: .*goes on as before"
        with impatient(), pytest.raises(GatewayRefused, match=told):
            await front.route(world.b.replica("m"), **REFUSED)

        assert files_of(front) == files
        await front.route(world.a.replica("m"))
        await front.is_live(world.a.replica())
        for protocol in PROTOCOLS:
            assert (await client.ask(protocol)).server == "a"


async def test_the_reason_is_told_why_a_listener_is_refused(
    world: World, envoy_binary: Path, home: Path
) -> None:
    own = envoy_before(world.activator, world.canary, binary=envoy_binary, home=home)
    async with own as front:
        await front.route(world.a.replica("m"))
        good = front.gateway._plan
        addresses = {**good.edge.addresses, "http": ("nowhere", 8000)}
        wrong = replace(good, edge=replace(good.edge, addresses=addresses))

        with impatient(), pytest.raises(GatewayRefused, match="malformed IP address: nowhere"):
            await EnvoyGateway(front.folder, wrong, front.admin).apply(Routes())


async def test_a_restarted_envoy_has_the_last_good_configuration_without_us(
    world: World, envoy_binary: Path, home: Path
) -> None:
    own = envoy_before(world.activator, world.canary, binary=envoy_binary, home=home)
    async with own as front:
        await front.route(world.a.replica("m"))
        with impatient(), pytest.raises(GatewayRefused):
            await front.route(world.a.replica("m"), **REFUSED)

        front.server.kill()
        front.server.start()
        await asyncio.to_thread(front.server.wait_live, LIVE_TIMEOUT_S)
        await front.is_live(world.a.replica())

        async with client_of(front) as client:
            for protocol in PROTOCOLS:
                assert (await client.ask(protocol)).server == "a"


async def test_another_sidecar_finds_what_the_one_before_has_told(
    world: World, envoy_binary: Path, home: Path
) -> None:
    own = envoy_before(world.activator, world.canary, binary=envoy_binary, home=home)
    async with own as front:
        assert await front.gateway.models("a") == frozenset()
        await front.route(world.a.replica("m", "n"), world.b.replica("o"))
        another = EnvoyGateway(front.folder, front.gateway._plan, front.admin)

        assert await another.models("a") == {"m", "n"}
        assert await another.models("b") == {"o"}
        assert await another.models("c") == frozenset()


def files_of(front: Front) -> dict[str, str]:
    return {path.name: path.read_text() for path in front.folder.iterdir()}


def is_true(condition: Callable[[], bool]) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return condition()

    return holds
