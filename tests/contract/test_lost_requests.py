"""A request under which its server dies: a real Envoy, and the activator behind it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import pytest_asyncio
from grpc import StatusCode

from sidecar.core.routing import Replica
from sidecar.errors import Quarantined
from tests.contract.upstreams import (
    MIB,
    UNKNOWN,
    Client,
    Front,
    Got,
    Says,
    Seen,
    Upstream,
    client_of,
    envoy_before,
    running,
)
from tests.unit.sidecar.activated import KNOWN, HandHold, activated

pytestmark = [pytest.mark.triton, pytest.mark.asyncio(loop_scope="module")]

HELD_S = 0.2
over_both_protocols = pytest.mark.parametrize("protocol", ["http", "grpc"])


@dataclass(slots=True)
class Mortal:
    """A server that dies of each request, but of health checks, and is back at once.

    Of no more than `deaths` of them; then it answers, over HTTP.
    """

    deaths: float = float("inf")
    died: int = 0
    requests: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while said := await reader.read(65_536):
            if not said.startswith(b"GET /v2/health/live"):
                if self.died < self.deaths:
                    self.died += 1
                    break
                self.requests.append(said)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()


@asynccontextmanager
async def serving(mortal: Mortal) -> AsyncIterator[Replica]:
    async with await asyncio.start_server(mortal.serve, "127.0.0.1", 0) as server:
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield Replica(name="mortal", http=address, grpc=address, models=frozenset({KNOWN}))


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    front: Front
    client: Client
    hold: HandHold

    async def route(self, *replicas: Replica) -> None:
        await self.front.route(*replicas)
        await self.front.is_live(*replicas)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    envoy_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        hold = HandHold()
        activator = await stack.enter_async_context(activated(hold))
        upstream = Upstream("activator")
        upstream.http, upstream.grpc = (
            f"{host}:{port}" for host, port in (activator.http, activator.grpc)
        )
        front = await stack.enter_async_context(
            envoy_before(
                upstream,
                Upstream("canary"),
                binary=envoy_binary,
                home=tmp_path_factory.mktemp("envoy"),
                largest_request_bytes=4 * MIB,
            )
        )
        client = await stack.enter_async_context(client_of(front))
        yield World(front=front, client=client, hold=hold)


@pytest_asyncio.fixture(loop_scope="module")
async def world(shared: World) -> World:
    """The model counts as loaded: who is held is sent back at once."""
    shared.hold.begin_anew()
    shared.hold.release()
    return shared


@over_both_protocols
async def test_a_request_that_kills_its_server_kills_it_twice_and_is_refused(
    world: World, protocol: str
) -> None:
    async with serving(mortal := Mortal()) as replica:
        await world.route(replica)

        got = await world.client.ask(protocol)

    assert mortal.died == 2
    assert is_given_up(protocol, got)


@over_both_protocols
async def test_a_request_that_waited_for_its_model_kills_no_more(
    world: World, protocol: str
) -> None:
    world.hold.begin_anew()
    async with serving(mortal := Mortal()) as replica:
        await world.route(replace(replica, models=frozenset()))
        asking = asyncio.create_task(world.client.ask(protocol))
        await world.hold.has(lambda hold: hold.waiting == 1)
        await world.route(replica)
        world.hold.release()

        got = await asking

    assert mortal.died == 2
    assert is_given_up(protocol, got)


def is_given_up(protocol: str, got: Got) -> bool:
    code = 503 if protocol == "http" else StatusCode.INTERNAL
    return got.code == code and "2 times a server died while it answered" in got.text


async def test_a_request_whose_server_dies_once_is_answered(world: World) -> None:
    async with serving(mortal := Mortal(deaths=1)) as replica:
        await world.route(replica)

        got = await world.client.ask("http", raw=b"tensor")

        assert (got.code, mortal.died) == (200, 1)
        assert mortal.requests[-1].endswith(b"tensor")


@over_both_protocols
async def test_a_server_that_answers_that_it_lacks_the_model_has_not_died(
    world: World, protocol: str
) -> None:
    """However often: each time it was there to answer."""
    times = 4
    async with running(Upstream("forgetful")) as replica:

        async def answer(_: Seen) -> Says:
            return UNKNOWN if len(replica.seen) <= times else Says()

        replica.answers = answer
        await world.route(replica.replica(KNOWN))

        got = await world.client.ask(protocol)

    assert got.is_ok
    assert len(world.hold.asked) == times


@over_both_protocols
async def test_a_request_that_reaches_no_server_waits_until_there_is_one(
    world: World, protocol: str
) -> None:
    replica = Upstream("late")
    await world.front.route(replica.replica(KNOWN))
    asking = asyncio.create_task(world.client.ask(protocol))
    await world.hold.has(lambda hold: len(hold.asked) >= 4)

    async with running(replica):
        got = await asking

    assert got.is_ok
    assert len(replica.seen) == 1


@over_both_protocols
async def test_a_request_that_is_held_again_says_for_how_long_it_was_before(
    world: World, protocol: str
) -> None:
    world.hold.begin_anew()
    async with running(Upstream("forgetful")) as replica:

        async def answer(_: Seen) -> Says:
            return UNKNOWN if len(world.hold.pasts) == 1 else Says()

        replica.answers = answer
        await world.route(replica.replica())
        began_s = time.monotonic()
        asking = asyncio.create_task(world.client.ask(protocol))
        await world.hold.has(lambda hold: hold.waiting == 1)
        on_its_way_s = time.monotonic() - began_s
        await world.route(replica.replica(KNOWN))
        await asyncio.sleep(HELD_S)
        world.hold.release()
        assert (await asking).is_ok

    first, *others = world.hold.pasts
    assert first == (pytest.approx(0.0, abs=HELD_S + on_its_way_s), 0.0)
    assert others
    assert all(HELD_S <= held_s <= age_s for age_s, held_s in others)


async def test_what_clients_say_of_tries_is_not_believed(world: World) -> None:
    said = [("x-pilotlight-tries", entry) for entry in ("a:0:0:0", "a:0:1:0", "a:0:2:0")]
    world.hold.refuses = Quarantined("rests", until_s=None)
    async with running(Upstream("there")) as replica:
        await world.route(replica.replica())

        got = await world.client.post(f"/v2/models/{KNOWN}/infer", headers=said)

    assert got.text == '{"error":"rests","code":"quarantined"}'
