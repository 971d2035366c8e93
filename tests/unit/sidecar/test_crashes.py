"""The sidecar dies at every point of a release, and another one takes over.

A point is before or after each call that changes or proves something. Whatever was half
done, the end is the one that it would have had anyway, and traffic never noticed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from sidecar.core.fleet import Server
from sidecar.core.release import ReleaseState
from sidecar.errors import Conflict
from tests.unit.sidecar.rig import Rig, run
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
