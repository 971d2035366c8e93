"""Whole trains of models that have never served, in virtual time. They are cold unless said."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from sidecar.core.activation import Heat
from sidecar.core.fleet import Server
from sidecar.core.release import ReleaseState
from sidecar.core.train import Car, CarState, Train
from sidecar.errors import DoesNotFit, Quarantined
from tests.builders import publish
from tests.chains import publish_chain
from tests.unit.sidecar.chaining import give_chaining, torn
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_budget_cycles import fleet
from tests.unit.sidecar.test_crashes import FAR_AWAY
from tests.unit.sidecar.test_train_cycles import QUICK, begun, states, trains

C = CarState
SERVING, CANARY = Server.SERVING, Server.CANARY
SHARES = 4


async def begin(rig: Rig, *models: str, at_once: int = 1) -> Train:
    return await trains(rig).begin(
        models or None, actor="ann", strategy=QUICK, at_once=at_once, unserved=True
    )


async def ended(rig: Rig, train: Train) -> Train:
    key = f"archive/train/{train.id}"
    await rig.until(lambda: key in rig.state.objects, "the train ends", 3000)
    await rig.at_rest()
    return await trains(rig).get(train.id)


async def proven(rig: Rig, *, at_once: int = 1) -> Train:
    """A whole train of all models, the sidecar started for it."""
    rig.start()
    return await ended(rig, await begin(rig, at_once=at_once))


def loads(rig: Rig, server: Server) -> list[str]:
    return [call for call in rig.tritons[server].calls if call.startswith("load ")]


def test_cold_models_are_proven_and_recorded_and_serving_never_holds_them(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        for name in "abc":
            publish(rig.store, name, 1)
        publish(rig.store, "b", 2)

        found = await proven(rig)

        assert [(car.model, car.version, car.base) for car in found.cars] == [
            ("a", 1, None),
            ("b", 2, None),
            ("c", 1, None),
        ]
        assert states(found) == [C.DONE] * 3
        assert found.cars[1].note == "version 2 is recorded; the model is not loaded"
        assert [await rig.recorded(name) for name in "abc"] == [1, 2, 1]
        assert loads(rig, SERVING) == []
        assert rig.loaded(CANARY, "a") == [{1}, set(), {1}, set()]

    run(tmp_path, story)


def test_the_first_request_afterwards_waits_for_a_load_alone(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "a", 1)
        await proven(rig)
        releases, on_canary = rig.told("a").count("release_moved"), loads(rig, CANARY)

        assert await rig.sidecar.requests.ensure("a", timeout_s=60) is Heat.COLD

        await rig.at_rest()
        assert loads(rig, SERVING) == ["load a"]
        assert rig.told("a").count("release_moved") == releases
        assert loads(rig, CANARY) == on_canary

    run(tmp_path, story)


def test_one_that_never_served_and_fails_stops_nothing_and_one_that_serves_does(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "a", 1, scale=2.02)
        publish(rig.store, "b", 1, tier="hot")
        publish(rig.store, "c", 1)
        publish(rig.store, "d", 1)
        rig.start()
        await rig.ready()
        publish(rig.store, "b", 2, tier="hot", scale=2.02)
        await rig.at_rest()

        first = await ended(rig, await begin(rig, "a", "c"))
        assert states(first) == [C.FAILED, C.DONE]
        assert (first.cars[0].note or "").startswith("refused: on canary: version 1 answers a ")
        assert first.stopped is None

        found = await ended(rig, await begin(rig))
        assert [car.model for car in found.cars] == ["a", "b", "d"]
        assert states(found) == [C.SKIPPED, C.FAILED, C.WAITING]
        assert (found.stopped or "").startswith("b version 2: refused: ")
        assert [await rig.recorded(name) for name in "abcd"] == [None, 1, 1, None]

    run(tmp_path, story)


def test_what_was_refused_is_told_to_its_first_client_at_once(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "a", 1, scale=2.02)
        (car,) = (await proven(rig)).cars
        on_canary = loads(rig, CANARY)

        with pytest.raises(Quarantined, match="answers a golden sample wrongly"):
            await rig.sidecar.requests.ensure("a", timeout_s=60)
        (again,) = (await ended(rig, await begin(rig))).cars

        assert car.state is C.FAILED
        assert again.state is C.SKIPPED
        assert (again.note or "").startswith("in quarantine: it could not be loaded: on canary")
        assert loads(rig, CANARY) == on_canary

    run(tmp_path, story)


def test_one_for_which_there_was_no_room_is_proven_when_somebody_asks(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await fleet(rig, "h", room_for=1, pin=True)
        await rig.sidecar.requests.ensure("h", timeout_s=60)
        publish(rig.store, "a", 1)
        (car,) = (await ended(rig, await begin(rig))).cars
        assert (car.state, "in the way: h (pinned" in (car.note or "")) == (C.FAILED, True)

        with pytest.raises(DoesNotFit):
            await rig.sidecar.requests.ensure("a", timeout_s=60)
        await rig.ended(await rig.sidecar.requests.unload("h", actor="ann"))
        assert await rig.sidecar.requests.ensure("a", timeout_s=60) is Heat.COLD

    run(tmp_path, story)


def test_a_wanted_model_is_released_once_and_stays_loaded(tmp_path: Path) -> None:
    """Whether the train comes first, or the tier."""

    async def story(rig: Rig) -> None:
        publish(rig.store, "a", 1, tier="hot")
        publish(rig.store, "b", 1)

        found = await proven(rig)

        assert found.cars[1].state is C.DONE
        assert found.cars[0].state in (C.DONE, C.SKIPPED)
        assert rig.serving.ready("a") == {1}
        assert rig.serving.ready("b") == set()
        first = [event for event in rig.state.events if event.name == "release_moved"]
        assert len({event.detail["release"] for event in first if event.model == "a"}) == 1

    run(tmp_path, story)


def test_a_request_is_answered_while_the_train_is_at_its_model(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "a", 1)
        rig.start()
        train = await begin(rig)
        await rig.written("release/a", '"state":"verifying","steps"')

        assert await rig.sidecar.requests.ensure("a", timeout_s=60) is Heat.COLD

        assert states(await ended(rig, train)) == [C.DONE]
        assert rig.loaded(SERVING, "a") == [{1}]
        assert rig.loaded(CANARY, "a") == [{1}, set(), {1}, set()]
        assert begun(rig) == [f"a.1.train-{train.id}"]

    run(tmp_path, story)


def test_a_request_does_not_wait_for_the_models_before_its_own(tmp_path: Path) -> None:
    """The first of the train takes long on canary; the last is asked for meanwhile."""

    async def story(rig: Rig) -> None:
        for name in "abc":
            publish(rig.store, name, 1)
        rig.start()
        train = await begin(rig)
        await rig.written("release/a", '"state":"canary_loading"')

        assert await rig.sidecar.requests.ensure("c", timeout_s=20) is Heat.COLD
        assert (await rig.newest_release("a")).is_active

        found = await ended(rig, train)
        assert states(found) == [C.DONE, C.DONE, C.SKIPPED]
        assert found.cars[2].note == "it serves already"

    run(tmp_path, story, canary=["load a: slow 60s"])


def test_a_release_that_somebody_else_began_is_left_alone(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "a", 1)
        rig.start()
        of_bob = await rig.sidecar.releases.begin("a", 1, actor="bob")
        (car,) = (await ended(rig, await begin(rig))).cars

        assert (car.state, car.note) == (C.SKIPPED, f"release {of_bob.release_id} of bob goes on")
        assert await rig.recorded("a") == 1

    run(tmp_path, story)


# Ensembles.


def chained(root: Path, story: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    """`a0` is made of `b` and `c`, which come first all the same."""

    async def play(rig: Rig) -> None:
        give_chaining(rig, "a0")
        await story(rig)
        assert torn(rig) == []

    run(root, play)


def publish_a0(rig: Rig, **of_b: object) -> None:
    publish(rig.store, "b", 1, **of_b)  # type: ignore[arg-type]
    publish(rig.store, "c", 1)
    publish_chain(rig.store, "a0", {"b": 1, "c": 1})


@pytest.mark.parametrize("at_once", [1, 3])
def test_an_ensemble_is_proven_after_its_models_and_none_of_them_is_kept(
    tmp_path: Path, at_once: int
) -> None:
    async def story(rig: Rig) -> None:
        publish_a0(rig)

        found = await proven(rig, at_once=at_once)

        assert [(car.model, car.state) for car in found.cars] == [
            ("b", C.DONE),
            ("c", C.DONE),
            ("a0", C.DONE),
        ]
        assert [await rig.recorded(name) for name in ("a0", "b", "c")] == [1, 1, 1]
        assert loads(rig, SERVING) == []
        on_canary = loads(rig, CANARY)
        await rig.sidecar.requests.ensure("a0", timeout_s=60)
        assert sorted(loads(rig, SERVING)) == ["load a0", "load b", "load c"]
        assert loads(rig, CANARY) == on_canary

    chained(tmp_path, story)


@pytest.mark.parametrize("at_once", [1, 3])
def test_an_ensemble_of_a_model_that_failed_is_left_out_and_the_train_ends(
    tmp_path: Path, at_once: int
) -> None:
    async def story(rig: Rig) -> None:
        publish_a0(rig, broken="Internal: no such op")
        publish(rig.store, "z", 1)

        found = await proven(rig, at_once=at_once)

        cars = {car.model: car for car in found.cars}
        assert {name: car.state for name, car in cars.items()} == {
            "b": C.FAILED,
            "c": C.DONE,
            "z": C.DONE,
            "a0": C.SKIPPED,
        }
        told = "b, a model of its steps, has not served: refused: on canary: "
        assert (cars["a0"].note or "").startswith(told)
        assert found.stopped is None
        assert "load a0" not in loads(rig, CANARY)

    chained(tmp_path, story)


def test_an_ensemble_that_is_named_without_its_models_says_which_to_release(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        publish_a0(rig)
        rig.start()
        (car,) = (await ended(rig, await begin(rig, "a0"))).cars

        assert car == Car(
            model="a0",
            version=1,
            base=None,
            state=C.SKIPPED,
            note="b, a model of its steps, has not served; release it first",
        )

    chained(tmp_path, story)


def test_an_ensemble_waits_for_a_release_of_its_model_that_is_no_business_of_the_train(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        publish_a0(rig)
        rig.start()
        await rig.sidecar.releases.begin("b", 1, actor="bob")
        await rig.sidecar.releases.begin("c", 1, actor="bob")

        found = await ended(rig, await begin(rig))

        assert [car.state for car in found.cars] == [C.SKIPPED, C.SKIPPED, C.DONE]
        assert await rig.recorded("a0") == 1

    chained(tmp_path, story)


def test_new_versions_of_models_go_before_the_ensemble_that_was_built_with_them(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        publish_a0(rig)
        await proven(rig)
        publish(rig.store, "c", 2)
        publish_chain(rig.store, "a0", {"b": 1, "c": 2}, 2)

        train = await trains(rig).begin(actor="ann", strategy=QUICK, at_once=2)
        found = await ended(rig, train)

        assert [(car.model, car.state) for car in found.cars] == [("c", C.DONE), ("a0", C.DONE)]
        assert [await rig.recorded(name) for name in ("a0", "c")] == [2, 2]

    chained(tmp_path, story)


# Crashes.


@pytest.mark.parametrize("share", range(SHARES))
def test_whenever_the_sidecar_dies_each_is_released_once_and_none_is_left_loaded(
    tmp_path: Path, share: int
) -> None:
    points = writing_points(tmp_path / "whole")
    assert len(points) > 10

    for die_at in points[share::SHARES]:
        die_and_recover(tmp_path / str(die_at), die_at)


def publish_three(rig: Rig) -> None:
    """The second fails."""
    publish(rig.store, "a", 1)
    publish(rig.store, "b", 1, scale=2.02)
    publish(rig.store, "c", 1)


def writing_points(root: Path) -> list[int]:
    reached: list[str] = []

    async def story(rig: Rig) -> None:
        publish_three(rig)
        rig.start()
        await rig.at_rest()
        rig.points.die_at = FAR_AWAY
        await ended(rig, await begin(rig, at_once=2))
        reached.extend(rig.points.reached)

    root.mkdir()
    run(root, story)
    return [
        number
        for number, name in enumerate(reached, 1)
        if name.startswith(("before put", "after put", "before delete", "after delete"))
        and any(key in name for key in ("train/", "release/", "serving/"))
    ]


def die_and_recover(root: Path, die_at: int) -> None:
    async def story(rig: Rig) -> None:
        publish_three(rig)
        rig.start()
        await rig.at_rest()
        rig.points.die_at = die_at
        acting = asyncio.ensure_future(begin(rig, at_once=2))
        await rig.points.died.wait()
        acting.cancel()
        await rig.crash()
        known = await trains(rig).all()
        found = await ended(rig, known[0] if known else await begin(rig, at_once=2))

        assert states(found) == [C.DONE, C.FAILED, C.DONE]
        assert [await rig.recorded(name) for name in "abc"] == [1, None, 1]
        assert len(begun(rig)) == len(set(begun(rig))) == 3
        assert (await rig.newest_release("b")).state is ReleaseState.REFUSED
        assert loads(rig, SERVING) == []

    root.mkdir()
    run(root, story)
