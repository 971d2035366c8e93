"""Releases on real servers, under traffic."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import httpx2
import numpy as np
import pytest

from contract.layout import Store
from contract.manifest import Signature, read_manifest, record_files
from pilotlight.admin import OperationFailed
from pilotlight.demo.shelf import CORRUPT, GOOD, SUBTLY_WRONG, Shelf
from tests.e2e.conftest import WITHIN_S, Running

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

UNTIMED: dict[str, object] = {"latency_margin": None}
"""Of a strategy: on a busy machine, equal versions need not be equally fast."""


def test_a_good_version_gets_the_traffic_without_a_lost_request(running: Running) -> None:
    running.shelf.publish("short_form", GOOD)
    with running.traffic() as traffic:
        running.meets(traffic, 1)
        operation = running.admin.wait(running.release(GOOD), WITHIN_S)
        running.meets(traffic, GOOD)
        failed = traffic.failed
    assert failed == []
    release = running.admin.release(operation["release"])
    assert [step["state"] for step in release["steps"]] == [
        "admitted",
        "canary_loading",
        "verifying",
        "canary_warming",
        "measuring",
        "comparing",
        "promoting",
        "soaking",
        "finishing",
        "done",
    ]
    model = running.admin.model("short_form")
    assert (model["serving_version"], model["ready_versions"]) == (GOOD, [GOOD])


def test_rollback_while_soaking_goes_back_in_place(start_stack: Callable[..., Running]) -> None:
    running = start_stack(soak_s=600)
    running.wait_until_ready()
    running.shelf.publish("short_form", GOOD)
    with running.traffic() as traffic:
        operation = running.release(GOOD, **UNTIMED)
        running.wait_for_state(operation, "soaking")
        assert running.answering_version() == GOOD
        running.admin.wait(running.admin.ask("/v1/models/short_form:rollback"), WITHIN_S)
        assert running.answering_version() == 1
        failed = traffic.failed
    assert failed == []
    with pytest.raises(OperationFailed, match="rollback requested by api"):
        running.admin.wait(operation, WITHIN_S)
    model = running.admin.model("short_form")
    assert (model["serving_version"], model["ready_versions"]) == (1, [1])


def test_rollback_after_the_soak_brings_the_old_version_back_first(running: Running) -> None:
    running.shelf.publish("short_form", GOOD)
    with running.traffic() as traffic:
        operation = running.admin.wait(running.release(GOOD, **UNTIMED), WITHIN_S)
        running.admin.wait(running.admin.ask("/v1/models/short_form:rollback"), WITHIN_S)
        failed = traffic.failed
    assert failed == []
    assert running.answering_version() == 1
    steps = running.admin.release(operation["release"])["steps"]
    assert [step["state"] for step in steps[-4:]] == [
        "done",
        "restoring",
        "rolling_back",
        "rolled_back",
    ]


def test_a_version_goes_back_though_another_was_refused_since(running: Running) -> None:
    running.shelf.publish("short_form", GOOD)
    running.shelf.publish("short_form", CORRUPT)
    with running.traffic() as traffic:
        promoted = running.admin.wait(running.release(GOOD, **UNTIMED), WITHIN_S)
        with pytest.raises(OperationFailed, match="load failed"):
            running.admin.wait(running.release(CORRUPT), WITHIN_S)
        back = running.admin.wait(running.admin.ask("/v1/models/short_form:rollback"), WITHIN_S)
        failed = traffic.failed
    assert failed == []
    assert running.answering_version() == 1
    ended = [running.admin.release(each["release"])["state"] for each in (promoted, back)]
    assert ended == ["done", "rolled_back"]


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (SUBTLY_WRONG, "golden sample wrongly: output score: scaled error"),
        (CORRUPT, "on canary: load failed"),
    ],
    ids=["subtly wrong", "corrupt"],
)
def test_a_bad_version_is_refused_on_canary_and_serving_does_not_notice(
    running: Running, version: int, reason: str
) -> None:
    running.shelf.publish("short_form", version)
    with running.traffic() as traffic:
        running.meets(traffic, 1)
        operation = running.release(version)
        with pytest.raises(OperationFailed, match=reason):
            running.admin.wait(operation, WITHIN_S)
        failed, answered = traffic.failed, traffic.by_version
    assert failed == []
    assert set(answered) == {1}
    model = running.admin.model("short_form")
    assert (model["serving_version"], model["ready_versions"]) == (1, [1])


def test_a_version_that_is_wrong_on_one_sample_only_is_refused_by_the_golden_check(
    running: Running, shelf: Shelf, example_store: Path
) -> None:
    """The health query asks the first sample; the last one differs here."""

    def spoil(folder: Path) -> None:
        with np.load(folder / "golden.npz") as archive:
            arrays = dict(archive)
        last = max(int(key.split("/")[0]) for key in arrays)
        arrays[f"{last}/output/score"] = arrays[f"{last}/output/score"] + np.float32(0.01)
        np.savez(folder / "golden.npz", **arrays)

    _publish_changed(shelf.store, example_store, 6, spoil)
    operation = running.release(6)
    with pytest.raises(OperationFailed, match="golden sample wrongly"):
        running.admin.wait(operation, WITHIN_S)
    states = [step["state"] for step in running.admin.release(str(operation["release"]))["steps"]]
    assert states == ["admitted", "canary_loading", "verifying", "refused"]


def test_a_warm_up_that_would_fail_in_triton_is_found_by_an_ordinary_request(
    running: Running, shelf: Shelf, example_store: Path
) -> None:
    def spoil(folder: Path) -> None:
        for path in (folder / "warmup").iterdir():
            if path.stat().st_size == 6 * 8:
                path.write_bytes(np.full(6, 10**9, dtype=np.int64).tobytes())

    _publish_changed(shelf.store, example_store, 6, spoil)
    operation = running.release(6)
    with pytest.raises(OperationFailed, match="indices element out of data bounds"):
        running.admin.wait(operation, WITHIN_S)
    assert running.stack.canary.is_running
    states = [step["state"] for step in running.admin.release(str(operation["release"]))["steps"]]
    assert states[-2:] == ["verifying", "refused"]


def test_a_file_that_differs_from_its_manifest_is_refused_before_any_load(
    running: Running, shelf: Shelf, example_store: Path
) -> None:
    folder = _publish_changed(shelf.store, example_store, 6, lambda _: None)
    with (folder / "model.onnx.data").open("r+b") as file:
        file.seek(1000)
        file.write(b"\x00\x01\x02\x03")
    operation = running.release(6)
    with pytest.raises(OperationFailed, match=r"model.onnx.data has another SHA-256"):
        running.admin.wait(operation, WITHIN_S)
    states = [step["state"] for step in running.admin.release(str(operation["release"]))["steps"]]
    assert states == ["admitted", "refused"]


def test_requests_that_cannot_be_are_problems_and_change_nothing(
    start_stack: Callable[..., Running], shelf: Shelf, example_store: Path
) -> None:
    running = start_stack(soak_s=600)
    running.wait_until_ready()
    shelf.publish("short_form", GOOD)
    _publish_changed(shelf.store, example_store, 6, _change_signature)
    running.wait_for_state(running.release(GOOD, **UNTIMED), "soaking")
    before = _held_and_wanted(running)

    def problem(path: str, body: object = None) -> tuple[int, str, str]:
        answer = httpx2.post(f"{running.stack.url}{path}", json=body, timeout=WITHIN_S)
        assert answer.headers["content-type"] == "application/problem+json"
        content = answer.json()
        return answer.status_code, content["code"], content["detail"]

    releases = "/v1/models/short_form/releases"
    assert problem(releases, {"version": 1})[:2] == (409, "already_serving")
    assert problem(releases, {"version": GOOD})[:2] == (409, "release_active")
    status, code, detail = problem(releases, {"version": 9})
    assert (status, code) == (404, "unknown_version")
    assert "1, 2, 6" in detail
    status, code, detail = problem("/v1/models/short_from:load")
    assert (status, code) == (404, "unknown_model")
    assert "did you mean 'short_form'?" in detail
    for body in ({"version": 0}, {"version": "2"}, {"version": 1.5}, {"version": 2**63}, {}):
        assert problem(releases, body)[:2] == (422, "invalid_request")
    status, code, detail = problem(releases, {"version": 2, "strateggy": "x"})
    assert (status, code) == (422, "invalid_request")
    assert "unknown key 'strateggy'" in detail
    assert problem("/v1/models/short_form:unload")[:2] == (409, "model_is_hot")
    assert problem("/v1/models/session:rollback")[:2] == (409, "nothing_to_roll_back")
    assert _held_and_wanted(running) == before

    running.admin.wait(running.admin.ask("/v1/models/short_form:rollback"), WITHIN_S)
    status, code, detail = problem(releases, {"version": 6})
    assert (status, code) == (422, "signature_changed")
    assert "max_batch_size 64 -> 32" in detail


def _change_signature(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["signature"]["max_batch_size"] = 32
    Signature(**manifest["signature"])
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _publish_changed(
    store: Store, built: Path, version: int, change: Callable[[Path], None]
) -> Path:
    """A copy of version 1 under another number, changed, with a manifest that agrees."""
    folder = store.version("short_form", version).path
    staging = folder.with_name(f".tmp-{version}")
    shutil.copytree(Store(built).version("short_form", 1).path, staging)
    change(staging)
    manifest = read_manifest(staging / "manifest.json")
    agreed = manifest.model_copy(update={"version": version, "files": record_files(staging)})
    (staging / "manifest.json").write_text(agreed.model_dump_json())
    staging.rename(folder)
    return folder


def _held_and_wanted(running: Running) -> list[dict[str, object]]:
    """Of each model; what is measured changes by itself."""
    names = ("name", "tier", "serving_version", "ready_versions", "versions", "release")
    return [{name: body[name] for name in names} for body in running.admin.models()]
