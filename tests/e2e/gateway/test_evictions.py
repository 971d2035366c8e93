"""Models that go while clients ask for them: no client gets an error, nobody hears of an unload."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from embedded.provision import Installation
from pilotlight.admin import OperationFailed
from tests.e2e.gateway.clients import Crowd, Reply, crowd, message, wrong, y_of
from tests.e2e.gateway.conftest import House, house
from tests.e2e.gateway.models import Shelf
from tests.eventually import eventually

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

WITHIN_S = 90.0
EVICTIONS = 4
GOES = 2
SUPERSEDED = "superseded: a request came for the model"
IDLE_S = 0.4
LARGE = ("large-1", "large-2", "large-3")
LARGE_MIB = 80
BUDGET_MIB = 260
"""A tenth is headroom; two of the large ones fit, which hold some 25 MiB more than weights."""


@pytest.fixture(scope="module")
def cramped(
    installation: Installation, envoy_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    home = tmp_path_factory.mktemp("cramped")
    shelf = Shelf(home)
    for name in LARGE:
        shelf.publish(name, weights_mib=LARGE_MIB)
    for name in ("idle", "talked-to"):
        shelf.publish(name, idle_timeout_s=IDLE_S)
    shelf.publish("sent-away")
    policy = {"budgets": {"cpu": f"{BUDGET_MIB}MiB"}, "prewarm": False}
    with house(installation, envoy_binary, home / "home", shelf, policy=policy) as built:
        yield built


@pytest.fixture
async def users(cramped: House) -> AsyncIterator[Crowd]:
    async with crowd(cramped.http, cramped.grpc) as clients:
        yield clients


async def test_evictions_under_constant_traffic_cost_nobody_an_answer(
    cramped: House, users: Crowd
) -> None:
    lost = losses(cramped)
    async with users.traffic(*LARGE) as replies:
        await happens(cramped, "model_evicted", EVICTIONS)
        await eventually(lambda: have_met(replies, "hit", "cold", "joined"), "clients met all")
    assert wrong(replies) == []
    assert cramped.events("unload_failed") == []
    assert losses(cramped) == lost


async def test_a_model_that_goes_whenever_it_rests_is_there_for_whoever_asks(
    cramped: House, users: Crowd
) -> None:
    """Requests come at all moments of its going."""
    replies = []
    pause_s = IDLE_S
    async with asyncio.timeout(WITHIN_S):
        while len(cramped.events("model_unloaded", "idle")) < GOES:
            replies += await users.both("idle", 1)
            await asyncio.sleep(pause_s)
            pause_s += 0.1
    assert wrong(replies) == []


async def test_an_open_stream_keeps_its_model_until_it_ends(cramped: House, users: Crowd) -> None:
    stream = users.stream()
    await stream.write(message("talked-to", (1.0,)))
    assert y_of(await stream.read()) == [2.0]
    await happens(cramped, "model_let_go", 1, "talked-to")
    for number in (2.0, 3.0):
        await asyncio.sleep(2 * IDLE_S)
        await stream.write(message("talked-to", (number,)))
        assert y_of(await stream.read()) == [2 * number]
    assert cramped.events("model_unloaded", "talked-to") == []
    await stream.done_writing()
    assert await stream.code() is grpc.StatusCode.OK
    await happens(cramped, "model_unloaded", 1, "talked-to")


async def test_an_unload_by_hand_gives_way_to_a_request_and_costs_nobody_an_answer(
    cramped: House, users: Crowd
) -> None:
    async with users.traffic("sent-away") as replies:
        await happens(cramped, "model_loaded", 1, "sent-away")
        endings: list[str | None] = []
        async with asyncio.timeout(WITHIN_S):
            while endings.count(SUPERSEDED) < GOES:
                endings.append(await asyncio.to_thread(unload, cramped, "sent-away"))
    assert wrong(replies) == []
    # None where it was done before the clients got to ask.
    assert set(endings) <= {SUPERSEDED, None}
    assert await asyncio.to_thread(unload, cramped, "sent-away") is None
    assert wrong(await users.both("sent-away", 1)) == []


def losses(cramped: House) -> int:
    """How often the serving server was lost; a sidecar that starts before it begins with one."""
    return sum(event["server"] == "serving" for event in cramped.events("server_lost"))


async def have_met(replies: Sequence[Reply], *warmths: str) -> bool:
    return {str(reply.warmth) for reply in replies} >= set(warmths)


async def happens(cramped: House, event: str, times: int, model: str | None = None) -> None:
    async def has_happened() -> bool:
        return len(await asyncio.to_thread(cramped.events, event, model)) >= times

    await eventually(has_happened, f"{event}, {times} times", WITHIN_S)


def unload(cramped: House, model: str) -> str | None:
    """Ask for it; returns why nothing came of it."""
    ended: dict[str, Any] = {}

    def watch(now: dict[str, Any]) -> None:
        ended.update(now)

    with suppress(OperationFailed):
        cramped.admin.wait(cramped.admin.ask(f"/v1/models/{model}:unload"), WITHIN_S, watch)
    error: str | None = ended["error"]
    return error
