"""What is wrong around a sidecar: told once, nothing lost, and over by itself."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sidecar.adapters.stage import MARK
from sidecar.core.fleet import About, Server
from sidecar.core.release import ReleaseState
from sidecar.core.status import model_status
from sidecar.errors import LockedOut
from tests.builders import SERVING, publish, request
from tests.unit.sidecar.client import ask
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_cycles import come_to, release_2, serving_version_1
from tests.unit.sidecar.test_disk import SmallDisk

MINUTES_S = 300.0
NO_GPU = (
    "Invalid argument: instance group m_0 of model m has kind KIND_GPU but no GPUs are available"
)


def told(rig: Rig, name: str) -> list[Mapping[str, Any]]:
    return [event.detail for event in rig.state.events if event.name == name]


def checks_told(rig: Rig, name: str) -> list[str]:
    return [str(detail["check"]) for detail in told(rig, name)]


def staged(rig: Rig, server: Server) -> list[str]:
    return sorted(path.name for path in (rig.root / server).iterdir())


# A stage that is not what it must be.


@pytest.mark.parametrize("server", list(Server))
def test_a_server_that_reads_another_folder_is_told_before_anything_is_loaded(
    tmp_path: Path, server: Server
) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "m", 1, tier="hot")
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        rig.tritons[server]._repository = elsewhere
        rig.start()
        await asyncio.sleep(MINUTES_S)

        (missing,) = rig.missing()
        assert f"waits for {server}: the server does not list what is put into" in missing
        assert checks_told(rig, "problem_found") == [f"stage {server}"]
        assert "load_failed" not in rig.told()
        assert staged(rig, server) == []

        rig.tritons[server]._repository = rig.root / server
        await rig.ready()
        assert checks_told(rig, "problem_gone") == [f"stage {server}"]

    run(tmp_path, story)


def test_a_server_that_does_not_see_the_store_is_told_before_anything_is_loaded(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "m", 1, tier="hot")
        rig.canary.sees_the_store = False
        rig.start()
        await asyncio.sleep(MINUTES_S)

        (missing,) = rig.missing()
        assert "waits for canary: the server reads" in missing
        assert "but does not see the store" in missing
        assert "load_failed" not in rig.told()
        rig.canary.sees_the_store = True
        await rig.ready()

    run(tmp_path, story)


def test_a_store_that_a_server_loses_sight_of_costs_one_failed_load(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "c", 1)
        await serving_version_1(rig)
        await rig.state.put("serving/c", "1", expect=None)
        rig.serving.sees_the_store = False
        waits = asyncio.create_task(rig.sidecar.requests.ensure("c", timeout_s=120.0))
        await asyncio.sleep(60)
        assert rig.told("c").count("load_failed") == 1
        assert rig.missing() == []

        rig.serving.sees_the_store = True
        await waits
        assert rig.serving.ready("c") == {1}

    run(tmp_path, story)


def test_no_mark_stays_behind_and_one_that_did_is_no_model(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        (rig.root / SERVING / MARK).symlink_to("nowhere")
        await serving_version_1(rig)

        assert staged(rig, SERVING) == ["m"]

    run(tmp_path, story)


@contextmanager
def small_stage(rig: Rig) -> Iterator[SmallDisk]:
    (rig.root / SERVING).rmdir()
    disk = SmallDisk(rig.root / SERVING)
    try:
        yield disk
    finally:
        disk.remove()


def test_a_full_stage_keeps_new_models_waiting_and_what_is_there_loadable(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        with small_stage(rig) as disk:
            publish(rig.store, "c", 1)
            await serving_version_1(rig)
            await rig.state.put("serving/c", "1", expect=None)
            disk.fill()
            rig.serving.kill()
            await rig.until(lambda: rig.missing() != [], "the loss is seen")
            rig.serving.restart()
            await rig.ready()
            assert rig.loaded(SERVING, "m") == [{1}, {1}]

            waits = asyncio.create_task(rig.sidecar.requests.ensure("c", timeout_s=120.0))
            await asyncio.sleep(60)
            assert checks_told(rig, "problem_found") == ["stage serving"]
            assert "load_failed" not in rig.told("c")
            disk.free()
            await waits
            await rig.serving.infer("c", 1, request(1, 2), timeout_s=5.0)
            assert checks_told(rig, "problem_gone") == ["stage serving"]
            await rig.sidecar.die()

    run(tmp_path, story, supervised=False)


def test_a_model_that_cannot_be_staged_is_not_set_aside_for_it(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "c", 1)
        await serving_version_1(rig)
        await rig.state.put("serving/c", "1", expect=None)
        (rig.root / SERVING / "c").write_text("a file stands here")
        waits = asyncio.create_task(rig.sidecar.requests.ensure("c", timeout_s=120.0))
        await asyncio.sleep(20)
        assert "cannot be written: File exists" in str(told(rig, "load_failed")[0]["reason"])
        assert "model_set_aside" not in rig.told("c")

        (rig.root / SERVING / "c").unlink()
        await waits

    run(tmp_path, story)


def test_a_stage_that_cannot_be_read_is_told_and_taken_up_again(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "m", 1, tier="hot")
        shutil.rmtree(rig.root / SERVING)
        (rig.root / SERVING).write_text("a file stands here")
        rig.start()
        await asyncio.sleep(20)
        (missing,) = rig.missing()
        assert missing.startswith(f"serving server: stage {rig.root / SERVING} cannot be read: ")

        (rig.root / SERVING).unlink()
        (rig.root / SERVING).mkdir()
        await rig.ready()

    run(tmp_path, story)


# A store that is not there.


def test_a_sidecar_starts_without_a_store_and_takes_up_what_is_published(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        rig.start()
        await asyncio.sleep(20)
        assert rig.missing() == [f"model repository {rig.store.root} is missing; run `make repo`"]
        rig.store.root.mkdir()
        await asyncio.sleep(20)
        assert rig.missing() == [f"model repository {rig.store.root} is empty; run `make repo`"]

        publish(rig.store, "m", 1, tier="hot")
        await rig.ready()
        assert len(told(rig, "store_damaged")) == 2

    run(tmp_path, story)


# A server that is away, or not to be driven.


def test_a_server_that_is_away_for_minutes_is_told_once(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "m", 1, tier="hot")
        for triton in rig.tritons.values():
            triton.kill()
        rig.start()
        await asyncio.sleep(MINUTES_S)
        assert rig.told().count("server_lost") == 2
        lines = len(rig.state.events)
        await asyncio.sleep(MINUTES_S)
        assert len(rig.state.events) == lines

        for triton in rig.tritons.values():
            triton.restart()
        await rig.ready()
        assert rig.told().count("server_found") == 2

    run(tmp_path, story, supervised=False)


def test_a_server_that_comes_back_with_another_problem_is_told_again(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "m", 1, tier="hot")
        rig.serving.kill()
        rig.start()
        await asyncio.sleep(10)

        async def locked() -> About:
            raise LockedOut("it wants another admin key")

        checking = rig.serving._check
        rig.serving._check = locked  # type: ignore[method-assign]
        rig.serving.restart()
        await rig.until(lambda: rig.told().count("server_lost") == 2, "it is told")
        assert rig.missing() == ["serving server: it wants another admin key"]
        rig.serving._check = checking  # type: ignore[method-assign]
        await rig.ready()
        assert [str(each["reason"]) for each in told(rig, "server_lost")][1:] == [
            "it wants another admin key"
        ]

    run(tmp_path, story, supervised=False)


def test_a_release_says_which_server_it_waits_for(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        await release_2(rig)
        await come_to(rig, ReleaseState.CANARY_LOADING)
        rig.canary.kill()
        await asyncio.sleep(30)
        seen = rig.sidecar.loop.snapshot
        assert seen is not None
        assert model_status(seen, "m").reason.startswith(
            "release of version 2: canary_loading: waits for canary: no answer from canary server"
        )
        assert rig.missing() == []

        rig.canary.restart()
        await come_to(rig, ReleaseState.SOAKING)

    run(tmp_path, story, supervised=False)


def test_a_model_that_found_no_gpu_is_tried_again_as_soon_as_the_server_has_started_anew(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "m", 1, tier="hot")
        await rig.state.put("serving/m", "1", expect=None)
        rig.start()
        await rig.until(lambda: "model_set_aside" in rig.told(), "it is set aside")
        (missing,) = rig.missing()
        assert "start the server with the GPU, or build the model with `target: cpu`" in missing
        assert rig.told().count("load_failed") == 1

        began_s = asyncio.get_running_loop().time()
        rig.serving.kill()
        await rig.until(lambda: "server_lost" in rig.told(), "the loss is seen")
        rig.serving.restart()
        await rig.ready()
        assert asyncio.get_running_loop().time() - began_s < 10
        readmitted, *_ = told(rig, "model_readmitted")
        assert readmitted["reason"] == "a server has started since"

    run(tmp_path, story, supervised=False, serving=[f"load m: refused '{NO_GPU}'"])


def test_other_failures_are_not_forgiven_when_a_server_comes_back(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        publish(rig.store, "m", 1, tier="hot")
        await rig.state.put("serving/m", "1", expect=None)
        rig.start()
        await rig.until(lambda: "model_set_aside" in rig.told(), "it is set aside")
        rig.serving.kill()
        await rig.until(lambda: "server_lost" in rig.told(), "the loss is seen")
        rig.serving.restart()
        await asyncio.sleep(5)

        assert "model_readmitted" not in rig.told()
        assert rig.serving.ready("m") == frozenset()

    failing = ["load m: refused 'Internal: no such op' x3"]
    run(tmp_path, story, supervised=False, serving=failing)


# What people are told.


async def checks_of(client: httpx2.AsyncClient) -> Mapping[str, Any]:
    return {each["name"]: each for each in (await client.get("/readyz?verbose")).json()["checks"]}


def test_checks_that_fail_are_listed_with_what_to_do(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        rig.serving.about = About(version="2.40.0", is_ready=False)
        rig.sidecar.world.board.trouble("activator", "the activator cannot listen on :8090")
        await rig.until(lambda: len(checks_told(rig, "problem_found")) == 3, "they are told")
        assert (await client.get("/readyz")).status_code == 200
        bad = {name for name, check in (await checks_of(client)).items() if not check["ok"]}
        assert bad == {"activator", "readiness serving", "version serving"}
        rig.sidecar.world.board.trouble("activator", None)
        await rig.until(lambda: "problem_gone" in rig.told(), "its end is told")
        assert checks_told(rig, "problem_gone") == ["activator"]

    ask(tmp_path, story)


def test_a_disk_that_is_full_while_nobody_records_anything_is_told_and_its_end_too(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        rig.state.problem = "state file /state.sqlite: database or disk is full"
        await asyncio.sleep(MINUTES_S)
        checks = await checks_of(client)
        assert not checks["state"]["ok"]
        assert "disk is full" in checks["state"]["detail"]
        rig.state.problem = None
        await asyncio.sleep(5)
        assert "state" not in await checks_of(client)

    ask(tmp_path, story)
