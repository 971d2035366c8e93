"""Whole stories of ensemble `x`, which is `a` and then `b`: y = 4 x; in virtual time."""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.samples import GoldenSample, write_golden
from sidecar.core.fleet import Server
from sidecar.core.memory import CPU
from sidecar.core.release import ReleaseState
from sidecar.core.status import model_status
from sidecar.core.strategy import Copies, Strategy
from sidecar.errors import Quarantined
from sidecar.runtime.records import Records
from tests.builders import MIB, golden_samples, publish, request
from tests.chains import publish_chain
from tests.unit.sidecar.chaining import give_chaining, torn
from tests.unit.sidecar.rig import Rig, run

SERVING, CANARY = Server.SERVING, Server.CANARY
Story = Callable[[Rig], Coroutine[Any, Any, None]]


def play(root: Path, story: Story) -> None:
    """No ensemble may ever be taken down with a model that left too early."""

    async def chained(rig: Rig) -> None:
        give_chaining(rig, "x", "y")
        await story(rig)
        assert torn(rig) == []

    run(root, chained)


def publish_x(rig: Rig, **intent: object) -> None:
    for part in "ab":
        publish(rig.store, part, 1)
    publish_chain(rig.store, "x", {"a": 1, "b": 1}, **intent)


def tripled(sample: GoldenSample) -> GoldenSample:
    return GoldenSample(sample.inputs, {"y": np.float32(3) * sample.inputs["x"]})


async def served_before(rig: Rig, **versions: int) -> None:
    """So that nothing has to pass canary again."""
    for model, version in versions.items():
        await Records(rig.state).set_serving(model, version)


async def x_serves(rig: Rig) -> None:
    """With its models, since the sidecar has started."""
    publish_x(rig, tier="hot")
    await served_before(rig, a=1, b=1, x=1)
    rig.start()
    await rig.ready()


def order(rig: Rig, server: Server = SERVING) -> list[str]:
    """What was loaded and, with a minus, unloaded; one after the other."""
    history = rig.tritons[server].history
    return [name if ready else f"-{name}" for name, ready in history]


async def ask(rig: Rig, model: str = "x", version: int = 1) -> list[list[float]]:
    answer = await rig.serving.infer(model, version, request(1.0, 3.0), timeout_s=5.0)
    found: list[list[float]] = answer["y"].tolist()
    return found


def reason(rig: Rig, model: str) -> str:
    assert rig.sidecar.loop.snapshot is not None
    return model_status(rig.sidecar.loop.snapshot, model).reason


def test_a_request_brings_an_ensemble_after_its_models_each_by_way_of_canary(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        publish_x(rig)
        rig.start()
        await rig.sidecar.requests.ensure("x", timeout_s=60)

        assert await ask(rig) == [[4.0, 12.0]]
        assert sorted(order(rig)[:2]) == ["a", "b"]
        assert order(rig)[2:] == ["x"]
        on_canary = order(rig, CANARY)
        assert set(on_canary[on_canary.index("x") - 2 :][:2]) == {"a", "b"}
        await rig.until(lambda: not any(map(rig.canary.ready, "abx")), "canary is free again")
        assert reason(rig, "a") == "needed by ensemble x"

    play(tmp_path, story)


def test_an_ensemble_leaves_before_its_models(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish_x(rig)
        await served_before(rig, a=1, b=1, x=1)
        rig.start()
        await rig.sidecar.requests.ensure("x", timeout_s=60)
        asked = await rig.sidecar.requests.unload("x", actor="ann")
        assert (await rig.ended(asked)).error is None
        await rig.until(lambda: not any(map(rig.serving.ready, "abx")), "all have left")

        assert order(rig)[3:4] == ["-x"]
        assert sorted(order(rig)[4:]) == ["-a", "-b"]

    play(tmp_path, story)


def test_a_model_that_somebody_else_wants_too_stays(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish_x(rig)
        await served_before(rig, a=1, b=1, x=1)
        rig.start()
        await rig.sidecar.requests.ensure("x", timeout_s=60)
        await rig.sidecar.requests.ensure("a", timeout_s=60)
        await rig.ended(await rig.sidecar.requests.load("a", actor="ann"))
        await rig.ended(await rig.sidecar.requests.unload("x", actor="ann"))
        await rig.until(lambda: not rig.serving.ready("b"), "b has left")

        assert rig.serving.ready("a") == {1}

    play(tmp_path, story)


def test_a_model_cannot_be_unloaded_under_its_ensemble(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await x_serves(rig)
        asked = await rig.sidecar.requests.unload("a", actor="ann")

        said = (await rig.ended(asked)).error
        assert said == "it stays, needed by ensemble x: unload that first"
        assert rig.serving.ready("a") == rig.serving.ready("x") == {1}

    play(tmp_path, story)


def test_an_ensemble_whose_model_was_released_since_it_was_built_is_loaded_all_the_same(
    tmp_path: Path,
) -> None:
    """Its answers are others since then, which is not the ensemble's fault."""

    async def story(rig: Rig) -> None:
        publish_x(rig, tier="hot")
        publish(rig.store, "a", 2, scale=3.0)
        write_golden(rig.store.version("a", 2).golden, [tripled(each) for each in golden_samples()])
        await served_before(rig, a=2, b=1, x=1)
        rig.start()
        await rig.ready()

        assert await ask(rig) == [[6.0, 18.0]]

    play(tmp_path, story)


def test_a_new_version_of_an_ensemble_is_proven_with_the_models_that_serve(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await x_serves(rig)
        publish_chain(rig.store, "x", {"a": 1, "b": 1}, 2, tier="hot")
        asked = await rig.sidecar.releases.begin("x", 2, actor="ann")

        assert (await rig.ended(asked)).error is None
        assert rig.loaded(SERVING, "x") == [{1}, {1, 2}, {2}]
        assert rig.loaded(SERVING, "a") == rig.loaded(SERVING, "b") == [{1}]
        await rig.until(lambda: not any(map(rig.canary.ready, "abx")), "canary is free again")

    play(tmp_path, story)


def test_a_version_that_answers_wrongly_is_refused(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await x_serves(rig)
        publish_chain(rig.store, "x", {"a": 1, "b": 1}, 2, factor=5.0, tier="hot")
        asked = await rig.sidecar.releases.begin("x", 2, actor="ann")

        said = (await rig.ended(asked)).error
        assert "answers a golden sample wrongly" in str(said)
        assert rig.loaded(SERVING, "x") == [{1}]

    play(tmp_path, story)


def test_a_version_that_was_built_with_other_models_than_serve_is_refused_and_may_come_again(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await x_serves(rig)
        publish(rig.store, "a", 2)
        publish_chain(rig.store, "x", {"a": 2, "b": 1}, 2, tier="hot")
        asked = await rig.sidecar.releases.begin("x", 2, actor="ann")

        said = (await rig.ended(asked)).error
        assert said == (
            "refused: its golden samples were made with version 2 of a, of which version 1 "
            "serves: release that version first, or build the ensemble anew"
        )
        await rig.ended(await rig.sidecar.releases.begin("a", 2, actor="ann"))
        asked = await rig.sidecar.releases.begin("x", 2, actor="ann")
        assert (await rig.ended(asked)).error is None
        assert await rig.recorded("x") == 2

    play(tmp_path, story)


def test_an_ensemble_and_its_model_are_released_one_after_the_other(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await x_serves(rig)
        publish(rig.store, "a", 2)
        publish_chain(rig.store, "x", {"a": 1, "b": 1}, 2, tier="hot")
        of_x = await rig.sidecar.releases.begin("x", 2, actor="ann")
        await rig.written("release/x", '"state":"verifying"')
        of_a = await rig.sidecar.releases.begin("a", 2, actor="ann")

        assert (await rig.ended(of_x)).error is None
        assert (await rig.ended(of_a)).error is None
        after = (await rig.newest_release("a")).steps[1]
        assert after.state is ReleaseState.CANARY_LOADING
        assert after.at_s >= (await rig.newest_release("x")).steps[-1].at_s

    play(tmp_path, story)


def test_an_ensemble_goes_when_the_memory_of_its_models_is_needed(tmp_path: Path) -> None:
    """Two models have room; who is asked for last displaces who was there."""

    async def story(rig: Rig) -> None:
        publish_x(rig)
        for name in "cd":
            publish(rig.store, name, 1)
        await served_before(rig, a=1, b=1, c=1, d=1, x=1)
        rig.policy = replace(rig.policy, budgets={CPU: 2 * MIB}, headroom=0.0)
        rig.start()
        await rig.sidecar.requests.ensure("x", timeout_s=60)
        for name in "cd":
            await rig.sidecar.requests.ensure(name, timeout_s=60)
        await rig.sidecar.requests.ensure("x", timeout_s=60)

        assert await ask(rig) == [[4.0, 12.0]]
        assert not any(map(rig.serving.ready, "cd"))

    play(tmp_path, story)


def test_a_missing_model_is_named_where_its_ensemble_is_looked_at(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "a", 1)
        publish_chain(rig.store, "x", {"a": 1, "b": 1}, tier="hot")
        await served_before(rig, a=1, x=1)
        rig.start()
        await rig.until(lambda: "b" in "".join(rig.missing()), "b is missed")

        said = "b, a model of its steps: it is not in the store; build it, or mend the ensemble"
        assert rig.missing() == [f"x: waits for {said}"]
        asked = await rig.sidecar.requests.load("x", actor="ann")
        assert (await rig.ended(asked)).error == said
        publish(rig.store, "b", 1)
        await rig.ready()

    play(tmp_path, story)


def test_a_model_that_cannot_be_loaded_is_named_to_who_waits_for_its_ensemble(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "a", 1)
        publish(rig.store, "b", 1, broken="Internal: no such op")
        publish_chain(rig.store, "x", {"a": 1, "b": 1})
        await served_before(rig, a=1)
        rig.start()
        with pytest.raises(Quarantined, match=r"loaded: b, a model of its steps: .*no such op"):
            await rig.sidecar.requests.ensure("x", timeout_s=60)

        said = reason(rig, "x")
        assert said.startswith(
            "release of version 1: admitted: waits for b, a model of its steps: "
        )
        assert "no such op" in said
        assert not rig.canary.ready("x")

    play(tmp_path, story)


def test_a_shadow_of_an_ensemble_is_served_by_the_models_of_its_server(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.is_shadowed = True
        publish_x(rig)
        await served_before(rig, a=1, b=1, x=1)
        publish_chain(rig.store, "x", {"a": 1, "b": 1}, 2)
        rig.start()
        asked = await rig.sidecar.releases.begin("x", 2, actor="ann")

        assert (await rig.ended(asked)).error is None
        await rig.until(lambda: "-x--v2" in order(rig), "the shadow goes")
        assert order(rig).index("x--v2") > max(order(rig).index("a"), order(rig).index("b"))
        assert rig.loaded(SERVING, "a") == [{1}]
        assert rig.loaded(SERVING, "x") == []

    play(tmp_path, story)


def test_a_server_that_dies_gets_an_ensemble_back_after_its_models(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await x_serves(rig)
        rig.serving.kill()
        await rig.until(lambda: bool(rig.missing()), "it is missed")
        await rig.ready()

        assert [name for name in order(rig) if name == "x"] == ["x", "x"]
        assert rig.told().count("load_failed") == 0

    play(tmp_path, story)


def test_an_idle_ensemble_is_let_go_with_its_models(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish_x(rig, tier="auto", idle_timeout_s=10.0)
        await served_before(rig, a=1, b=1, x=1)
        rig.start()
        await rig.sidecar.requests.ensure("x", timeout_s=60)
        await rig.until(lambda: not any(map(rig.serving.ready, "abx")), "all have left")

        assert rig.told("x").count("model_let_go") == 1
        assert sorted(order(rig)[4:]) == ["-a", "-b"]

    play(tmp_path, story)


def test_a_release_of_a_cold_ensemble_brings_models_that_have_never_served(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        publish_x(rig)
        rig.start()
        asked = await rig.sidecar.releases.begin("x", 1, actor="ann")

        assert (await rig.ended(asked)).error is None
        assert [await rig.recorded(name) for name in "abx"] == [1, 1, 1]
        assert rig.loaded(SERVING, "x") == []

    play(tmp_path, story)


def test_an_ensemble_comes_back_when_its_model_is_released_one_copy_at_a_time(
    tmp_path: Path,
) -> None:
    """Nothing else takes an ensemble down."""

    async def story(rig: Rig) -> None:
        give_chaining(rig, "x")
        await x_serves(rig)
        publish(rig.store, "a", 2)
        alone = Strategy(copies=Copies.ONE_AT_A_TIME)
        asked = await rig.sidecar.releases.begin("a", 2, actor="ann", strategy=alone)
        assert (await rig.ended(asked)).error is None
        await rig.ready()

        assert torn(rig) == ["x"]
        assert rig.loaded(SERVING, "a") == [{1}, set(), {2}]
        assert rig.loaded(SERVING, "x") == [{1}, {1}]
        assert rig.told("x").count("load_failed") == 0
        assert "drift" not in rig.told()

    run(tmp_path, story)
