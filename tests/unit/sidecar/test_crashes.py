"""The sidecar dies at every point of a story, and another one takes over; or a server dies.

A point is before each call that changes or proves something. Whatever was half
done, the end is the one that it would have had anyway, and traffic never noticed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.fleet import CheckKind, OperationKind, Server
from sidecar.core.release import ReleaseState
from sidecar.core.strategy import DEFAULT_STRATEGY, Approval, Copies, Strategy
from sidecar.errors import Conflict, Quarantined
from sidecar.ports import Stored
from sidecar.runtime.records import Records
from tests.builders import publish, release, request, trial
from tests.fakes.gateway import FakeGateway
from tests.unit.sidecar.rig import POLL_S, Points, Rig, run
from tests.unit.sidecar.test_budget_cycles import add, ensure, fleet, never_over_budget

S = ReleaseState
# Each of so many tests takes every so-many-th point, so that none takes long.
SHARES = 3
FAR_AWAY = 10_000
# A pair of requests then takes so long that a round has few of them.
INFER_S = 0.02
SOAK_S = 2.0
REFUSED_X = 77.0


def worth_dying_at(reached: Sequence[str]) -> list[int]:
    """Numbers of points: before each call, but of many requests in a row the first and the last.

    What is after one call is before the next.
    """
    begun = [each for each in enumerate(reached, 1) if each[1].startswith("before ")]
    chosen: list[int] = []
    for is_request, row in groupby(begun, key=lambda each: " infer " in each[1]):
        numbers = [number for number, _ in row]
        chosen += [*numbers[:1], *numbers[1:][-1:]] if is_request else numbers
    return chosen


# A release.


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is done while the sidecar may die, and how it ends.

    Only between the states `since` and `until` anything is different from the first case.
    `second` is what is special about version 2. `asks` of the release as soon as it is in the
    state `asks_in`.
    """

    ends: ReleaseState
    strategy: Strategy = DEFAULT_STRATEGY
    since: ReleaseState | None = None
    until: ReleaseState | None = None
    second: Mapping[str, Any] = field(default_factory=dict)
    rejected: bool = False
    asks: OperationKind | None = None
    asks_in: ReleaseState = S.SOAKING
    fails_in_soak: bool = False
    has_gateway: bool = False
    is_shadowed: bool = False

    @property
    def serves(self) -> int:
        return 2 if self.ends is S.DONE else 1


K = OperationKind
ONE_AT_A_TIME = Strategy(copies=Copies.ONE_AT_A_TIME)
SHIFTED = Strategy(shift=(5, 50), bake_s=1.0)
CASES = {
    "a good version": Case(ends=S.DONE),
    "a wrong version": Case(ends=S.REFUSED, second={"scale": 2.02}, rejected=True),
    "a version that fails beside the other": Case(
        ends=S.REFUSED, since=S.COMPARING, second={"refuses": REFUSED_X}, rejected=True
    ),
    "a version that fails in the soak": Case(
        ends=S.ROLLED_BACK, since=S.SOAKING, fails_in_soak=True, rejected=True
    ),
    "an approval": Case(
        ends=S.DONE,
        strategy=Strategy(approval=Approval.MANUAL),
        since=S.AWAITING,
        until=S.SOAKING,
        asks=K.PROMOTE,
        asks_in=S.AWAITING,
    ),
    "a rollback": Case(ends=S.ROLLED_BACK, since=S.ROLLING_BACK, asks=K.ROLLBACK),
    "a rollback of what is done": Case(
        ends=S.ROLLED_BACK, since=S.RESTORING, asks=K.ROLLBACK, asks_in=S.DONE
    ),
    "one copy at a time": Case(
        ends=S.DONE, strategy=ONE_AT_A_TIME, since=S.PROMOTING, until=S.FINISHING
    ),
    "one copy at a time that fails": Case(
        ends=S.ROLLED_BACK,
        strategy=ONE_AT_A_TIME,
        since=S.ROLLING_BACK,
        fails_in_soak=True,
        rejected=True,
    ),
    "shares of the requests": Case(
        ends=S.DONE, strategy=SHIFTED, since=S.PINNING, until=S.FINISHING, has_gateway=True
    ),
    "shares of the requests, called off": Case(
        ends=S.ROLLED_BACK,
        strategy=SHIFTED,
        since=S.ROLLING_BACK,
        asks=K.ABORT,
        asks_in=S.SHIFTING,
        has_gateway=True,
    ),
    "shares of the requests, all of them called off": Case(
        ends=S.ROLLED_BACK,
        strategy=SHIFTED,
        since=S.ROLLING_BACK,
        asks=K.ABORT,
        asks_in=S.SOAKING,
        has_gateway=True,
    ),
    "a shadow": Case(ends=S.DONE, until=S.SOAKING, is_shadowed=True),
    "a shadow that is wrong": Case(
        ends=S.REFUSED, second={"scale": 2.02}, rejected=True, is_shadowed=True
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_release_survives_the_death_of_the_sidecar_at_any_point(
    tmp_path: Path, name: str
) -> None:
    case = CASES[name]

    for die_at in points_of(tmp_path / "whole", case):
        die_and_recover(tmp_path / str(die_at), case, die_at)


def points_of(root: Path, case: Case) -> list[int]:
    reached: list[str] = []
    entered: dict[ReleaseState, int] = {}

    def note(rig: Rig, state: ReleaseState) -> None:
        entered.setdefault(state, len(rig.points.reached))

    async def story(rig: Rig) -> None:
        async with begun(rig, case):
            rig.points.die_at = FAR_AWAY
            for state in S:
                when_it_comes_to(rig, state, partial(note, rig, state))
            await act(rig, case)
            await at_rest(rig)
            await ended_well(rig, case)
            reached.extend(rig.points.reached)

    root.mkdir()
    run(root, story)
    first = entered[case.since] if case.since else 0
    last = entered[case.until] if case.until else len(reached)
    return [number for number in worth_dying_at(reached) if first <= number <= last]


def die_and_recover(root: Path, case: Case, die_at: int) -> None:
    async def story(rig: Rig) -> None:
        async with begun(rig, case):
            rig.points.die_at = die_at
            acting = asyncio.ensure_future(act(rig, case))
            await rig.points.died.wait()
            acting.cancel()
            await rig.crash()
            await act(rig, case)
            await at_rest(rig)
            await ended_well(rig, case)

    root.mkdir()
    run(root, story)


@asynccontextmanager
async def begun(rig: Rig, case: Case) -> AsyncIterator[None]:
    """Version 1 of the hot model `m` serves, and 2 is in the store; nobody is misled meanwhile."""
    publish(rig.store, "m", 1, tier="hot")
    publish(rig.store, "m", 2, tier="hot", **case.second)
    rig.recordings.kept["m"] = [request(REFUSED_X, 1.0)]
    before = release(S.DONE, version=1, base=None)
    await Records(rig.state).begin_release(before)
    await Records(rig.state).set_trial(before.id, CheckKind.GUARD, trial())
    await Records(rig.state).set_serving("m", 1)
    for triton in rig.tritons.values():
        triton.infer_s = INFER_S
    rig.policy = replace(rig.policy, soak_s=SOAK_S)
    rig.is_shadowed = case.is_shadowed
    rig.gateway = FakeGateway() if case.has_gateway else None
    if case.fails_in_soak:
        fails = "infer m 2: refused 'Internal: 77' x999"
        when_it_comes_to(rig, S.SOAKING, lambda: rig.serving.add_faults(fails))
    rig.start()
    await rig.ready()
    watching = asyncio.create_task(nobody_is_misled(rig))
    try:
        yield
    finally:
        watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def when_it_comes_to(rig: Rig, state: ReleaseState, then: Callable[[], None]) -> None:
    """Each time the release is recorded in that state, whichever sidecar does it."""

    def look(stored: Stored) -> None:
        if stored.key == "release/m" and f'"state":"{state}","steps"' in stored.value:
            then()

    rig.state.on_put.append(look)


async def act(rig: Rig, case: Case) -> None:
    """As a client does it, who asks again after the death for what was not accepted before."""
    if (await rig.newest_release()).version == 1:
        await rig.sidecar.releases.begin("m", 2, actor="ann", strategy=case.strategy)
    if case.asks is None:
        return
    await rig.until(lambda: has_come_to(rig, case.asks_in), f"it comes to {case.asks_in}")
    releases, asked_of = rig.sidecar.releases, (await rig.newest_release()).id
    # It was accepted before, and the answer did not arrive.
    with suppress(Conflict):
        if case.asks is K.ROLLBACK:
            await releases.roll_back("m", actor="bob")
        else:
            await releases.ask(asked_of, case.asks, actor="bob")


def has_come_to(rig: Rig, state: ReleaseState) -> bool:
    seen = rig.sidecar.loop.snapshot
    steps = seen.releases["m"].steps if seen and seen.releases["m"].version == 2 else ()
    return any(step.state is state for step in steps)


async def at_rest(rig: Rig) -> None:
    """The release has ended, every operation too, and nothing is left to be done."""

    def is_over() -> bool:
        seen = rig.sidecar.loop.snapshot
        return (
            seen is not None
            and not any(key.startswith("operation/") for key in rig.state.objects)
            and not seen.busy
            and not seen.releases["m"].is_active
            and seen.releases["m"].version == 2
            and not seen.servers[Server.CANARY].staged
            and not seen.routed
        )

    await rig.until(is_over, "the release has ended")


async def ended_well(rig: Rig, case: Case) -> None:
    found = await rig.newest_release()
    assert (found.state, found.rejected) == (case.ends, case.rejected)
    assert rig.serving.ready("m") == {case.serves}
    assert await rig.recorded() == case.serves
    assert set(await Records(rig.state).rejected()) == ({("m", 2)} if case.rejected else set())
    assert [folder.name for folder in (rig.root / "serving").iterdir()] == ["m"]
    assert list((rig.root / "canary").iterdir()) == []
    served = rig.loaded(Server.SERVING)
    assert all(served) or found.keeps_one, served
    if case.ends is S.REFUSED:
        assert served == [{1}]


async def nobody_is_misled(rig: Rig) -> None:
    """The gateway names no version that is not there."""
    while rig.gateway is not None:
        split = rig.gateway.routes.splits.get("m")
        named = frozenset(split.weights if split else ())
        if not named <= rig.serving.ready("m"):
            rig.serving.violations.append(f"clients are sent to {set(named)}")
            return
        await asyncio.sleep(POLL_S)


# Models that compete for memory that holds two of them.


class Strikes(Points):
    """Before the `die_at`th call something happens, and the caller goes on."""

    def __init__(self, strike: Callable[[], None]) -> None:
        super().__init__()
        self._strike = strike

    async def reach(self, name: str) -> None:
        if self.die_at is None or name.startswith("after "):
            return
        self.reached.append(name)
        if len(self.reached) == self.die_at:
            self.died.set()
            self._strike()


async def competitors(rig: Rig) -> None:
    await add(rig, "broken", broken="Internal: no such op")
    await add(rig, "brief", idle_timeout_s=5.0)
    await fleet(rig, "a b", room_for=2)


async def compete(rig: Rig) -> None:
    """Waiting, evictions, a quarantine, and an unload because of idleness."""
    await asyncio.gather(ensure(rig, "a"), ensure(rig, "b"))
    await ensure(rig, "brief")
    with suppress(Quarantined):
        await ensure(rig, "broken")
    await asyncio.sleep(10)
    await ensure(rig, "a")


def points_of_competition(root: Path) -> list[str]:
    reached: list[str] = []

    async def story(rig: Rig) -> None:
        await competitors(rig)
        rig.points.die_at = FAR_AWAY
        await compete(rig)
        await only_what_is_kept_is_loaded(rig)
        reached.extend(rig.points.reached)
        told = set(rig.told())
        assert told >= {"model_evicted", "model_let_go", "model_set_aside"}, "the whole story"

    root.mkdir()
    run(root, story)
    return reached


async def only_what_is_kept_is_loaded(rig: Rig) -> None:
    """At rest, the record, the server and the stage agree, and the promised is there."""

    def agree() -> bool:
        seen = rig.sidecar.loop.snapshot
        if seen is None or seen.busy or seen.waiting:
            return False
        loaded = {model for model in seen.models if rig.serving.ready(model)}
        staged = {folder.name for folder in (rig.root / "serving").iterdir()}
        return loaded == staged == seen.kept.keys()

    await rig.until(agree, "record, server and stage agree")
    assert rig.serving.ready("a"), "it was asked for last"
    assert not rig.serving.ready("brief"), "it was idle for too long"
    assert not rig.serving.ready("broken")


@pytest.mark.parametrize("share", range(SHARES))
def test_models_that_compete_survive_the_death_of_the_sidecar_at_any_point(
    tmp_path: Path, share: int
) -> None:
    points = worth_dying_at(points_of_competition(tmp_path / "whole"))
    assert len(points) > 40

    async def story(rig: Rig, die_at: int) -> None:
        await competitors(rig)
        rig.points.die_at = die_at
        with never_over_budget(rig):
            asking = asyncio.create_task(compete(rig))
            await rig.points.died.wait()
            asking.cancel()
            await rig.crash()
            await compete(rig)
            await only_what_is_kept_is_loaded(rig)

    for die_at in points[share::SHARES]:
        root = tmp_path / str(die_at)
        root.mkdir()
        run(root, lambda rig, die_at=die_at: story(rig, die_at))


@pytest.mark.parametrize("share", range(SHARES))
def test_models_that_compete_survive_the_death_of_triton_before_any_call(
    tmp_path: Path, share: int
) -> None:
    """Every model that somebody waited for is there in the end; a restart costs time only."""
    reached = points_of_competition(tmp_path / "whole")
    calls = worth_dying_at([name for name in reached if name.startswith("before ")])

    async def story(rig: Rig, die_at: int) -> None:
        rig.points = Strikes(rig.serving.kill)
        await competitors(rig)
        rig.points.die_at = die_at
        with never_over_budget(rig):
            await compete(rig)
            await only_what_is_kept_is_loaded(rig)
        assert rig.points.died.is_set()

    for die_at in calls[share::SHARES]:
        root = tmp_path / str(die_at)
        root.mkdir()
        run(root, lambda rig, die_at=die_at: story(rig, die_at))
