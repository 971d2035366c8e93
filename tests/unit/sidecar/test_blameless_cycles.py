"""What is in a model's way and not its fault: tried again ever more rarely, held against nobody."""

import asyncio
from pathlib import Path

import pytest

from sidecar.core.fleet import Failure, Server
from sidecar.core.release import ReleaseState
from sidecar.core.status import waits_for
from sidecar.errors import InvariantBroken
from tests.builders import publish, request
from tests.hindered import hindered
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_cycles import come_to, release_2, serving_version_1

S = ReleaseState
SERVING, CANARY = Server.SERVING, Server.CANARY
MINUTES_S = 300.0


def failure(rig: Rig, server: Server, model: str = "m") -> Failure:
    return rig.sidecar.world.board.failures[server, model]


async def is_rejected(rig: Rig) -> bool:
    return ("m", 2) in await rig.sidecar.world.records.rejected()


async def awaited(rig: Rig) -> str | None:
    seen = rig.sidecar.loop.snapshot
    assert seen is not None
    return waits_for(await rig.newest_release(), seen, {})


# A disk.


@pytest.mark.parametrize(
    ("name", "state"), [("golden.npz", S.ADMITTED), ("warmup/x.bin", S.CANARY_LOADING)]
)
def test_a_release_waits_for_a_file_that_cannot_be_read(
    tmp_path: Path, name: str, state: ReleaseState
) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        operation = await release_2(rig)
        await come_to(rig, state)
        told_before = len(rig.told("m"))
        with hindered(rig.store.version("m", 2).path / name):
            await asyncio.sleep(MINUTES_S)

            assert (await rig.newest_release()).state is state
            assert "cannot be read: [Errno 36] File name too long" in str(await awaited(rig))
            assert 5 < len(rig.told("m")) - told_before < 20

        assert (await rig.ended(operation)).error is None
        assert not await is_rejected(rig)

    run(tmp_path, story)


def test_a_release_waits_for_a_canary_stage_that_cannot_be_written(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        await rig.until(lambda: not (rig.root / CANARY / "m").exists(), "canary is free")
        (rig.root / CANARY / "m").write_text("a file stands here")
        operation = await release_2(rig)
        await asyncio.sleep(MINUTES_S)
        assert (await rig.newest_release()).state is S.CANARY_LOADING
        assert "cannot be written: File exists" in str(await awaited(rig))

        (rig.root / CANARY / "m").unlink()
        assert (await rig.ended(operation)).error is None

    run(tmp_path, story)


def test_a_model_whose_golden_samples_cannot_be_read_is_not_set_aside(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        with hindered(rig.store.version("m", 1).golden):
            await rig.crash()
            await asyncio.sleep(MINUTES_S)
            assert 5 < rig.told("m").count("load_failed") < 20
            assert "model_set_aside" not in rig.told("m")

        await rig.ready()

    run(tmp_path, story)


def test_a_file_that_is_missing_in_the_store_takes_no_cycle_down(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        rig.page_cache.damaged.add(("m", 1))
        await rig.serving.infer("m", 1, request(1, 2), timeout_s=5.0)
        await asyncio.sleep(MINUTES_S)

        assert "m" in rig.sidecar.world.board.demand
        assert rig.sidecar.world.board.cached == set()
        assert "cycle_failed" not in rig.told()

    run(tmp_path, story)


def test_a_config_with_a_broken_byte_stops_no_other_model(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        publish(rig.store, "broken", 1, tier="hot")
        rig.store.version("broken", 1).config.write_bytes(b'name: "\xe9"')
        publish(rig.store, "late", 1, tier="hot")
        await rig.until(lambda: rig.serving.ready("late") == {1}, "it is loaded")

        assert rig.told().count("store_damaged") == 1
        assert "cycle_failed" not in rig.told()

    run(tmp_path, story)


# A bug of ours.


def test_a_bug_in_a_load_is_told_and_rests_in_quarantine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise NotImplementedError("not yet")

    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        with monkeypatch.context() as patched:
            patched.setattr("sidecar.runtime.prove.Prover.probe", crash)
            await rig.crash()
            await asyncio.sleep(MINUTES_S)
            assert failure(rig, SERVING).reason == "bug: NotImplementedError: not yet"
            assert 3 <= rig.told("m").count("load_failed") < 20
            assert "model_set_aside" in rig.told("m")

        await rig.ready()
        assert (SERVING, "m") not in rig.sidecar.world.board.failures

    run(tmp_path, story, may_crash=True)


def test_a_bug_in_a_load_on_canary_refuses_the_version_and_does_not_reject_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def crash(*_: object) -> None:
        raise ZeroDivisionError

    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        with monkeypatch.context() as patched:
            patched.setattr("sidecar.runtime.prove.Prover.probe", crash)
            ended = await rig.ended(await release_2(rig))
            assert "on canary: bug: ZeroDivisionError" in str(ended.error)
            assert not await is_rejected(rig)

        assert (await rig.ended(await release_2(rig))).error is None

    run(tmp_path, story, may_crash=True)


def test_a_broken_invariant_is_a_bug_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_it(*_: object) -> None:
        raise InvariantBroken("no transition done -> admitted")

    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        monkeypatch.setattr("sidecar.runtime.loop.plan", break_it)
        await rig.until(lambda: rig.sidecar.loop.problem is not None, "it is told")

        assert rig.sidecar.loop.problem == "bug: InvariantBroken: no transition done -> admitted"

    run(tmp_path, story, may_crash=True)
