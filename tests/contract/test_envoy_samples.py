"""Envoy's copies of requests, to be compared or recorded; small servers stand for Triton."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.contract.upstreams import (
    OK,
    PROTOCOLS,
    Client,
    Front,
    Says,
    Seen,
    Upstream,
    client_of,
    envoy_before,
    running,
)
from tests.eventually import eventually

pytestmark = [
    pytest.mark.triton,
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="module"),
]

over_all_protocols = pytest.mark.parametrize("protocol", PROTOCOLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """`m` and `n` are on `triton`, and canary gets a copy of each request for `m`."""

    front: Front
    triton: Upstream
    activator: Upstream
    canary: Upstream
    client: Client

    async def sample(self, percentage: int, *, mirrored: int = 100) -> None:
        replica = self.triton.replica("m", "n")
        await self.front.route(replica, mirrors={"m": mirrored}, samples={"m": percentage})
        await self.front.is_live(replica)
        await self.client.settled()

    async def is_sampled(self, protocol: str) -> None:
        """Return when copies of requests for `m` come: those of another test fill no queue."""
        raw = f"tried over {protocol}".encode()

        async def comes() -> bool:
            await self.client.ask(protocol, raw=raw)
            return bool(asked(self.activator, raw) and asked(self.canary, raw))

        await eventually(comes, f"requests over {protocol} are copied")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(
    envoy_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        triton, activator, canary = [
            await stack.enter_async_context(running(Upstream(name)))
            for name in ("triton", "activator", "canary")
        ]
        home = tmp_path_factory.mktemp("envoy")
        front = await stack.enter_async_context(
            envoy_before(activator, canary, binary=envoy_binary, home=home)
        )
        client = await stack.enter_async_context(client_of(front))
        yield World(front=front, triton=triton, activator=activator, canary=canary, client=client)


@pytest_asyncio.fixture(loop_scope="module")
async def world(shared: World) -> World:
    """As if it were new; every request is sampled."""
    for upstream in (shared.triton, shared.activator, shared.canary):
        upstream.begin_anew()
    await shared.sample(100)
    for protocol in PROTOCOLS:
        await shared.is_sampled(protocol)
    return shared


def is_sample(seen: Seen) -> bool:
    return seen.headers.get("x-pilotlight-sample") == "1"


def asked(upstream: Upstream, raw: bytes) -> list[Seen]:
    """Copies of another test's requests may still come."""
    return [seen for seen in upstream.seen if raw in seen.body]


async def come(upstream: Upstream, raw: bytes, count: int = 1) -> None:
    async def has_come() -> bool:
        return len(asked(upstream, raw)) >= count

    await eventually(has_come, f"{upstream.name} is asked {count} times")


@over_all_protocols
async def test_the_sidecar_gets_a_copy_that_can_be_told_from_a_request(
    world: World, protocol: str
) -> None:
    raw = f"tensor over {protocol}".encode()

    got = await world.client.ask(protocol, raw=raw)

    assert (got.is_ok, got.server) == (True, "triton")
    await come(world.activator, raw)
    await come(world.canary, raw)
    ((copy,), (request,), (mirrored,)) = (
        asked(upstream, raw) for upstream in (world.activator, world.triton, world.canary)
    )
    assert [is_sample(seen) for seen in (copy, request, mirrored)] == [True, False, False]
    assert (copy.path, copy.body) == (request.path, request.body)


@over_all_protocols
async def test_a_copy_needs_no_mirror(world: World, protocol: str) -> None:
    await world.sample(100, mirrored=0)
    raw = f"recorded over {protocol}".encode()

    got = await world.client.ask(protocol, raw=raw)
    await world.client.ask(protocol, "n", raw=raw)

    assert (got.is_ok, got.server) == (True, "triton")
    await come(world.activator, raw)
    assert [is_sample(seen) for seen in asked(world.activator, raw)] == [True]
    assert [is_sample(seen) for seen in asked(world.triton, raw)] == [False, False]
    assert asked(world.canary, raw) == []


@over_all_protocols
async def test_the_header_that_marks_a_copy_is_taken_off_what_clients_send(
    world: World, protocol: str
) -> None:
    await world.sample(0)

    raw = f"forged over {protocol}".encode()

    await world.client.ask(protocol, "m", raw=raw, headers={"x-pilotlight-sample": "1"})
    await world.client.ask(protocol, "cold", raw=raw, headers={"x-pilotlight-sample": "1"})

    assert [is_sample(seen) for seen in asked(world.activator, raw)] == [False]
    assert [is_sample(seen) for seen in asked(world.triton, raw)] == [False]


async def test_a_share_of_one_models_requests_is_sampled(world: World) -> None:
    await world.sample(30)
    raw = b"one of many"
    for _ in range(200):
        await world.client.ask("http", "m", raw=raw)
        await world.client.ask("http", "n", raw=raw)
    await come(world.canary, raw, 200)

    samples = asked(world.activator, raw)
    assert {seen.path for seen in samples} == {"/v2/models/m/infer"}
    # Within five standard deviations.
    assert 28 <= len(samples) <= 92


@over_all_protocols
async def test_a_sidecar_that_hangs_does_not_touch_live_traffic_and_holds_few_copies(
    world: World, protocol: str
) -> None:
    goes_on, raw = asyncio.Event(), f"hangs over {protocol}".encode()

    async def hang(_: Seen) -> Says:
        await goes_on.wait()
        return OK

    world.activator.answers = hang
    try:
        answers = await asyncio.gather(*(world.client.ask(protocol, raw=raw) for _ in range(100)))

        assert {(answer.is_ok, answer.server) for answer in answers} == {(True, "triton")}
        await come(world.activator, raw)
        assert len(asked(world.activator, raw)) <= 8
    finally:
        goes_on.set()
