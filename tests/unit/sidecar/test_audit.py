"""The audit of releases says what the record says, whenever the sidecar died."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sidecar.core.events import Event, EventName
from sidecar.core.release import Release, ReleaseState
from sidecar.core.release import moved as told
from sidecar.core.strategy import Outputs, Strategy
from sidecar.ports import Entry
from sidecar.runtime.audit import repair
from sidecar.runtime.records import Records
from tests.builders import NOW_S, release
from tests.fakes.state import FakeState
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_cycles import come_to, serving_version_1

S = ReleaseState
FAR_AWAY = 10_000
# Comparisons have tests of their own.
QUICK = Strategy(outputs=Outputs.ANY, latency_margin=None)


def rows(state: FakeState, release_id: str) -> list[Entry]:
    return [
        entry
        for entry in state.entries
        if entry.event.name is EventName.RELEASE_MOVED
        and entry.event.detail["release"] == release_id
    ]


def agree(state: FakeState, recorded: Release) -> None:
    """The rows of the release are its steps, in order, once."""
    said = [
        (each["step"], each["state"], each["note"])
        for each in (entry.event.detail for entry in rows(state, recorded.id))
    ]
    assert said == [
        (number, step.state.value, step.note) for number, step in enumerate(recorded.steps, 1)
    ]


async def recorded(state: FakeState, found: Release, *, told_steps: int = 0) -> None:
    """The record of a release of which the audit knows the first steps only."""
    await Records(state).begin_release(found)
    for number in range(1, told_steps + 1):
        await state.append(told(replace(found, steps=found.steps[:number])), NOW_S)


async def repaired(state: FakeState) -> None:
    """By a process that has just started."""
    await repair(Records(state), state)


@pytest.mark.parametrize("told_steps", [0, 1, 4])
async def test_missing_rows_are_told_with_the_time_of_their_step(told_steps: int) -> None:
    state, found = FakeState(), release(S.VERIFYING, at_s=500.0)
    await recorded(state, found, told_steps=min(told_steps, len(found.steps)))

    await repaired(state)

    agree(state, found)
    late = rows(state, found.id)[told_steps:]
    assert [(row.at_s, row.event.detail.get("recovered")) for row in late] == [(500.0, 1)] * len(
        late
    )


async def test_a_second_start_adds_nothing() -> None:
    state, found = FakeState(), release(S.DONE)
    await recorded(state, found, told_steps=3)

    await repaired(state)
    await repaired(state)

    agree(state, found)


async def test_rows_of_other_releases_of_the_model_do_not_count() -> None:
    state, found = FakeState(), release(S.REFUSED)
    for before in (release(S.DONE, version=7), release(S.DONE, of="n")):
        for number in range(1, len(before.steps) + 1):
            await state.append(told(replace(before, steps=before.steps[:number])), NOW_S)
    await recorded(state, found)

    await repaired(state)

    agree(state, found)


async def test_a_long_history_is_read_to_its_end() -> None:
    state, found = FakeState(), release(S.DONE)
    before = told(release(S.DONE, version=7))
    for _ in range(2000):
        await state.append(before, NOW_S)
    await recorded(state, found, told_steps=len(found.steps))

    await repaired(state)

    agree(state, found)


async def test_a_release_that_this_process_has_begun_is_left_to_it() -> None:
    """A request over REST is just between the record and the row while the loop starts."""
    state, found = FakeState(), release(S.ADMITTED)
    records = Records(state)
    await records.begin_release(found)

    await repair(records, state)

    assert rows(state, found.id) == []


async def test_rows_from_before_steps_had_numbers_stand() -> None:
    state, found = FakeState(), release(S.DONE)
    await recorded(state, found)
    detail = {"release": found.id, "version": 2, "state": "done", "note": "it serves"}
    await state.append(Event(name=EventName.RELEASE_MOVED, model="m", detail=detail), NOW_S)

    await repaired(state)

    assert len(rows(state, found.id)) == 1


async def test_a_state_that_cannot_be_read_stops_nobody() -> None:
    state, found = FakeState(), release(S.DONE)
    await recorded(state, found)
    state.problem = "the disk is full"
    await repaired(state)
    state.problem = None

    await repaired(state)

    agree(state, found)


async def release_2(rig: Rig) -> None:
    await rig.sidecar.releases.begin("m", 2, actor="ann", strategy=QUICK)


async def release_and_roll_back(rig: Rig) -> None:
    await release_2(rig)
    await come_to(rig, S.SOAKING)
    await rig.sidecar.releases.roll_back("m", actor="bob")


@dataclass(frozen=True)
class Case:
    scale: float
    act: Callable[[Rig], Awaitable[None]]


CASES = {
    "a good version": Case(2.0, release_2),
    "a wrong version": Case(2.02, release_2),
    "a rollback": Case(2.0, release_and_roll_back),
}


@pytest.mark.parametrize("name", CASES)
def test_whenever_the_sidecar_dies_the_audit_agrees_with_the_record(
    tmp_path: Path, name: str
) -> None:
    """At each point between the record of a step and its row, which is then recovered."""
    case = CASES[name]
    points = owing_points(tmp_path / "whole", case)
    assert len(points) > 2

    for die_at in points:
        die_and_agree(tmp_path / str(die_at), case, die_at)


def owing_points(root: Path, case: Case) -> list[int]:
    """Where the step of a release is on record and not yet told."""
    reached: list[str] = []

    async def story(rig: Rig) -> None:
        await begin(rig, case)
        rig.points.die_at = FAR_AWAY
        await case.act(rig)
        await rig.until(lambda: is_over(rig), "the release has ended")
        reached.extend(rig.points.reached)

    root.mkdir()
    run(root, story)
    return [number for number, name in enumerate(reached, 1) if name == "after put release/m"]


async def begin(rig: Rig, case: Case) -> None:
    await serving_version_1(rig, scale=case.scale)
    await come_to(rig, S.DONE)


def is_over(rig: Rig) -> bool:
    seen = rig.sidecar.loop.snapshot
    newest = seen.releases["m"] if seen else None
    return newest is not None and newest.version == 2 and not newest.is_active


def die_and_agree(root: Path, case: Case, die_at: int) -> None:
    async def story(rig: Rig) -> None:
        await begin(rig, case)
        rig.points.die_at = die_at
        acting = asyncio.ensure_future(case.act(rig))
        await rig.points.died.wait()
        acting.cancel()
        await rig.crash()
        await rig.until(lambda: is_over(rig), "the release has ended")

        agree(rig.state, await rig.newest_release())
        assert [event.name for event in rig.state.events if "recovered" in event.detail] == [
            EventName.RELEASE_MOVED
        ]

    root.mkdir()
    run(root, story)
