"""Whole trains, to the end. Version 1 of each model serves at first, version 2 is stored."""

import asyncio
from pathlib import Path

import pytest

from sidecar.core.events import EventName
from sidecar.core.fleet import Rejection
from sidecar.core.release import ReleaseState
from sidecar.core.strategy import Outputs, Strategy
from sidecar.core.train import CarState, Train
from sidecar.errors import Conflict, Impossible, RequestRefused, UnknownObject
from sidecar.runtime.records import Records
from sidecar.runtime.trains import Trains
from tests.builders import publish, signature, tensor
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_crashes import FAR_AWAY

S, C = ReleaseState, CarState
FLEET = ("a", "b", "c")
SHARES = 4
# Comparisons have tests of their own.
QUICK = Strategy(outputs=Outputs.ANY, latency_margin=None)


async def fleet(rig: Rig, **second: dict[str, object]) -> None:
    """`second` is how the second version of a model behaves."""
    for name in FLEET:
        publish(rig.store, name, 1, tier="hot")
    rig.start()
    await rig.ready()
    await rig.until(lambda: at_rest(rig), "the first versions are released")
    for name in FLEET:
        publish(rig.store, name, 2, tier="hot", **second.get(name, {}))  # type: ignore[arg-type]


def at_rest(rig: Rig) -> bool:
    seen = rig.sidecar.loop.snapshot
    return (
        seen is not None
        and not seen.busy
        and not seen.trains
        and seen.serving.keys() == set(FLEET)
        and not any(release.is_active for release in seen.releases.values())
    )


def trains(rig: Rig) -> Trains:
    return Trains(rig.sidecar.world)


async def ended(rig: Rig, train: Train) -> Train:
    key = f"archive/train/{train.id}"
    await rig.until(lambda: key in rig.state.objects and at_rest(rig), "the train ends", 3000)
    return await trains(rig).get(train.id)


def states(train: Train) -> list[CarState]:
    return [car.state for car in train.cars]


def begun(rig: Rig) -> list[str]:
    """Each release of a train as often as it was begun, in order."""
    return [
        str(event.detail["release"])
        for event in rig.state.events
        if event.name == "release_moved"
        and event.detail["step"] == 1
        and ".train-" in str(event.detail["release"])
    ]


def most_at_once(rig: Rig) -> int:
    """Releases of trains that went on at the same time."""
    going: set[str] = set()
    most = 0
    for event in rig.state.events:
        if event.name == "release_moved" and ".train-" in str(event.detail["release"]):
            going.add(str(event.detail["release"]))
            if event.detail["state"] in ("done", "refused", "rolled_back"):
                going.discard(str(event.detail["release"]))
            most = max(most, len(going))
    return most


@pytest.mark.parametrize("at_once", [1, 2])
def test_all_that_is_pending_is_released_as_many_at_a_time_as_was_said(
    tmp_path: Path, at_once: int
) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig)
        train = await trains(rig).begin(actor="ann", strategy=QUICK, at_once=at_once)
        assert [car.model for car in train.cars] == list(FLEET)

        found = await ended(rig, train)

        assert states(found) == [C.DONE] * 3
        assert found.stopped is None
        assert most_at_once(rig) == at_once
        assert {await rig.recorded(name) for name in FLEET} == {2}
        said = [event for event in rig.state.events if event.detail.get("train")]
        assert [(event.name, event.detail.get("error")) for event in said] == [
            (EventName.TRAIN_BEGUN, None),
            (EventName.TRAIN_ENDED, ""),
        ]

    run(tmp_path, story)


def test_the_first_that_fails_stops_the_train(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig, b={"scale": 2.02})

        found = await ended(rig, await trains(rig).begin(actor="ann", strategy=QUICK))

        assert states(found) == [C.DONE, C.FAILED, C.WAITING]
        assert (found.stopped or "").startswith("b version 2: refused: ")
        assert [await rig.recorded(name) for name in FLEET] == [2, 1, 1]
        with pytest.raises(Conflict, match="has ended already"):
            await trains(rig).stop(found.id, actor="bob")
        again = await trains(rig).begin(actor="ann", strategy=QUICK)
        assert [car.model for car in again.cars] == ["c"], "what was refused is not pending"

    run(tmp_path, story)


def test_a_person_stops_a_train_and_the_release_that_goes_on_ends(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig)
        train = await trains(rig).begin(actor="ann", strategy=QUICK)
        await rig.written("release/a", '"state":"soaking","steps"')

        stopped = await trains(rig).stop(train.id, actor="bob")
        assert await trains(rig).stop(train.id, actor="eve") == stopped
        found = await ended(rig, train)

        assert found.stopped == "bob asked for it"
        assert states(found) == [C.DONE, C.WAITING, C.WAITING]
        assert [await rig.recorded(name) for name in FLEET] == [2, 1, 1]

    run(tmp_path, story)


def test_two_trains_release_nothing_twice(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig)
        one = await trains(rig).begin(actor="ann", strategy=QUICK)
        await asyncio.sleep(0.01)
        other = await trains(rig).begin(actor="bob", strategy=QUICK)

        assert {each.id for each in await trains(rig).all()} == {one.id, other.id}
        found = [await ended(rig, one), await ended(rig, other)]

        assert {each.stopped for each in found} == {None}
        assert {await rig.recorded(name) for name in FLEET} == {2}
        assert len(begun(rig)) == len(set(begun(rig))) == 3

    run(tmp_path, story)


def test_a_train_takes_the_models_that_it_is_told(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig)

        found = await ended(
            rig, await trains(rig).begin(["c", "a", "c"], actor="ann", strategy=QUICK)
        )

        assert [car.model for car in found.cars] == ["c", "a"]
        assert [await rig.recorded(name) for name in FLEET] == [2, 1, 2]

    run(tmp_path, story)


def test_what_cannot_be_done_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig, b={"signed": signature(outputs=[tensor("y", 3)])})
        publish(rig.store, "d", 1)
        rejection = Rejection(at_s=1.0, release="c.2", reason="wrong answers")
        await Records(rig.state).reject("c", 2, rejection)
        before = rig.state.objects.copy()

        with pytest.raises(UnknownObject, match="no model 'x'"):
            await trains(rig).begin(["a", "x"], actor="ann")
        with pytest.raises(Conflict, match=r"c: version 2 was refused in release c\.2") as caught:
            await trains(rig).begin(["a", "c"], actor="ann")
        assert caught.value.code == "nothing_pending"
        with pytest.raises(Conflict, match="d has never served"):
            await trains(rig).begin(["d"], actor="ann")
        with pytest.raises(Impossible, match=r"b version 2: output y .* name the models"):
            await trains(rig).begin(actor="ann", strategy=QUICK)
        with pytest.raises(UnknownObject):
            await trains(rig).stop("none", actor="ann")

        assert rig.state.objects == before

    run(tmp_path, story)


def test_with_nothing_new_there_is_no_train(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "a", 1, tier="hot")
        rig.start()
        await rig.ready()

        with pytest.raises(RequestRefused, match="no model has a newer version"):
            await trains(rig).begin(actor="ann", strategy=QUICK)

    run(tmp_path, story)


@pytest.mark.parametrize("share", range(SHARES))
def test_whenever_the_sidecar_dies_each_release_begins_once_and_the_train_ends_the_same(
    tmp_path: Path, share: int
) -> None:
    """At each write of a train, and of the record of a release."""
    points = writing_points(tmp_path / "whole")
    assert len(points) > 10

    for die_at in points[share::SHARES]:
        die_and_recover(tmp_path / str(die_at), die_at)


async def story_of_two(rig: Rig) -> Train:
    """The second of three models fails."""
    return await trains(rig).begin(actor="ann", strategy=QUICK, at_once=2)


def writing_points(root: Path) -> list[int]:
    reached: list[str] = []

    async def story(rig: Rig) -> None:
        await fleet(rig, b={"scale": 2.02})
        rig.points.die_at = FAR_AWAY
        await ended(rig, await story_of_two(rig))
        reached.extend(rig.points.reached)

    root.mkdir()
    run(root, story)
    return [
        number
        for number, name in enumerate(reached, 1)
        if name.startswith(("before put", "after put", "before delete", "after delete"))
        and ("train/" in name or "release/" in name)
    ]


def die_and_recover(root: Path, die_at: int) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig, b={"scale": 2.02})
        rig.points.die_at = die_at
        acting = asyncio.ensure_future(story_of_two(rig))
        await rig.points.died.wait()
        acting.cancel()
        await rig.crash()
        known = await trains(rig).all()
        train = known[0] if known else await story_of_two(rig)
        found = await ended(rig, train)

        assert states(found)[:2] == [C.DONE, C.FAILED]
        assert [await rig.recorded(name) for name in FLEET[:2]] == [2, 1]
        assert len(begun(rig)) == len(set(begun(rig)))
        assert most_at_once(rig) <= 2

    root.mkdir()
    run(root, story)
