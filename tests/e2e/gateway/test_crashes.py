"""SIGKILL at what stands behind the gateway, and at the gateway itself."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from embedded.provision import Installation
from tests.e2e.conftest import without_sidecar
from tests.e2e.gateway.clients import Crowd, crowd, wrong
from tests.e2e.gateway.conftest import House, house
from tests.e2e.gateway.models import Shelf
from tests.eventually import eventually

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

BACK_S = 90.0
AT_ONCE_S = 20.0
"""However busy the machine is."""
TRIED_S, COLD_REFUSED_S = 5.0, 45.0


@pytest.fixture
def mortal(installation: Installation, envoy_binary: Path, tmp_path: Path) -> Iterator[House]:
    """One for each test: the supervisor waits longer from one death to the next."""
    shelf = Shelf(tmp_path)
    shelf.publish("hot", tier="hot")
    shelf.publish("slow", is_closed=True)
    for name in ("cold", "later"):
        shelf.publish(name)
    with house(installation, envoy_binary, tmp_path / "home", shelf) as built:
        yield built


@pytest.fixture
async def users(mortal: House) -> AsyncIterator[Crowd]:
    async with crowd(mortal.http, mortal.grpc) as clients:
        yield clients


async def test_a_dead_triton_costs_nobody_an_answer(mortal: House, users: Crowd) -> None:
    """Some run, some are held, and some come while it is away."""
    running = [asyncio.create_task(ask("hot", -0.3)) for ask in (users.http, users.grpc) * 5]
    held = [asyncio.create_task(ask("slow")) for ask in (users.http, users.grpc) * 10]
    await mortal.holds("slow", len(held))
    await eventually(lambda: _is_loading(mortal, "slow"), "the load has begun")
    mortal.stack.serving.kill()
    mortal.shelf.open("slow")
    late = await users.both("hot", 5)
    assert wrong([*late, *await asyncio.gather(*held)]) == []
    assert {reply.code for reply in await asyncio.gather(*running)} == {200, "OK"}


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
async def test_a_sidecar_that_ends_and_comes_back_costs_nobody_an_answer(
    mortal: House, users: Crowd, end: signal.Signals
) -> None:
    async with users.traffic("hot") as replies:
        held = asyncio.create_task(users.both("slow", 30))
        await mortal.holds("slow", 60)
        await eventually(lambda: _is_loading(mortal, "slow"), "the load has begun")
        before, ended_s = mortal.stack.sidecar.pid, time.monotonic()
        os.kill(before, end)
        mortal.shelf.open("slow")
        await eventually(lambda: is_replaced(mortal, before), "the sidecar is back", BACK_S)
        away_s = time.monotonic() - ended_s
        refused = wrong(await held)
    # Envoy tries for some seconds; a busy machine takes longer to start a sidecar.
    assert refused == [] or away_s > TRIED_S
    assert {reply.code for reply in refused} <= {503, "UNAVAILABLE"}
    assert wrong(await users.both("slow", 1)) == []
    assert wrong(replies) == []
    assert {reply.warmth for reply in replies} == {"hit"}
    assert mortal.shelf.loads("slow") == 1


async def test_without_a_sidecar_hot_models_answer_and_cold_ones_refuse(
    mortal: House, users: Crowd
) -> None:
    with without_sidecar(mortal.stack):
        async with users.traffic("hot") as replies:
            cold, unknown = await asyncio.gather(users.both("cold", 1), users.both("nobody", 1))
        assert wrong(replies) == []
        assert max(reply.seconds for reply in replies) < AT_ONCE_S
        assert [reply.code for reply in cold] == [503, "UNAVAILABLE"]
        assert [reply.code for reply in unknown] == [503, "UNAVAILABLE"]
        assert all(reply.seconds < COLD_REFUSED_S for reply in (*cold, *unknown))
    await eventually(lambda: is_reachable(mortal), "the sidecar is back", BACK_S)
    assert wrong(await users.both("cold", 1)) == []


async def test_a_gateway_that_starts_again_without_a_sidecar_knows_its_last_routes(
    mortal: House, users: Crowd
) -> None:
    assert wrong(await users.both("cold", 1)) == []
    assert mortal.stack.gateway is not None
    with without_sidecar(mortal.stack):
        before = mortal.stack.gateway.pid
        mortal.stack.gateway.kill()

        async def is_back() -> bool:
            assert mortal.stack.gateway is not None
            is_another = mortal.stack.gateway.pid != before
            return is_another and wrong(await users.both("hot", 1)) == []

        await eventually(is_back, "the gateway serves", BACK_S)
        for model in ("hot", "cold"):
            replies = await users.both(model, 2)
            assert wrong(replies) == []
            assert {reply.warmth for reply in replies} == {"hit"}
    await eventually(lambda: is_reachable(mortal), "the sidecar is back", BACK_S)
    assert wrong(await users.both("later", 1)) == []


async def is_replaced(mortal: House, before: int) -> bool:
    return mortal.stack.sidecar.pid != before and await is_reachable(mortal)


async def is_reachable(mortal: House) -> bool:
    return await asyncio.to_thread(mortal.admin.is_reachable)


async def _is_loading(mortal: House, model: str) -> bool:
    return mortal.shelf.loads(model) > 0
