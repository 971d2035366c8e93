"""Who waits for which model, and what each look tells them."""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.activation import Heat
from sidecar.core.fleet import Mode, Snapshot
from sidecar.errors import NotNow, Quarantined, TooLate, UnknownObject
from sidecar.runtime.activate import Waiting
from tests.builders import holding, kept, model, quarantine, snapshot

M = model("m")
LOADED = snapshot(M, serving=holding(M, 1), kept=kept("m"))
COLD = snapshot(M)
LONG_S = 30.0


def look(waiting: Waiting, seen: Snapshot) -> None:
    """One that began after everybody who waits had come."""
    waiting.look(replace(seen, waiting=waiting.begin_look()), {})


async def begun(coroutine: Coroutine[Any, Any, Heat]) -> "asyncio.Task[Heat]":
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    return task


async def test_a_model_that_answered_at_the_last_look_is_a_hit_at_once() -> None:
    waiting = Waiting()
    look(waiting, LOADED)

    assert await waiting.wait_for("m", 0.0) is Heat.HIT
    assert not waiting.wake.is_set()


async def test_who_doubts_the_last_look_waits_for_the_next_and_it_is_a_hit_all_the_same() -> None:
    waiting = Waiting()
    look(waiting, LOADED)

    asking = await begun(waiting.wait_for("m", LONG_S, look_again=True))
    assert waiting.wake.is_set()
    assert not asking.done()

    look(waiting, LOADED)
    assert await asking is Heat.HIT


async def test_who_doubted_rightly_waits_for_the_load() -> None:
    waiting = Waiting()
    look(waiting, LOADED)
    asking = await begun(waiting.wait_for("m", LONG_S, look_again=True))

    look(waiting, COLD)
    await asyncio.sleep(0)
    assert not asking.done()
    look(waiting, LOADED)

    assert await asking is Heat.COLD


async def test_a_look_that_began_before_somebody_came_does_not_answer_them() -> None:
    waiting = Waiting()
    asking = await begun(waiting.wait_for("m", LONG_S, look_again=True))

    waiting.look(LOADED, {})
    await asyncio.sleep(0)

    assert not asking.done()
    asking.cancel()


async def test_who_comes_during_a_look_waits_for_the_next_also_beside_others() -> None:
    waiting = Waiting()
    first = await begun(waiting.wait_for("m", LONG_S))
    seen = replace(LOADED, waiting=waiting.begin_look())
    second = await begun(waiting.wait_for("m", LONG_S, look_again=True))

    waiting.look(seen, {})
    assert await first is Heat.HIT
    assert not second.done()

    look(waiting, LOADED)
    assert await second is Heat.HIT


async def test_the_first_one_finds_it_cold_and_the_others_join() -> None:
    waiting = Waiting()
    asking = [await begun(waiting.wait_for("m", LONG_S)) for _ in range(3)]
    assert waiting.count("m") == 3

    look(waiting, COLD)
    asking.append(await begun(waiting.wait_for("m", LONG_S)))
    look(waiting, LOADED)

    assert await asyncio.gather(*asking) == [Heat.COLD, *[Heat.JOINED] * 3]
    assert waiting.count("m") == 0
    assert waiting.since_s == {}


async def test_who_waits_is_counted_until_it_leaves() -> None:
    waiting = Waiting()
    asking = [await begun(waiting.wait_for("m", LONG_S)) for _ in range(2)]
    assert list(waiting.since_s) == ["m"]

    asking[0].cancel()
    await asyncio.wait(asking[:1])
    assert waiting.count("m") == 1

    asking[1].cancel()
    await asyncio.wait(asking)
    assert (waiting.count("m"), waiting.since_s) == (0, {})


async def test_who_is_answered_in_time_does_not_make_the_next_one_cold() -> None:
    """What was absent once is forgotten with the last one who waited for it."""
    waiting = Waiting()
    asking = await begun(waiting.wait_for("m", LONG_S))
    look(waiting, COLD)
    look(waiting, LOADED)
    assert await asking is Heat.COLD

    again = await begun(waiting.wait_for("m", LONG_S, look_again=True))
    look(waiting, LOADED)
    assert await again is Heat.HIT


async def test_the_time_is_up() -> None:
    waiting = Waiting()

    with pytest.raises(TooLate, match=r"m was not loaded within 0\.01 s; the load goes on"):
        await waiting.wait_for("m", 0.01)
    assert waiting.count("m") == 0


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        (snapshot(), UnknownObject),
        (replace(COLD, mode=Mode.PAUSED), NotNow),
        (replace(COLD, quarantine={"m": replace(quarantine(), until_s=None)}), Quarantined),
    ],
)
async def test_all_who_wait_get_the_reason(seen: Snapshot, kind: type[Exception]) -> None:
    waiting = Waiting()
    asking = [await begun(waiting.wait_for("m", LONG_S)) for _ in range(3)]

    look(waiting, seen)

    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(answer) for answer in answers] == [kind] * 3
    with pytest.raises(kind):
        waiting.would_answer("m")


async def test_a_model_that_vanished_from_the_store_answers() -> None:
    """It is routed, so whoever is held for it for a moment is to be sent back."""
    waiting = Waiting()
    vanished = snapshot(serving=holding(M, 1))
    look(waiting, vanished)
    assert waiting.answers("m")

    asking = await begun(waiting.wait_for("m", LONG_S, look_again=True))
    look(waiting, vanished)

    assert await asking is Heat.HIT


async def test_before_the_first_look_nobody_is_refused_as_unknown() -> None:
    waiting = Waiting()

    waiting.refuse_unknown("m")
    with pytest.raises(NotNow, match="has not looked"):
        waiting.would_answer("m")
    assert waiting.versions("m") == frozenset()


async def test_after_it_a_stranger_is_told_at_once() -> None:
    waiting = Waiting()
    look(waiting, LOADED)

    waiting.refuse_unknown("m")
    with pytest.raises(UnknownObject, match="no model 'x' in the store"):
        waiting.refuse_unknown("x")
    assert waiting.versions("m") == {1}
