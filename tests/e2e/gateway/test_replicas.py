"""Two Tritons with a sidecar each behind one Envoy: where requests go, and what a death costs."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedded.provision import Installation
from tests.e2e.conftest import without_sidecar
from tests.e2e.gateway.clients import PAUSE_S, Crowd, Reply, crowd, over_http, wrong
from tests.e2e.gateway.conftest import House, house
from tests.e2e.gateway.models import Shelf
from tests.eventually import eventually

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

HOT = ("hot-1", "hot-2")
SMALL_MIB, LARGE_MIB = 400, 800
"""Budgets of the two; a tenth is headroom."""
WITHIN_S = 90.0
OUT_WITHIN_S = 20.0
"""However busy the machine is; a client has more patience."""
HERD = 20
MORE_THAN_A_WARM_UP = 200
PEER = "peer"


@dataclass(frozen=True, slots=True)
class Pair:
    """`front` drives the gateway and has little room, `peer` has more."""

    front: House
    peer: House
    shelf: Shelf

    def served(self, model: str) -> tuple[int, int]:
        """Requests that each Triton has answered since it loaded the model."""
        return _served(self.front, model), _served(self.peer, model)

    def has(self, model: str) -> tuple[bool, bool]:
        front, peer = (_is_ready(house, model) for house in (self.front, self.peer))
        return front, peer

    def routed(self) -> dict[str, int]:
        """For how many models the gateway sends requests to each replica that it has."""
        gateway = self.front.admin.gateway()
        assert gateway is not None
        return {replica["name"]: replica["models"] for replica in gateway["replicas"]}

    async def is_routed(self) -> None:
        """Return when requests for all that the peer has are sent to it."""

        async def are_sent() -> bool:
            models = await asyncio.to_thread(self.peer.admin.models)
            has = sum(bool(model["ready_versions"]) for model in models)
            return (await asyncio.to_thread(self.routed)).get(PEER) == has

        await eventually(are_sent, "the gateway knows what the peer has", WITHIN_S)

    async def is_out(self) -> None:
        """Return when no request is sent to the peer any more."""

        async def has_left() -> bool:
            return PEER not in await asyncio.to_thread(self.routed)

        await eventually(has_left, "the gateway knows that the peer has left", WITHIN_S)

    async def happens(self, event: str, times: int) -> None:
        """At the front, all in all."""

        async def has_happened() -> bool:
            return await self.count(event) >= times

        await eventually(has_happened, f"{event}, {times} times", WITHIN_S)

    async def count(self, event: str) -> int:
        return len(await asyncio.to_thread(self.front.events, event))

    async def peer_serves(self, model: str) -> None:
        """Return when the peer's Triton has answered more than a warm-up takes.

        It may be down until then, and begin to count anew.
        """
        counted, last = 0, await asyncio.to_thread(_served, self.peer, model)

        async def has_served() -> bool:
            nonlocal counted, last
            now = await asyncio.to_thread(_served, self.peer, model)
            counted, last = counted + max(0, now - last), now
            return counted > MORE_THAN_A_WARM_UP

        await eventually(has_served, f"the peer answers for {model}", WITHIN_S)

    async def answered(self, model: str, *, since: tuple[int, ...], requests: int) -> list[int]:
        """How many of these requests each has answered, when all of them are counted."""
        found: list[int] = []

        async def are_counted() -> bool:
            now = self.served(model)
            found[:] = [later - before for later, before in zip(now, since, strict=True)]
            return sum(found) == requests

        try:
            await eventually(are_counted, f"{requests} answers are counted", WITHIN_S)
        except AssertionError as error:
            raise AssertionError(f"{error}: there are {found}") from None
        return found


async def at_rest(counts: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
    """What is counted when no more is on its way; Triton counts after it has answered."""
    found: list[tuple[int, ...]] = []

    async def rests() -> bool:
        found.append(counts())
        return found[-3:] == [found[-1]] * 3

    await eventually(rests, "nothing is on its way", WITHIN_S)
    return found[-1]


def _served(house: House, model: str) -> int:
    try:
        reply = over_http(house.triton_http, f"/v2/models/{model}/stats")
    except OSError:
        return 0
    if reply.code != 200:
        return 0
    return sum(
        version["inference_stats"]["success"]["count"]
        for version in json.loads(reply.body)["model_stats"]
    )


def _is_ready(house: House, model: str) -> bool:
    return over_http(house.triton_http, f"/v2/models/{model}/ready").code == 200


@pytest.fixture(scope="module")
def pair(
    installation: Installation, envoy_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    home = tmp_path_factory.mktemp("pair")
    shelf = Shelf(home)
    for name in HOT:
        shelf.publish(name, tier="hot")
    for name in ("held", "drained", "solo", "orphan"):
        shelf.publish(name)
    shelf.publish("cold", is_closed=True)
    with ExitStack() as stack:
        peer = stack.enter_context(
            house(installation, None, home / "peer", shelf, policy=_budget(LARGE_MIB))
        )
        triton = peer.stack.serving
        replica = {
            "name": PEER,
            "http": f"127.0.0.1:{triton.http_port}",
            "grpc": triton.grpc_address,
            "api": peer.stack.url,
        }
        front = stack.enter_context(
            house(
                installation,
                envoy_binary,
                home / "front",
                shelf,
                policy=_budget(SMALL_MIB),
                gateway={"replicas": [replica]},
            )
        )
        pair = Pair(front, peer, shelf)
        asyncio.run(pair.happens("replica_joined", 1))
        yield pair


def _budget(mib: int) -> dict[str, object]:
    return {"budgets": {"cpu": f"{mib}MiB"}, "prewarm": False}


@pytest.fixture
async def users(pair: Pair) -> AsyncIterator[Crowd]:
    """What another test did to the peer is over, and the front knows."""
    await pair.is_routed()
    async with crowd(pair.front.http, pair.front.grpc) as clients:
        yield clients


async def test_requests_go_to_the_replica_that_has_the_model(pair: Pair, users: Crowd) -> None:
    await asyncio.to_thread(load, pair.peer, "held")
    await pair.is_routed()
    loads, before = pair.shelf.loads("held"), await at_rest(lambda: pair.served("held"))

    replies = [reply for _ in range(10) for reply in await users.both("held", 2)]

    assert wrong(replies) == []
    assert {reply.warmth for reply in replies} == {"hit"}
    assert pair.shelf.loads("held") == loads
    assert pair.has("held") == (False, True)
    assert await pair.answered("held", since=before, requests=len(replies)) == [0, len(replies)]


async def test_a_model_that_both_have_is_shared(pair: Pair, users: Crowd) -> None:
    for _ in pair.front.undisturbed():
        before = await at_rest(lambda: pair.served("hot-1"))
        replies = [reply for _ in range(25) for reply in await users.both("hot-1", 2)]
        assert wrong(replies) == []
        shares = await pair.answered("hot-1", since=before, requests=len(replies))
    assert min(shares) > len(replies) // 10


async def test_a_cold_model_is_loaded_once_where_there_is_more_room(
    pair: Pair, users: Crowd
) -> None:
    asking = asyncio.create_task(users.both("cold", HERD))
    await pair.front.holds("cold", 2 * HERD)
    pair.shelf.open("cold")
    replies = await asking
    replies += [reply for _ in range(3) for reply in await users.both("cold", 1)]
    assert wrong(replies) == []
    assert sorted({str(reply.warmth) for reply in replies}) == ["cold", "hit", "joined"]
    assert [reply.warmth for reply in replies].count("cold") == 1
    assert pair.shelf.loads("cold") == 1
    assert pair.has("cold") == (False, True)


async def test_a_replica_that_drains_gets_no_more_and_nobody_notices(
    pair: Pair, users: Crowd
) -> None:
    """Nor when it comes back."""
    await asyncio.to_thread(load, pair.peer, "drained")
    left, joined = await pair.count("replica_left"), await pair.count("replica_joined")

    def by_peer() -> tuple[int, ...]:
        return tuple(_served(pair.peer, model) for model in (*HOT, "drained"))

    async with users.traffic(*HOT, "drained") as replies:
        await pair.peer_serves("drained")
        await asyncio.to_thread(pair.peer.admin.ask, "/v1:drain")
        await pair.happens("replica_left", left + 1)
        await eventually(lambda: has(pair.front, "drained"), "it is loaded elsewhere", WITHIN_S)
        await pair.is_out()
    # All that was asked before has been answered.
    before = await at_rest(by_peer)
    async with users.traffic(*HOT, "drained") as without_peer:
        await more(without_peer, 100)
    assert await at_rest(by_peer) == before
    async with users.traffic(*HOT, "drained") as afterwards:
        await asyncio.to_thread(pair.peer.admin.ask, "/v1:resume")
        await pair.happens("replica_joined", joined + 1)
        await pair.peer_serves(HOT[0])
    assert wrong([*replies, *without_peer, *afterwards]) == []


async def test_a_dead_triton_costs_nobody_an_answer(pair: Pair, users: Crowd) -> None:
    async with unary(users, *HOT) as replies:
        await pair.peer_serves(HOT[0])
        pair.peer.stack.serving.kill()
        await pair.peer_serves(HOT[0])
    assert wrong(replies) == []
    assert max(reply.seconds for reply in replies) < OUT_WITHIN_S


async def test_a_dead_replica_costs_nobody_an_answer(pair: Pair, users: Crowd) -> None:
    """And what only it had is loaded on the other one for whoever asks."""
    await asyncio.to_thread(load, pair.peer, "orphan")
    await pair.is_routed()
    async with unary(users, *HOT) as replies:
        await pair.peer_serves(HOT[0])
        with without_sidecar(pair.peer.stack):
            pair.peer.stack.serving.kill()
            orphans = await users.both("orphan", HERD)
        assert wrong(orphans) == []
        assert await has(pair.front, "orphan")
        await pair.peer_serves(HOT[0])
    assert wrong(replies) == []
    assert max(reply.seconds for reply in replies) < OUT_WITHIN_S


@pytest.mark.parametrize("whose", ["peer", "front"])
async def test_a_sidecar_that_is_restarted_takes_nothing_from_its_triton(
    pair: Pair, users: Crowd, whose: str
) -> None:
    await asyncio.to_thread(load, pair.peer, "solo")
    await pair.is_routed()
    loads, left = pair.shelf.loads("solo"), await pair.count("replica_left")
    house = pair.peer if whose == "peer" else pair.front
    async with users.traffic("solo", *HOT) as replies:
        await more(replies, 50)
        before = house.stack.sidecar.pid
        house.stack.sidecar.kill()

        async def is_back() -> bool:
            if house.stack.sidecar.pid == before:
                return False
            return await asyncio.to_thread(house.admin.is_reachable)

        await eventually(is_back, "it is back", WITHIN_S)
        await more(replies, 300)
    assert wrong(replies) == []
    assert {reply.warmth for reply in replies} == {"hit"}
    assert pair.shelf.loads("solo") == loads
    assert (await has(pair.front, "solo"), await has(pair.peer, "solo")) == (False, True)
    assert await pair.count("replica_left") == left


def load(house: House, model: str) -> None:
    """On this replica, whatever the gateway thinks."""
    house.admin.wait(house.admin.ask(f"/v1/models/{model}:load"), WITHIN_S)


@asynccontextmanager
async def unary(users: Crowd, *models: str) -> AsyncIterator[list[Reply]]:
    """Constant traffic without streams: what has begun in one cannot be repeated."""
    replies: list[Reply] = []
    ended = asyncio.Event()

    async def ask(one: Callable[[str], Awaitable[Reply]], model: str) -> None:
        while not ended.is_set():
            replies.append(await one(model))
            await asyncio.sleep(PAUSE_S)

    async with asyncio.TaskGroup() as group:
        for model in models:
            for one in (users.http, users.grpc) * 2:
                group.create_task(ask(one, model))
        try:
            yield replies
        finally:
            ended.set()


async def has(house: House, model: str) -> bool:
    return await asyncio.to_thread(_is_ready, house, model)


async def more(replies: Sequence[Reply], count: int) -> None:
    """Return when so many more requests have been answered."""
    before = len(replies)

    async def are_there() -> bool:
        return len(replies) >= before + count

    await eventually(are_there, f"{count} more answers", WITHIN_S)
