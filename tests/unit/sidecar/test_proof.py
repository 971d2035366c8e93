"""Triton's word proves nothing: what is believed is the index and a right answer."""

import asyncio
from pathlib import Path

import pytest

from sidecar.core.fleet import Server
from sidecar.core.release import ReleaseState
from sidecar.runtime.drive import UNLOAD_TIMEOUT_S
from sidecar.runtime.records import Records
from tests.builders import publish
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_cycles import come_to, release_2, serving_version_1

S = ReleaseState
SERVING = Server.SERVING


def reasons(rig: Rig, name: str) -> list[str]:
    return [str(event.detail["reason"]) for event in rig.state.events if event.name.value == name]


def test_a_load_that_says_ok_and_does_nothing_is_no_load(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "m", 1, tier="hot")
        await Records(rig.state).set_serving("m", 1)
        rig.start()
        await rig.until(lambda: "load_failed" in rig.told(), "it is noticed")
        assert reasons(rig, "load_failed") == [
            "serving said that m is loaded, but its index has versions [] ready instead of [1]; "
            "nothing else may write to its stage or call its repository API"
        ]
        assert rig.missing() != []

        await rig.ready()
        assert rig.serving.ready("m") == {1}

    run(tmp_path, story, serving=["load m: ignored"])


def test_a_version_that_answers_no_query_on_serving_is_rolled_back(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        ended = await rig.ended(await release_2(rig))

        assert ended.error == "rolled_back: on serving: Internal: CUDA error 700"
        assert rig.loaded(SERVING) == [{1}, {1, 2}, {1}]
        assert await rig.recorded() == 1

    run(tmp_path, story, serving=["infer m 2: refused 'Internal: CUDA error 700' x9"])


def test_a_model_is_adopted_only_when_it_answers(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        await come_to(rig, S.DONE)
        rig.serving.add_faults("infer m 1: refused 'Stub process is not healthy.' x2")
        await rig.crash()
        await rig.until(lambda: rig.told().count("load_failed") == 2, "it was asked twice")
        assert rig.missing() == ["m: Stub process is not healthy."]

        await rig.ready()
        assert rig.told()[-2:] == ["model_adopted", "became_ready"]

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"wrong_above": 7.0}, "answers a golden sample wrongly"),
        ({"refuses": 77.0, "warmup_x": (77.0, 1.0)}, "Internal: 77 is out of range"),
    ],
    ids=["the last golden sample", "a warm-up sample"],
)
def test_every_sample_is_tried_as_a_request_before_triton_warms_up_with_it(
    tmp_path: Path, second: dict[str, object], said: str
) -> None:
    """A sample that fails inside of `model_warmup` can kill the server."""

    async def story(rig: Rig) -> None:
        await serving_version_1(rig, **second)
        ended = await rig.ended(await release_2(rig))

        assert ended.error is not None
        assert said in ended.error
        steps = [step.state for step in (await rig.newest_release()).steps]
        assert steps == [S.ADMITTED, S.CANARY_LOADING, S.VERIFYING, S.REFUSED]

    run(tmp_path, story)


def test_an_unload_is_done_when_the_index_says_so(tmp_path: Path) -> None:
    """Only then its memory is free and its folder may go."""

    async def story(rig: Rig) -> None:
        await cold_model_is_loaded(rig, unload_s=30)
        before = rig.told().count("model_unloaded")
        asked = await rig.sidecar.requests.unload("m", actor="ann")
        await rig.until(lambda: not rig.serving.ready("m"), "it leaves")
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(29)
        assert [path.name for path in (rig.root / "serving").iterdir()] == ["m"]
        assert rig.told().count("model_unloaded") == before

        assert (await rig.ended(asked)).error is None
        assert 29.5 < asyncio.get_running_loop().time() - began_s < 32
        assert list((rig.root / "serving").iterdir()) == []

    run(tmp_path, story)


async def cold_model_is_loaded(rig: Rig, *, unload_s: float) -> None:
    publish(rig.store, "m", 1)
    rig.start()
    await rig.ready()
    await rig.ended(await rig.sidecar.requests.load("m", actor="ann"))
    await come_to(rig, S.DONE)
    await rig.until(lambda: not list((rig.root / "canary").iterdir()), "canary is free")
    rig.serving.unload_s = unload_s


def test_an_unload_that_does_not_end_is_told_and_waited_for(tmp_path: Path) -> None:
    """A request that does not end holds the model."""

    async def story(rig: Rig) -> None:
        await cold_model_is_loaded(rig, unload_s=UNLOAD_TIMEOUT_S + 60)
        asked = await rig.sidecar.requests.unload("m", actor="ann")

        assert (await rig.ended(asked)).error is None

        (reason,) = reasons(rig, "unload_failed")
        assert reason == (
            "m is still unloading on serving after 120 s; a request that does not end holds it"
        )

    run(tmp_path, story)
