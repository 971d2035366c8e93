"""How long, and how many, requests are held; whole sidecar on fakes, in virtual time."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.activation import Heat
from sidecar.core.fleet import Mode
from sidecar.errors import (
    HeldTooLong,
    NotNow,
    Quarantined,
    RequestRefused,
    TooLate,
    TooManyWaiting,
    UnknownObject,
)
from sidecar.runtime.hold import TRY_AGAIN_S, Hold
from tests.fakes.gateway import FakeGateway
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_gateway_cycles import gateway_of

NEVER_S = 1000.0

Story = Callable[[Rig, FakeGateway], Coroutine[Any, Any, None]]


def play(root: Path, story: Story, *, load_s: float = 1.0) -> None:
    """Models `m` and `n` are cold."""

    async def with_models(rig: Rig) -> None:
        gateway = await gateway_of(rig, "m n")
        rig.serving.load_s = load_s
        await story(rig, gateway)

    run(root, with_models)


def now_s() -> float:
    return asyncio.get_running_loop().time()


async def answer(hold: Hold, model: str = "m", timeout_s: float | None = None) -> object:
    """The heat, or the kind of the refusal."""
    try:
        return await hold.hold(model, timeout_s=timeout_s)
    except RequestRefused as error:
        return type(error)


def waits(rig: Rig) -> dict[str, float]:
    """How many requests waited, by how that ended."""
    found = rig.sidecar.world.telemetry.registry.collect()
    samples = (sample for metric in found for sample in metric.samples)
    return {
        sample.labels["outcome"]: sample.value
        for sample in samples
        if sample.name == "pilotlight_cold_wait_seconds_count"
    }


def test_a_client_that_allows_less_than_the_load_takes_is_told_and_the_load_goes_on(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig, _: FakeGateway) -> None:
        began_s = now_s()
        with pytest.raises(TooLate, match=r"m was not loaded within the 2 s that the client"):
            await rig.sidecar.hold().hold("m", timeout_s=2.0)
        assert now_s() - began_s == pytest.approx(2.0)

        assert await answer(rig.sidecar.hold()) is Heat.JOINED
        assert rig.serving.calls.count("load m") == 1

    play(tmp_path, story, load_s=5.0)


def test_no_request_is_held_for_longer_than_one_may_be(tmp_path: Path) -> None:
    async def story(rig: Rig, _: FakeGateway) -> None:
        began_s = now_s()
        for timeout_s in (None, 100.0):
            with pytest.raises(HeldTooLong, match=r"within 3 s, and no request is held") as caught:
                await rig.sidecar.hold(longest_s=3.0).hold("m", timeout_s=timeout_s)
            assert caught.value.members == {"retry_after_s": TRY_AGAIN_S}
        assert now_s() - began_s == pytest.approx(6.0)

    play(tmp_path, story, load_s=20.0)


def test_what_a_request_has_waited_before_counts_against_its_limits(tmp_path: Path) -> None:
    async def story(rig: Rig, _: FakeGateway) -> None:
        hold, began_s = rig.sidecar.hold(longest_s=3.0), now_s()
        with pytest.raises(HeldTooLong, match="within 3 s"):
            await hold.hold("m", timeout_s=None, age_s=60.0, held_s=2.0)
        assert now_s() - began_s == pytest.approx(1.0)

        with pytest.raises(TooLate, match="within the 10 s that the client"):
            await hold.hold("m", timeout_s=10.0, age_s=9.0, held_s=1.0)
        assert now_s() - began_s == pytest.approx(2.0)

        for age_s in (10.0, 11.0):
            with pytest.raises(TooLate, match="within the 10 s that the client"):
                await hold.hold("m", timeout_s=10.0, age_s=age_s, held_s=0.0)
        assert now_s() - began_s == pytest.approx(2.0)

    play(tmp_path, story, load_s=20.0)


def test_the_limits_hold_also_while_the_gateway_does_not_take_up_the_route(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig, gateway: FakeGateway) -> None:
        gateway.kill()
        held, refused = rig.sidecar.hold(longest_s=10.0), rig.sidecar.hold()

        answers = await asyncio.gather(answer(held), answer(refused, timeout_s=5.0))

        assert answers == [HeldTooLong, TooLate]
        assert rig.serving.ready("m") == {1}

    play(tmp_path, story)


def test_one_request_more_than_may_wait_for_a_model_is_refused(tmp_path: Path) -> None:
    async def story(rig: Rig, _: FakeGateway) -> None:
        hold = rig.sidecar.hold(most_per_model=3)
        waiting = [asyncio.create_task(answer(hold)) for _ in range(3)]
        await asyncio.sleep(0.1)

        with pytest.raises(TooManyWaiting, match=r"3 requests wait for m .*per_model") as caught:
            await hold.hold("m", timeout_s=None)
        assert caught.value.members == {"retry_after_s": TRY_AGAIN_S}
        assert await answer(hold, "n") is Heat.COLD

        assert Counter(await asyncio.gather(*waiting)) == {Heat.COLD: 1, Heat.JOINED: 2}
        assert await answer(hold) is Heat.HIT

    play(tmp_path, story)


def test_one_request_more_than_may_wait_in_all_is_refused(tmp_path: Path) -> None:
    async def story(rig: Rig, _: FakeGateway) -> None:
        hold = rig.sidecar.hold(most=3)
        waiting = [asyncio.create_task(answer(hold, name)) for name in ("m", "n", "m")]
        await asyncio.sleep(0.1)

        with pytest.raises(TooManyWaiting, match=r"3 requests wait .* gateway\.most_waiting$"):
            await hold.hold("n", timeout_s=None)

        await asyncio.gather(*waiting)
        assert await answer(hold, "n") is Heat.HIT

    play(tmp_path, story)


@pytest.mark.parametrize("timeout_s", [0.5, None])
def test_whoever_leaves_makes_room(tmp_path: Path, timeout_s: float | None) -> None:
    """By its deadline, or because it closes the connection."""

    async def story(rig: Rig, _: FakeGateway) -> None:
        hold = rig.sidecar.hold(most=1, most_per_model=1)
        waiting = asyncio.create_task(answer(hold, timeout_s=timeout_s))
        await asyncio.sleep(0.1)
        assert await answer(hold, "n") is TooManyWaiting
        if timeout_s is None:
            waiting.cancel()
        await asyncio.wait((waiting,))

        assert await answer(hold) is Heat.JOINED

    play(tmp_path, story, load_s=3.0)


def test_a_model_that_nobody_knows_is_refused_even_when_the_queue_is_full(tmp_path: Path) -> None:
    async def story(rig: Rig, _: FakeGateway) -> None:
        hold = rig.sidecar.hold(most=1)
        waiting = asyncio.create_task(answer(hold))
        await asyncio.sleep(0.1)

        assert await answer(hold, "x") is UnknownObject
        await waiting

    play(tmp_path, story)


def test_a_version_that_is_not_loaded_is_told_when_the_model_is(tmp_path: Path) -> None:
    async def story(rig: Rig, _: FakeGateway) -> None:
        hold = rig.sidecar.hold()

        with pytest.raises(UnknownObject, match="m answers in 1, not in 7"):
            await hold.hold("m", version="7", timeout_s=None)
        assert await hold.hold("m", version="1", timeout_s=None) is Heat.HIT

    play(tmp_path, story)


def test_what_rests_or_is_set_aside_is_refused_with_its_reason(tmp_path: Path) -> None:
    async def story(rig: Rig, _: FakeGateway) -> None:
        rig.serving.add_faults("load n 1: fails 'Internal: no such op' x99")
        hold = rig.sidecar.hold()
        assert await answer(hold, "n") is Quarantined
        with pytest.raises(Quarantined, match="no such op"):
            hold.would_answer("n")

        await rig.sidecar.requests.set_mode(Mode.PAUSED, actor="ann")
        await asyncio.sleep(2)
        assert await answer(hold) is NotNow
        with pytest.raises(NotNow, match="paused"):
            hold.would_answer("m")

    play(tmp_path, story)


def test_what_would_be_held_is_not_refused_and_not_loaded(tmp_path: Path) -> None:
    async def story(rig: Rig, _: FakeGateway) -> None:
        rig.sidecar.hold().would_answer("m")
        await asyncio.sleep(10)

        assert rig.serving.ready("m") == set()

    play(tmp_path, story)


def test_how_it_ended_is_counted(tmp_path: Path) -> None:
    async def story(rig: Rig, _: FakeGateway) -> None:
        hold = rig.sidecar.hold()
        await asyncio.gather(answer(hold), answer(hold), answer(hold, timeout_s=0.1))
        await answer(hold)

        assert waits(rig) == {"cold": 1, "joined": 1, "refused": 1}

    play(tmp_path, story)
