"""The sidecar dies at every point of a story, and another one takes over; or a server dies.

A point is before or after each call that changes or proves something. Whatever was half
done, the end is the one that it would have had anyway, and traffic never noticed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.core.fleet import Server
from sidecar.core.release import ReleaseState
from sidecar.errors import Conflict, Quarantined
from tests.unit.sidecar.rig import Points, Rig, run
from tests.unit.sidecar.test_budget_cycles import add, ensure, fleet, never_over_budget
from tests.unit.sidecar.test_cycles import come_to, release_2, serving_version_1

S = ReleaseState
# Each of so many tests takes every so-many-th point, so that none takes long.
SHARES = 6
FAR_AWAY = 10_000


@dataclass(frozen=True)
class Case:
    """What is done while the sidecar may die, and how it ends.

    A rollback that comes before the promotion ends as a refusal.
    """

    scale: float
    act: Callable[[Rig], Awaitable[None]]
    ends: frozenset[ReleaseState]
    serves: int


async def release(rig: Rig) -> None:
    await release_2(rig)


async def release_and_roll_back(rig: Rig) -> None:
    await release_2(rig)
    await come_to(rig, S.SOAKING)
    await rig.sidecar.requests.roll_back("m", actor="bob")


CASES = {
    "a good version": Case(2.0, release, frozenset({S.DONE}), serves=2),
    "a wrong version": Case(2.02, release, frozenset({S.REFUSED}), serves=1),
    "a rollback": Case(2.0, release_and_roll_back, frozenset({S.ROLLED_BACK, S.REFUSED}), serves=1),
}


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("name", CASES)
def test_a_release_survives_the_death_of_the_sidecar_at_any_point(
    tmp_path: Path, name: str, share: int
) -> None:
    case = CASES[name]
    points = count_points(tmp_path / "whole", case)
    assert points > 20

    for die_at in range(1 + share, points + 1, SHARES):
        die_and_recover(tmp_path / str(die_at), case, die_at)


def count_points(root: Path, case: Case) -> int:
    reached: list[str] = []

    async def story(rig: Rig) -> None:
        await begin(rig, case)
        rig.points.die_at = FAR_AWAY
        await case.act(rig)
        await at_rest(rig)
        reached.extend(rig.points.reached)

    root.mkdir()
    run(root, story)
    return len(reached)


async def begin(rig: Rig, case: Case) -> None:
    await serving_version_1(rig, scale=case.scale)
    await come_to(rig, S.DONE)
    await rig.until(lambda: not list((rig.root / "canary").iterdir()), "canary is free")


async def at_rest(rig: Rig) -> None:
    """The release has ended, every operation too, and nothing is left to be done."""

    def is_over() -> bool:
        seen = rig.sidecar.loop.snapshot
        return (
            seen is not None
            and not seen.operations
            and not seen.busy
            and not seen.releases["m"].is_active
            and seen.releases["m"].version == 2
            and not seen.servers[Server.CANARY].staged
        )

    await rig.until(is_over, "the release has ended")


def die_and_recover(root: Path, case: Case, die_at: int) -> None:
    async def story(rig: Rig) -> None:
        await begin(rig, case)
        rig.points.die_at = die_at
        acting = asyncio.ensure_future(case.act(rig))
        await rig.points.died.wait()
        acting.cancel()
        await rig.crash()
        await resume(rig, case)
        await at_rest(rig)

        assert rig.serving.ready("m") == {case.serves}
        assert await rig.recorded() == case.serves
        assert (await rig.newest_release()).state in case.ends
        assert all(rig.loaded(Server.SERVING)), rig.loaded(Server.SERVING)
        if case.serves == 1 and case.act is release:
            assert rig.loaded(Server.SERVING) == [{1}]

    root.mkdir()
    run(root, story)


async def resume(rig: Rig, case: Case) -> None:
    """The client asks again for what was not accepted when the sidecar died."""
    if (await rig.newest_release()).version == 1:
        await release_2(rig)
    if case.act is release_and_roll_back:
        try:
            await rig.sidecar.requests.roll_back("m", actor="bob")
        except Conflict as error:
            assert error.code == "nothing_to_roll_back"  # noqa: PT017  (only while it goes back)


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


def count_points_of_competition(root: Path) -> int:
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
    return len(reached)


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
    points = count_points_of_competition(tmp_path / "whole")
    assert points > 40

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

    for die_at in range(1 + share, points + 1, SHARES):
        root = tmp_path / str(die_at)
        root.mkdir()
        run(root, lambda rig, die_at=die_at: story(rig, die_at))


@pytest.mark.parametrize("share", range(SHARES))
def test_models_that_compete_survive_the_death_of_triton_before_any_call(
    tmp_path: Path, share: int
) -> None:
    """Every model that somebody waited for is there in the end; a restart costs time only."""
    calls = count_points_of_competition(tmp_path / "whole") // 2

    async def story(rig: Rig, die_at: int) -> None:
        rig.points = Strikes(rig.serving.kill)
        await competitors(rig)
        rig.points.die_at = die_at
        with never_over_budget(rig):
            await compete(rig)
            await only_what_is_kept_is_loaded(rig)
        assert rig.points.died.is_set()

    for die_at in range(1 + share, calls + 1, SHARES):
        root = tmp_path / str(die_at)
        root.mkdir()
        run(root, lambda rig, die_at=die_at: story(rig, die_at))
