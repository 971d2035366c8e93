"""Whole stories of a sidecar with two servers, to the end. Version 1 serves at first."""

import asyncio
from pathlib import Path

import pytest

from contract.manifest import read_manifest, record_files
from sidecar.core.events import Event
from sidecar.core.fleet import Operation, Server
from sidecar.core.release import ReleaseState
from sidecar.core.status import Warmth, warmth
from sidecar.errors import Conflict, Quarantined
from sidecar.runtime.collect import CACHE_EVERY_S
from sidecar.runtime.lanes import REST_AFTER_LOAD_S
from sidecar.runtime.records import Records
from tests.builders import MIB, publish
from tests.fakes.page_cache import FakePageCache
from tests.fakes.state import FakeState
from tests.unit.sidecar.rig import SOAK_S, Rig, run

S = ReleaseState
SERVING, CANARY = Server.SERVING, Server.CANARY


async def serving_version_1(rig: Rig, **second: object) -> None:
    """Hot model `m`: version 1 serves, version 2 is in the store."""
    publish(rig.store, "m", 1, tier="hot")
    rig.start()
    await rig.ready()
    publish(rig.store, "m", 2, tier="hot", **second)  # type: ignore[arg-type]


async def release_2(rig: Rig) -> Operation:
    return await rig.sidecar.releases.begin("m", 2, actor="ann")


async def come_to(rig: Rig, state: ReleaseState) -> None:
    """Return as soon as the release of `m` is recorded in that state."""
    if (await rig.newest_release()).state is not state:
        await rig.written("release/m", f'"state":"{state}","steps"')


def test_a_fresh_start_proves_a_hot_model_on_canary_and_loads_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "m", 1, tier="hot")
        publish(rig.store, "cold", 1)
        rig.start()
        assert rig.missing() == ["nothing was seen yet"]
        await rig.ready()
        await come_to(rig, S.DONE)
        await rig.until(lambda: rig.canary.ready("m") == set(), "canary is free again")

        assert rig.loaded(CANARY) == [{1}, set(), {1}, set()]
        assert rig.loaded(SERVING) == [{1}]
        assert rig.loaded(SERVING, "cold") == []
        assert await rig.recorded() == 1

    run(tmp_path, story)


class SlowJournal(FakeState):
    """Takes longer to write what happens than the loop rests."""

    async def append(self, event: Event, at_s: float) -> int:
        await asyncio.sleep(3.0)
        return await super().append(event, at_s)


def test_whoever_is_answered_after_a_load_finds_it_told(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.state = SlowJournal()
        publish(rig.store, "cold", 1)
        await Records(rig.state).set_serving("cold", 1)
        rig.start()

        await rig.sidecar.requests.ensure("cold", timeout_s=60.0)

        assert rig.told("cold").count("model_loaded") == 1

    run(tmp_path, story)


def test_a_model_that_was_loaded_by_hand_is_known_to_lie_in_memory_until_it_does_no_more(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        rig.page_cache = FakePageCache(bytes_of=lambda *_: MIB)
        publish(rig.store, "cold", 1)
        await Records(rig.state).set_serving("cold", 1)
        rig.start()
        for ask in (rig.sidecar.requests.load, rig.sidecar.requests.unload):
            assert (await rig.ended(await ask("cold", actor="ann"))).error is None

        def warmth_of_cold() -> Warmth:
            assert rig.sidecar.loop.snapshot is not None
            return warmth(rig.sidecar.loop.snapshot, "cold")

        await asyncio.sleep(10 * CACHE_EVERY_S)
        assert warmth_of_cold() is Warmth.PAGE_CACHE
        rig.page_cache.drop("cold", 1)
        await rig.until(lambda: warmth_of_cold() is Warmth.DISK, "its files have gone")

    run(tmp_path, story)


def test_a_good_version_gets_the_traffic_without_a_gap(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        asked = await release_2(rig)

        assert (await rig.ended(asked)).error is None

        assert rig.loaded(SERVING) == [{1}, {1, 2}, {2}]
        assert await rig.recorded() == 2
        steps = [step.state for step in (await rig.newest_release()).steps]
        assert steps == [
            S.ADMITTED,
            S.CANARY_LOADING,
            S.VERIFYING,
            S.CANARY_WARMING,
            S.MEASURING,
            S.COMPARING,
            S.PROMOTING,
            S.SOAKING,
            S.FINISHING,
            S.DONE,
        ]
        await rig.until(lambda: not rig.canary.ready("m"), "canary is free again")
        assert rig.told().count("became_unready") == 0

    run(tmp_path, story)


def test_both_versions_are_there_for_the_whole_soak(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        await release_2(rig)
        await come_to(rig, S.SOAKING)
        began_s = asyncio.get_running_loop().time()

        await rig.until(lambda: rig.serving.ready("m") == {2}, "the old version goes")

        assert SOAK_S <= asyncio.get_running_loop().time() - began_s <= SOAK_S + 0.5

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ({"scale": 2.02}, "answers a golden sample wrongly: output y: scaled error 1.00e-02"),
        ({"broken": "Internal: no such op"}, "on canary: load failed for model 'm': version 2 is"),
        ({"broken_warmup": "Internal: out of range"}, "Internal: out of range"),
    ],
    ids=["subtly wrong", "cannot be loaded", "fails in warm-up"],
)
def test_a_bad_version_is_refused_and_serving_never_sees_it(
    tmp_path: Path, second: dict[str, object], said: str
) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig, **second)
        asked = await release_2(rig)

        ended = await rig.ended(asked)

        assert ended.error is not None
        assert said in ended.error
        assert (await rig.newest_release()).state is S.REFUSED
        assert rig.loaded(SERVING) == [{1}]
        assert await rig.recorded() == 1
        await rig.until(lambda: not rig.canary.ready("m"), "canary is free again")
        assert rig.missing() == []

    run(tmp_path, story)


@pytest.mark.parametrize("name", ["golden.npz", "model.onnx", "warmup/x.bin"])
def test_a_version_that_is_damaged_on_disk_is_refused_before_any_load(
    tmp_path: Path, name: str
) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        (rig.store.version("m", 2).path / name).write_bytes(b"")
        await rig.until(lambda: rig.canary.ready("m") == set(), "canary is free again")
        before = rig.canary.calls.count("load m")
        ended = await rig.ended(await release_2(rig))

        assert ended.error is not None
        assert f"{name} has 0 bytes, the manifest says" in ended.error
        assert rig.canary.calls.count("load m") == before
        assert rig.loaded(SERVING) == [{1}]

    run(tmp_path, story)


def test_golden_samples_that_cannot_be_read_refuse_the_version(tmp_path: Path) -> None:
    """They are what their manifest says, and still no evidence."""

    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        folder = rig.store.version("m", 2)
        folder.golden.write_bytes(folder.golden.read_bytes()[:200])
        rewrite_manifest(rig)
        ended = await rig.ended(await release_2(rig))

        assert ended.error is not None
        assert "golden.npz cannot be read" in ended.error
        assert rig.loaded(SERVING) == [{1}]

    run(tmp_path, story)


def rewrite_manifest(rig: Rig) -> None:
    folder = rig.store.version("m", 2)
    manifest = read_manifest(folder.manifest)
    careless = manifest.model_copy(update={"files": record_files(folder.path)})
    folder.manifest.write_text(careless.model_dump_json())


def test_a_version_that_kills_the_canary_every_time_is_refused(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        ended = await rig.ended(await release_2(rig))

        assert ended.error is not None
        assert ended.error.startswith("refused: the canary server was lost 3 times: no answer")
        assert rig.loaded(SERVING) == [{1}]
        assert rig.missing() == []

    run(tmp_path, story, canary=["infer m 2: kill x9"])


def test_a_canary_that_is_lost_twice_costs_time_only(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        ended = await rig.ended(await release_2(rig))

        assert ended.error is None
        assert rig.loaded(SERVING) == [{1}, {1, 2}, {2}]

    run(tmp_path, story, canary=["infer m 2: kill x2"])


def test_a_canary_that_dies_under_model_warmup_is_proof_against_the_version(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        asked = await release_2(rig)
        await come_to(rig, S.CANARY_WARMING)
        rig.canary.add_faults("load m: kill x9")
        ended = await rig.ended(asked)

        assert ended.error is not None
        assert "the canary server was lost 3 times" in ended.error
        assert rig.loaded(SERVING) == [{1}]

    run(tmp_path, story)


@pytest.mark.parametrize("fault", ["infer m 2: kill", "infer m 2: lost"])
def test_a_canary_that_is_lost_at_the_golden_samples_is_asked_again(
    tmp_path: Path, fault: str
) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        asked = await release_2(rig)
        await come_to(rig, S.VERIFYING)
        rig.canary.add_faults(fault)

        assert (await rig.ended(asked)).error is None
        assert rig.canary.calls.count("infer m 2") > 4

    run(tmp_path, story)


def test_a_release_waits_for_a_canary_that_is_down(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        rig.canary.kill()
        asked = await release_2(rig)
        await come_to(rig, S.CANARY_LOADING)
        await asyncio.sleep(600)
        assert (await rig.newest_release()).state is S.CANARY_LOADING
        assert rig.missing() == []

        rig.canary.restart()

        assert (await rig.ended(asked)).error is None

    run(tmp_path, story, supervised=False)


def test_a_serving_server_that_refuses_the_new_version_keeps_the_old_one(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        ended = await rig.ended(await release_2(rig))

        assert ended.error is not None
        assert ended.error.startswith("rolled_back: on serving: load failed for model 'm'")
        assert "out of memory" in ended.error
        assert rig.loaded(SERVING)[0] == {1}
        assert all(1 in ready for ready in rig.loaded(SERVING))
        assert rig.serving.ready("m") == {1}
        assert await rig.recorded() == 1
        assert rig.told().count("became_unready") == 0

    run(tmp_path, story, serving=["load m 2: fails 'Internal: out of memory' x9"])


@pytest.mark.parametrize("state", [S.PROMOTING, S.SOAKING, S.FINISHING])
def test_a_serving_server_that_dies_during_a_release_comes_back_to_it(
    tmp_path: Path, state: ReleaseState
) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        asked = await release_2(rig)
        await come_to(rig, state)
        rig.serving.kill()

        assert (await rig.ended(asked)).error is None
        await rig.ready()
        assert rig.serving.ready("m") == {2}
        assert await rig.recorded() == 2

    run(tmp_path, story)


def test_a_serving_server_that_dies_comes_back_to_what_is_recorded(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        rig.serving.kill()
        await rig.until(lambda: rig.missing() != [], "the loss is seen")
        assert rig.missing() == [
            "serving server: no answer from serving server: UNAVAILABLE connection refused"
        ]

        await rig.ready()

        assert rig.loaded(SERVING) == [{1}, {1}]
        assert rig.loaded(CANARY) == [{1}, set(), {1}, set()]
        assert rig.told().count("server_lost") == 1

    run(tmp_path, story)


def test_a_new_sidecar_adopts_what_serves_without_a_load(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        await come_to(rig, S.DONE)
        before = rig.serving.calls.count("load m")
        await rig.crash()
        await rig.ready()

        assert rig.serving.calls.count("load m") == before
        assert rig.told()[-2:] == ["model_adopted", "became_ready"]

    run(tmp_path, story)


def test_a_new_sidecar_without_a_record_adopts_what_serves(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        await come_to(rig, S.DONE)
        rig.state.objects.clear()
        before = rig.serving.calls.count("load m")
        await rig.crash()
        await rig.ready()

        assert await rig.recorded() == 1
        assert rig.serving.calls.count("load m") == before
        assert "release/m" not in rig.state.objects

    run(tmp_path, story)


def test_a_cold_model_comes_and_goes_on_request(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "m", 1)
        rig.start()
        await rig.ready()
        requests = rig.sidecar.requests

        assert (await rig.ended(await requests.load("m", actor="ann"))).error is None
        assert rig.serving.ready("m") == {1}
        assert (await rig.ended(await requests.unload("m", actor="ann"))).error is None
        assert rig.serving.ready("m") == frozenset()
        assert list((rig.root / "serving").iterdir()) == []
        assert (await rig.ended(await requests.load("m", actor="ann"))).error is None
        assert rig.loaded(SERVING) == [{1}, set(), {1}]
        assert rig.loaded(CANARY) == [{1}, set(), {1}, set()]

    run(tmp_path, story)


def test_a_cold_model_that_cannot_be_loaded_says_so_and_can_be_asked_for_again(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "m", 1, broken="Internal: no such op")
        rig.start()
        await rig.until(lambda: rig.sidecar.loop.snapshot is not None, "the first look")
        requests = rig.sidecar.requests
        for _ in range(2):
            ended = await rig.ended(await requests.load("m", actor="ann"))
            assert ended.error is not None
            assert "Internal: no such op" in ended.error
            with pytest.raises(
                Quarantined,
                match=r"no such op; .*a newer version or .* ends it",
            ):
                await requests.load("m", actor="ann")
            await requests.unquarantine("m", actor="ann")

        assert rig.loaded(SERVING) == []

    run(tmp_path, story)


@pytest.mark.parametrize(
    ("state", "then"),
    [
        (S.ADMITTED, S.REFUSED),
        (S.CANARY_LOADING, S.REFUSED),
        (S.VERIFYING, S.REFUSED),
        (S.CANARY_WARMING, S.REFUSED),
        (S.PROMOTING, S.ROLLED_BACK),
        (S.SOAKING, S.ROLLED_BACK),
        (S.FINISHING, S.ROLLED_BACK),
        (S.DONE, S.ROLLED_BACK),
    ],
)
def test_a_rollback_in_any_state_ends_with_the_old_version(
    tmp_path: Path, state: ReleaseState, then: ReleaseState
) -> None:
    """And once it is said to be done, the new version never shows up again."""

    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        await release_2(rig)
        await come_to(rig, state)
        ended = await rig.ended(await rig.sidecar.releases.roll_back("m", actor="bob"))
        so_far = len(rig.serving.history)

        assert ended.error is None
        assert (await rig.newest_release()).state is then
        assert rig.serving.ready("m") == {1}
        assert await rig.recorded() == 1
        await asyncio.sleep(60)
        assert rig.serving.history[so_far:] == []
        assert rig.told().count("became_unready") == 0

    run(tmp_path, story, serving=["load m: slow 0.01s", "load m: slow 2s x9"])


def test_a_rollback_does_not_wait_until_another_model_is_gone(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "other", 1)
        await serving_version_1(rig)
        await rig.ended(await rig.sidecar.requests.load("other", actor="ann"))
        await release_2(rig)
        await come_to(rig, S.SOAKING)
        rig.serving.unload_s = 20.0
        leaving = await rig.sidecar.requests.unload("other", actor="ann")
        await rig.until(lambda: not rig.serving.ready("other"), "the other model begins to leave")
        began_s = asyncio.get_running_loop().time()

        await rig.sidecar.releases.roll_back("m", actor="bob")
        await rig.until(lambda: rig.serving.ready("m") == {1}, "rolled back", limit_s=1)

        assert asyncio.get_running_loop().time() - began_s <= 0.2
        assert (await rig.ended(leaving)).error is None

    run(tmp_path, story)


def test_a_rollback_of_a_finished_release_whose_old_version_is_broken_by_now(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        await rig.ended(await release_2(rig))
        rig.serving.add_faults("load m 1: fails 'Internal: no memory' x9")
        ended = await rig.ended(await rig.sidecar.releases.roll_back("m", actor="bob"))

        assert ended.error is not None
        assert ended.error.startswith("version 1 cannot be brought back: load failed")
        assert rig.serving.ready("m") == {2}
        assert await rig.recorded() == 2
        assert (await rig.newest_release()).state is S.DONE

    run(tmp_path, story)


def test_a_state_that_cannot_be_written_stops_decisions_but_not_traffic(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        await come_to(rig, S.DONE)
        rig.state.problem = "state file s.db: disk full"
        await rig.until(lambda: rig.sidecar.loop.problem is not None, "the problem is seen")
        assert rig.sidecar.loop.problem == "state file s.db: disk full"
        await asyncio.sleep(600)
        assert rig.serving.ready("m") == {1}

        rig.state.problem = None
        await rig.until(lambda: rig.sidecar.loop.problem is None, "it is over")
        assert (await rig.ended(await release_2(rig))).error is None

    run(tmp_path, story)


def test_an_unmounted_store_takes_no_traffic_down_and_promotes_nothing(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        asked = await release_2(rig)
        await come_to(rig, S.SOAKING)
        rig.store.root.rename(tmp_path / "elsewhere")
        await asyncio.sleep(600)
        assert rig.serving.ready("m") == {1, 2}
        assert (await rig.newest_release()).state is S.SOAKING
        assert await rig.recorded() == 1

        (tmp_path / "elsewhere").rename(rig.store.root)
        assert (await rig.ended(asked)).error is None
        assert rig.serving.ready("m") == {2}

    run(tmp_path, story)


def test_a_stage_that_cannot_be_cleared_is_tried_again_ever_more_rarely(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_stage: object, _model: str) -> None:
        raise OSError(30, "read-only file system")

    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        await come_to(rig, S.DONE)
        await rig.until(lambda: not rig.canary.ready("m"), "canary is free again")
        monkeypatch.setattr("sidecar.adapters.stage.StageFolder.clear", refuse)
        ended = await rig.ended(await release_2(rig))
        await asyncio.sleep(600)

        assert ended.error is None or "read-only" in ended.error
        assert 5 < rig.told("m").count("unload_failed") < 40

    # The first release must be over before the stage becomes read-only.
    run(tmp_path, story)


def test_a_bug_in_some_work_does_not_spin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    async def crash(*_: object) -> str:
        nonlocal calls
        calls += 1
        raise ZeroDivisionError

    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        monkeypatch.setattr("sidecar.runtime.prove.Prover.files", crash)
        await release_2(rig)
        await asyncio.sleep(100)

        assert 5 < calls <= 15
        assert rig.serving.ready("m") == {1}

    run(tmp_path, story, may_crash=True)


def test_a_bug_in_planning_is_told_and_lived_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        with monkeypatch.context() as patched:
            patched.setattr("sidecar.runtime.loop.plan", lambda *_: 1 // 0)
            await rig.until(lambda: rig.sidecar.loop.problem is not None, "it is told")
            problem = rig.sidecar.loop.problem
            await asyncio.sleep(100)
        assert problem == "bug: ZeroDivisionError: integer division or modulo by zero"
        assert rig.told().count("cycle_failed") == 1

        assert (await rig.ended(await release_2(rig))).error is None

    run(tmp_path, story, may_crash=True)


def test_a_second_release_must_wait_for_the_first(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        publish(rig.store, "m", 3, tier="hot")
        first = await release_2(rig)
        with pytest.raises(Conflict, match=r"m is being released: release m\.2\.\w+ of version 2"):
            await rig.sidecar.releases.begin("m", 3, actor="bob")

        assert (await rig.ended(first)).error is None
        third = await rig.sidecar.releases.begin("m", 3, actor="bob")
        assert (await rig.ended(third)).error is None
        assert rig.loaded(SERVING) == [{1}, {1, 2}, {2}, {2, 3}, {3}]
        archived = [key for key in rig.state.objects if key.startswith("archive/release/")]
        assert len(archived) == 2

    run(tmp_path, story)


def test_an_unload_waits_for_a_load_that_another_process_began(tmp_path: Path) -> None:
    """Unloading at the end of a load can kill a real server, whoever asked for the load."""

    async def story(rig: Rig) -> None:
        publish(rig.store, "c", 1)
        await serving_version_1(rig)
        for ask in (rig.sidecar.requests.load, rig.sidecar.requests.unload):
            assert (await rig.ended(await ask("c", actor="ann"))).error is None
        rig.serving.load_s = 30.0
        began_s = asyncio.get_running_loop().time()
        await rig.sidecar.requests.load("c", actor="ann")
        await rig.until(lambda: rig.serving.calls.count("load c") == 2, "the second load")
        asked = await rig.sidecar.requests.unload("c", actor="ann")
        await rig.crash()

        await rig.until(lambda: rig.serving.calls.count("unload c") == 2, "the second unload")
        assert asyncio.get_running_loop().time() - began_s > 30 + REST_AFTER_LOAD_S
        assert (await rig.ended(asked)).error is None
        assert rig.serving.ready("c") == set()

    run(tmp_path, story)


def test_a_server_that_comes_back_is_found_at_once(tmp_path: Path) -> None:
    """Long before the next regular look: each moment more is part of a cold start."""

    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        rig.serving.kill()
        await rig.until(lambda: rig.missing() != [], "the loss is seen")
        await asyncio.sleep(10.05)
        found = rig.told().count("server_found")
        rig.serving.restart()
        await asyncio.sleep(0.25)

        assert rig.told().count("server_found") == found + 1

    run(tmp_path, story, supervised=False)
