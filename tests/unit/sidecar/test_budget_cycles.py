"""Whole stories of models that share too little memory, in virtual time; each holds 1 MiB."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from contract.intent import Intent
from sidecar.core.activation import Heat
from sidecar.core.demand import Demand
from sidecar.core.fleet import Server
from sidecar.core.ledger import Hold, ledger
from sidecar.core.memory import CPU
from sidecar.core.release import ReleaseState
from sidecar.errors import DoesNotFit, Quarantined, Refused, TooLate
from sidecar.runtime.collect import METER_EVERY_S, SAVE_EVERY_S
from sidecar.runtime.records import Records
from tests.builders import MIB, publish, request
from tests.fakes.meter import FakeMeter
from tests.fakes.virtual_time import set_clock
from tests.unit.sidecar.rig import POLL_S, Rig, run
from tests.unit.sidecar.test_cycles import come_to, release_2, serving_version_1

SERVING = Server.SERVING
HOUR_S, DAY_S = 3600.0, 86_400.0


async def fleet(rig: Rig, names: str, *, room_for: float, **intent: object) -> None:
    """Models that have served before; `room_for` so many at once."""
    for name in names.split():
        await add(rig, name, **intent)
    rig.policy = replace(rig.policy, budgets={CPU: int(room_for * MIB)}, headroom=0.0)
    rig.start()
    await rig.ready()


async def add(rig: Rig, name: str, *, broken: str | None = None, **intent: object) -> None:
    publish(rig.store, name, 1, broken=broken)
    wanted = Intent.model_validate({"tier": "auto", **intent})
    rig.store.intent(name).write_text(wanted.model_dump_json())
    await Records(rig.state).set_serving(name, 1)


async def ensure(rig: Rig, model: str, timeout_s: float = 60.0) -> Heat:
    return await rig.sidecar.requests.ensure(model, timeout_s=timeout_s)


async def infer(rig: Rig, model: str, times: int = 1) -> None:
    """Requests of clients, one second apart."""
    for _ in range(times):
        await rig.serving.infer(model, max(rig.serving.ready(model)), request(1, 2), timeout_s=5.0)
        await asyncio.sleep(1)


def ready(rig: Rig, names: str) -> list[str]:
    return [name for name in names.split() if rig.serving.ready(name)]


def unloads(rig: Rig) -> set[str]:
    """Models of which the server was asked to unload them."""
    return {call.removeprefix("unload ") for call in rig.serving.calls if "unload " in call}


def demand(rig: Rig, model: str) -> Demand | None:
    return rig.sidecar.world.board.demand.get(model)


@contextmanager
def never_over_budget(rig: Rig) -> Iterator[None]:
    """Neither the account nor the real memory passes the budget at any moment of the body."""
    over: list[str] = []

    async def watch() -> None:
        limit, promised, known = rig.policy.budgets[CPU], 0, None
        while True:
            await asyncio.sleep(POLL_S)
            seen = rig.sidecar.loop.snapshot
            if seen is not known and seen is not None:
                promised, known = ledger(seen, rig.policy)[CPU].sum_of(*Hold), seen
            if max(promised, rig.meter.used_bytes) > limit:
                over.append(f"{promised} promised and {rig.meter.used_bytes} held of {limit}")

    watching = asyncio.create_task(watch())
    yield
    watching.cancel()
    assert over == []


# Who waits is answered, and the budget holds.


def test_random_traffic_for_more_than_fits_is_all_answered_within_the_budget(
    tmp_path: Path,
) -> None:
    names = "a b c d e f"
    evicted_between = 0

    async def one_client(rig: Rig, chance: random.Random) -> None:
        nonlocal evicted_between
        for _ in range(40):
            model = chance.choice(names.split())
            await ensure(rig, model)
            try:
                await infer(rig, model)
            except (Refused, ValueError):
                evicted_between += 1
            await asyncio.sleep(chance.expovariate(1.0))

    async def story(rig: Rig) -> None:
        rig.serving.load_s, rig.serving.unload_s = 2.0, 1.0
        await fleet(rig, names, room_for=3)
        with never_over_budget(rig):
            chances = [random.Random(seed) for seed in range(4)]  # noqa: S311
            await asyncio.gather(*(one_client(rig, chance) for chance in chances))

        assert rig.told().count("model_evicted") > 20
        assert set(rig.told()) & {"load_failed", "unload_failed"} == set()
        assert evicted_between < 8

    run(tmp_path, story)


def test_a_model_that_was_measured_while_it_loaded_counts_in_full(tmp_path: Path) -> None:
    """Its process had not taken all of its memory then."""

    async def story(rig: Rig) -> None:
        rig.meter = FakeMeter(bytes_of=lambda *_: MIB, peak_of=lambda *_: MIB // 8)
        for triton in rig.tritons.values():
            triton._memory = rig.meter
        rig.serving.load_s = 3.0
        rig.serving.add_faults("infer a: slow 1s x9")
        await fleet(rig, "a b", room_for=1.5)
        with never_over_budget(rig):
            first = asyncio.create_task(ensure(rig, "a"))
            await rig.until(lambda: bool(rig.serving.ready("a")), "it is loaded, not yet warmed")
            await ensure(rig, "b")
            await first

        assert rig.told().count("model_evicted") == 1

    run(tmp_path, story)


def test_an_unload_between_two_looks_is_measured_at_the_next_one(tmp_path: Path) -> None:
    def measured(rig: Rig) -> set[str]:
        seen = rig.sidecar.loop.snapshot
        return set(seen.readings[CPU].by_model) if seen else set()

    async def story(rig: Rig) -> None:
        await fleet(rig, "a b", room_for=2)
        await ensure(rig, "a")
        await ensure(rig, "b")
        await rig.until(lambda: measured(rig) == {"a", "b"}, "both are measured")
        await rig.ended(await rig.sidecar.requests.unload("a", actor="ann"))
        await asyncio.sleep(2 * POLL_S)

        assert measured(rig) == {"b"}

    run(tmp_path, story)


def test_nobody_goes_whose_memory_others_hold_with_it(tmp_path: Path) -> None:
    """`new` needs 1.5 MiB of 2.5. `old` holds 1 MiB, but 0.5 MiB come free when it goes."""

    async def story(rig: Rig) -> None:
        rig.meter = FakeMeter(bytes_of=lambda *_: MIB // 2, shared_bytes=MIB)
        for triton in rig.tritons.values():
            triton._memory = rig.meter
        await fleet(rig, "old new", room_for=2.5)
        await add(rig, "pinned", pin=True)
        await ensure(rig, "new")
        await rig.ended(await rig.sidecar.requests.unload("new", actor="ann"))
        await ensure(rig, "pinned")
        await ensure(rig, "old")
        await asyncio.sleep(METER_EVERY_S + POLL_S)
        with pytest.raises(DoesNotFit, match=r"needs 1\.5 MiB on cpu, where 512"):
            await ensure(rig, "new")

        assert ready(rig, "old pinned") == ["old", "pinned"]
        assert "model_evicted" not in rig.told()

    run(tmp_path, story)


def test_a_model_that_is_asked_for_when_it_is_about_to_go_is_there_a_minute_later(
    tmp_path: Path,
) -> None:
    """Calls to unload wait for each other: the second has long been decided when it begins."""

    async def story(rig: Rig) -> None:
        await fleet(rig, "a b c d", room_for=2)
        await ensure(rig, "a")
        await ensure(rig, "b")
        rig.serving.add_faults("unload a: slow 10s", "unload b: slow 10s")
        waiting = [asyncio.create_task(ensure(rig, name)) for name in "cd"]
        await rig.until(lambda: rig.told().count("model_evicted") == 2, "both must go")
        await rig.until(lambda: len(unloads(rig)) == 1, "the first of them is going")
        (next_to_go,) = {"a", "b"} - unloads(rig)
        for task in waiting:
            task.cancel()
        await ensure(rig, next_to_go)
        await asyncio.sleep(60)

        assert rig.serving.ready(next_to_go)

    run(tmp_path, story)


def test_a_request_during_an_unload_waits_for_the_model_to_come_back(tmp_path: Path) -> None:
    """Triton still calls it READY for a moment; its answer would be an error."""

    async def story(rig: Rig) -> None:
        rig.serving.unload_s = 5.0
        await fleet(rig, "a", room_for=1, idle_timeout_s=30.0)
        await ensure(rig, "a")
        await rig.until(lambda: "unload a" in rig.serving.calls, "it goes, being idle")

        assert await ensure(rig, "a") is Heat.COLD
        assert rig.serving.calls.count("load a") == 2

    run(tmp_path, story)


def test_a_model_that_was_just_loaded_is_not_the_first_to_go(tmp_path: Path) -> None:
    """Who waited for it is about to send its request; no counter has seen that yet."""

    async def story(rig: Rig) -> None:
        await fleet(rig, "old new next", room_for=2)
        await ensure(rig, "old")
        await infer(rig, "old", times=1)
        await asyncio.sleep(HOUR_S)
        await ensure(rig, "new")
        await ensure(rig, "next")

        assert ready(rig, "old new next") == ["new", "next"]

    run(tmp_path, story)


def test_who_only_has_to_wait_for_a_moment_is_neither_refused_nor_trouble(tmp_path: Path) -> None:
    """Both begin to wait at once; the second one's turn comes when the first has been served."""

    async def story(rig: Rig) -> None:
        rig.serving.load_s = 5.0
        await fleet(rig, "a b", room_for=1)
        await asyncio.gather(ensure(rig, "a"), ensure(rig, "b"))

        assert "does_not_fit" not in rig.told()

    run(tmp_path, story)


def test_many_who_wait_share_one_load_and_who_cannot_wait_is_told(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.serving.load_s = 10.0
        await fleet(rig, "a", room_for=1)
        patient = [asyncio.create_task(ensure(rig, "a")) for _ in range(5)]
        await asyncio.sleep(1)
        with pytest.raises(TooLate, match="not loaded within 2 s; the load goes on"):
            await ensure(rig, "a", timeout_s=2)
        heats = await asyncio.gather(*patient)

        assert heats == [Heat.COLD, *[Heat.JOINED] * 4]
        assert rig.serving.calls.count("load a") == 1

    run(tmp_path, story)


def test_a_model_that_is_idle_for_too_long_leaves_and_comes_back_on_request(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig, "a b", room_for=2, idle_timeout_s=30.0)
        await ensure(rig, "a")
        await ensure(rig, "b")
        for _ in range(6):
            await infer(rig, "a")
            await asyncio.sleep(9)

        assert ready(rig, "a b") == ["a"]
        assert rig.told("b").count("model_let_go") == 1
        await ensure(rig, "b")
        assert ready(rig, "a b") == ["a", "b"]

    run(tmp_path, story)


def test_what_never_fits_is_refused_with_numbers_and_nobody_goes_for_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig, "a b", room_for=1, pin=True)
        await ensure(rig, "a")
        with pytest.raises(DoesNotFit) as refused:
            await ensure(rig, "b")

        assert refused.value.members == {
            "device": "cpu",
            "needed_bytes": MIB,
            "free_bytes": 0,
            "evictable_bytes": 0,
            "blocked_by": ("a (pinned, 1.0 MiB)",),
        }
        assert ready(rig, "a b") == ["a"]

    run(tmp_path, story)


def test_a_model_that_cannot_be_loaded_is_set_aside_and_takes_nobodys_room(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await add(rig, "broken", broken="Internal: no such op")
        await fleet(rig, "a b", room_for=2)
        await ensure(rig, "a")
        with pytest.raises(Quarantined, match="no such op"):
            await ensure(rig, "broken")
        with pytest.raises(Quarantined):
            await ensure(rig, "broken")
        with never_over_budget(rig):
            await ensure(rig, "b")

        assert ready(rig, "a b broken") == ["a", "b"]
        assert rig.serving.calls.count("load broken") == 3
        assert rig.told("broken").count("model_set_aside") == 1

    run(tmp_path, story)


def test_a_server_without_memory_gets_room_for_one_more_try_and_then_the_model_rests(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig, "a b", room_for=2)
        await ensure(rig, "a")
        rig.serving.add_faults("load b: fails 'Internal: out of memory' x2")
        with pytest.raises(Quarantined, match="out of memory"):
            await ensure(rig, "b")
        assert rig.told("a").count("model_evicted") == 1
        assert rig.serving.calls.count("load b") == 2

        await rig.sidecar.requests.unquarantine("b", actor="ann")
        await ensure(rig, "b")
        assert ready(rig, "b") == ["b"]

    run(tmp_path, story)


# A clock that is set.


@pytest.mark.parametrize("by_s", [-HOUR_S, DAY_S], ids=["an hour back", "a day on"])
def test_models_compete_on_while_the_clock_is_set(tmp_path: Path, by_s: float) -> None:
    async def story(rig: Rig) -> None:
        rig.serving.load_s = 2.0
        await fleet(rig, "a b c", room_for=2)
        await ensure(rig, "a")
        await infer(rig, "a", times=3)
        await ensure(rig, "b")
        with never_over_budget(rig):
            waiting = asyncio.create_task(ensure(rig, "c", timeout_s=20))
            await asyncio.sleep(1)
            set_clock(by_s)
            await waiting
            await infer(rig, "c", times=3)
            for model in "abc":
                await ensure(rig, model, timeout_s=20)

        seen = demand(rig, "c")
        assert seen is not None
        assert seen.requests == 3
        assert list(seen.recent) == sorted(seen.recent)

    run(tmp_path, story)


@pytest.mark.parametrize("by_s", [-HOUR_S, DAY_S], ids=["an hour back", "a day on"])
def test_a_release_ends_while_the_clock_is_set(tmp_path: Path, by_s: float) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        asked = await release_2(rig)
        await come_to(rig, ReleaseState.CANARY_LOADING)
        set_clock(by_s)

        assert (await rig.ended(asked)).error is None
        assert rig.serving.ready("m") == {2}
        assert rig.told().count("became_unready") == 0

    run(tmp_path, story)


def test_a_clock_that_goes_a_day_on_unloads_only_what_may_not_idle_for_a_day(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await add(rig, "patient", idle_timeout_s=2 * DAY_S)
        await add(rig, "pinned", pin=True)
        await add(rig, "brief", idle_timeout_s=HOUR_S)
        await fleet(rig, "", room_for=4)
        for model in ("patient", "pinned", "brief"):
            await ensure(rig, model)
        set_clock(DAY_S)
        await asyncio.sleep(60)

        assert ready(rig, "patient pinned brief") == ["patient", "pinned"]
        await ensure(rig, "brief", timeout_s=20)

    run(tmp_path, story)


def test_a_person_unloads_a_model_after_the_clock_went_back(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig, "a", room_for=1)
        await ensure(rig, "a")
        set_clock(-HOUR_S)
        await asyncio.sleep(5)
        asked = await rig.sidecar.requests.unload("a", actor="ann")

        assert (await rig.ended(asked)).error is None
        assert ready(rig, "a") == []

    run(tmp_path, story)


def test_a_load_that_failed_before_the_clock_went_back_is_tried_again_soon(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig, "a", room_for=1)
        rig.serving.add_faults("load a: fails 'Internal: a hiccup'")
        waiting = asyncio.create_task(ensure(rig, "a", timeout_s=30))
        await rig.until(lambda: "load_failed" in rig.told("a"), "the first load fails")
        set_clock(-HOUR_S)
        await waiting

    run(tmp_path, story)


# Demand is what clients ask for.


async def hot_model(rig: Rig) -> None:
    await serving_version_1(rig)
    await come_to(rig, ReleaseState.DONE)
    await asyncio.sleep(10)


async def after_a_start(rig: Rig) -> None:
    await hot_model(rig)


async def after_a_reload(rig: Rig) -> None:
    await hot_model(rig)
    rig.serving.kill()
    await rig.until(lambda: rig.missing() != [], "the loss is seen")
    await rig.ready()
    await asyncio.sleep(10)


async def after_a_promotion_in_place(rig: Rig) -> None:
    await hot_model(rig)
    await rig.ended(await release_2(rig))
    await asyncio.sleep(10)


async def after_a_restart_of_the_sidecar(rig: Rig) -> None:
    await hot_model(rig)
    await rig.crash()
    await rig.ready()
    await asyncio.sleep(10)


@pytest.mark.parametrize(
    "happened",
    [
        after_a_start,
        after_a_reload,
        after_a_promotion_in_place,
        after_a_restart_of_the_sidecar,
    ],
)
def test_warm_up_and_probes_are_no_demand_and_requests_are(
    tmp_path: Path, happened: Callable[[Rig], Awaitable[None]]
) -> None:
    async def story(rig: Rig) -> None:
        await happened(rig)
        assert demand(rig, "m") is None
        await infer(rig, "m", times=5)
        await asyncio.sleep(5)

        seen = demand(rig, "m")
        assert seen is not None
        assert seen.requests == 5

    run(tmp_path, story)


def test_requests_during_a_promotion_are_counted_once_each(tmp_path: Path) -> None:
    """Both versions are asked for meanwhile; what comes during a change is found afterwards."""

    async def story(rig: Rig) -> None:
        await hot_model(rig)
        rig.serving.load_s = 5.0
        asked = await release_2(rig)
        sent = 0
        while f"archive/operation/{asked.id}" not in rig.state.objects:
            await infer(rig, "m")
            sent += 1
        await infer(rig, "m")
        await asyncio.sleep(5)

        seen = demand(rig, "m")
        assert seen is not None
        assert sent > 10
        assert sent - 1 <= seen.requests <= sent + 1

    run(tmp_path, story)


def test_a_request_that_comes_before_the_warm_up_has_ended_is_demand(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.serving.add_faults("infer a: slow 1s x3")
        await fleet(rig, "a", room_for=1)
        loading = asyncio.create_task(ensure(rig, "a"))
        await rig.until(lambda: bool(rig.serving.ready("a")), "it is loaded, not yet warmed")
        await infer(rig, "a")
        await loading
        await asyncio.sleep(5)

        seen = demand(rig, "a")
        assert seen is not None
        assert seen.requests == 1

    run(tmp_path, story)


@asynccontextmanager
async def known_demand(rig: Rig) -> AsyncIterator[Demand]:
    await hot_model(rig)
    await infer(rig, "m", times=5)
    await asyncio.sleep(SAVE_EVERY_S + 5)
    known = demand(rig, "m")
    assert known is not None
    yield known


def test_demand_survives_the_death_of_the_sidecar(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        async with known_demand(rig) as known:
            await rig.crash()
            await rig.ready()
            assert demand(rig, "m") == known
            await infer(rig, "m", times=3)
            await asyncio.sleep(5)

        seen = demand(rig, "m")
        assert seen is not None
        assert seen.requests == 8

    run(tmp_path, story)


def test_demand_outlives_the_model_in_memory(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig, "a b", room_for=1)
        await ensure(rig, "a")
        await infer(rig, "a", times=4)
        await asyncio.sleep(2)
        await ensure(rig, "b")
        await asyncio.sleep(2)
        assert ready(rig, "a b") == ["b"]
        await ensure(rig, "a")
        await infer(rig, "a", times=2)
        await asyncio.sleep(2)

        seen = demand(rig, "a")
        assert seen is not None
        assert seen.requests == 6

    run(tmp_path, story)
