"""Before a model goes: nothing is sent to it any more, and open streams end."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.fleet import Departure
from sidecar.runtime.drain import POLL_S, Drain
from tests.builders import publish
from tests.fakes.gateway import FakeGateway
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_gateway_cycles import gateway_of, hold, open_streams

LONGEST_S = 10.0
NOT_ROUTED = "x"

Story = Callable[[Rig, Drain, FakeGateway], Coroutine[Any, Any, None]]


def play(root: Path, story: Story) -> None:
    """`m` is loaded, and the sidecar has no wish to change that."""

    async def with_drain(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m")
        await hold(rig, "m")
        await story(rig, Drain(rig.sidecar.world, longest_s=LONGEST_S), gateway)

    run(root, with_drain)


async def took(drain: Drain, model: str) -> tuple[bool, float]:
    """Whether the model may go, and after how many seconds."""
    began_s = asyncio.get_running_loop().time()
    may_go = await drain.finish(model)
    return may_go, asyncio.get_running_loop().time() - began_s


def test_a_model_that_nobody_uses_goes_at_once(tmp_path: Path) -> None:
    async def story(_: Rig, drain: Drain, __: FakeGateway) -> None:
        assert await took(drain, NOT_ROUTED) == (True, 0.0)

    play(tmp_path, story)


def test_without_a_gateway_there_is_nothing_to_wait_for(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "m", 1, tier="hot")
        rig.start()
        await rig.ready()

        assert await took(Drain(rig.sidecar.world, longest_s=LONGEST_S), "m") == (True, 0.0)

    run(tmp_path, story)


def test_a_model_that_is_routed_on_goes_when_the_time_is_up(tmp_path: Path) -> None:
    """The gateway cannot be told."""

    async def story(_: Rig, drain: Drain, __: FakeGateway) -> None:
        assert await took(drain, "m") == (True, pytest.approx(LONGEST_S))

    play(tmp_path, story)


def test_open_streams_end_first(tmp_path: Path) -> None:
    async def story(_: Rig, drain: Drain, gateway: FakeGateway) -> None:
        open_streams(gateway, NOT_ROUTED, 2)
        asyncio.get_running_loop().call_later(3, open_streams, gateway, NOT_ROUTED, 0)

        may_go, seconds = await took(drain, NOT_ROUTED)

        assert may_go
        assert seconds == pytest.approx(3, abs=POLL_S)

    play(tmp_path, story)


def test_a_stream_that_does_not_end_is_cut_when_the_time_is_up(tmp_path: Path) -> None:
    async def story(_: Rig, drain: Drain, gateway: FakeGateway) -> None:
        open_streams(gateway, NOT_ROUTED, 1)

        may_go, seconds = await took(drain, NOT_ROUTED)

        assert may_go
        assert LONGEST_S <= seconds <= LONGEST_S + 2 * POLL_S

    play(tmp_path, story)


def test_a_gateway_that_is_lost_has_no_streams(tmp_path: Path) -> None:
    async def story(_: Rig, drain: Drain, gateway: FakeGateway) -> None:
        open_streams(gateway, NOT_ROUTED, 1)
        gateway.kill()

        assert await took(drain, NOT_ROUTED) == (True, 0.0)

    play(tmp_path, story)


@pytest.mark.parametrize(("evicted", "may_go"), [(False, False), (True, True)])
def test_a_model_that_somebody_asks_for_stays_unless_it_makes_room(
    tmp_path: Path, *, evicted: bool, may_go: bool
) -> None:
    async def story(rig: Rig, drain: Drain, gateway: FakeGateway) -> None:
        waiting = rig.sidecar.world.waiting
        left = Departure(at_s=0.0, reason="", evicted=evicted)
        rig.sidecar.world.board.departures["m"] = left
        open_streams(gateway, NOT_ROUTED, 1)
        rig.sidecar.world.board.departures[NOT_ROUTED] = left
        asking = asyncio.create_task(waiting.wait_for(NOT_ROUTED, 1000.0))
        await asyncio.sleep(0)

        found, seconds = await took(drain, NOT_ROUTED)

        assert (found, seconds >= LONGEST_S) == (may_go, may_go)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

    play(tmp_path, story)
