"""Releases over REST: begun, looked at, followed, and told how to go on."""

import asyncio
import functools
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sidecar.core.agreement import Agreement
from sidecar.core.fleet import CheckKind, OperationKind, Rejection
from sidecar.core.release import ReleaseState
from sidecar.core.trial import Memory, Served
from sidecar.core.verdict import Evidence, Ruling
from sidecar.errors import Conflict
from tests.builders import publish, release, trial
from tests.unit.sidecar.client import (
    OPERATOR,
    ROLES,
    VIEWER,
    app_of,
    ask,
    bearer,
    client_of,
    problem,
    problem_in,
)
from tests.unit.sidecar.rig import SOAK_S, Rig, run
from tests.unit.sidecar.test_api_events import reading
from tests.unit.sidecar.test_api_lists import pages
from tests.unit.sidecar.test_cycles import come_to, serving_version_1

S = ReleaseState
UNCOMPARED = {"outputs": "any", "latency_margin": None}
MANUAL = {**UNCOMPARED, "approval": "manual"}


async def begun(
    client: httpx2.AsyncClient, strategy: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """The release as it is just after it was asked for."""
    body = {"version": 2, "strategy": UNCOMPARED if strategy is None else strategy, **more}
    answer = await client.post("/v1/models/m/releases", json=body)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = (await client.get(answer.json()["release"])).json()
    return found


async def now(client: httpx2.AsyncClient, release: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get(release["location"])).json()
    return found


async def said(client: httpx2.AsyncClient, release: dict[str, Any], verb: str) -> dict[str, Any]:
    """The operation by which a release was asked."""
    answer = await client.post(f"{release['location']}:{verb}")
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == answer.json()["location"]
    found: dict[str, Any] = answer.json()
    return found


async def ended(rig: Rig, client: httpx2.AsyncClient, operation: dict[str, Any]) -> str | None:
    """The error with which an operation ended."""
    key = f"archive/operation/{operation['id']}"
    await rig.until(lambda: key in rig.state.objects, f"{operation['kind']} ends")
    error: str | None = (await client.get(operation["location"])).json()["error"]
    return error


def test_a_release_tells_its_strategy_and_how_long_each_step_took(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await begun(client)
        assert (first["base"], first["version"], first["active"]) == (1, 2, True)
        assert (first["isolation"], first["share"], first["paused_by"]) == ("server", None, None)
        assert first["strategy"]["outputs"] == "any"
        assert first["steps"][-1]["seconds"] is None

        await come_to(rig, S.DONE)
        found = await now(client, first)

        assert (found["state"], found["active"], found["rejected"]) == ("done", False, False)
        took_s = {step["state"]: step["seconds"] for step in found["steps"]}
        assert took_s["soaking"] >= SOAK_S
        assert took_s["done"] is None
        assert found["seconds"] == pytest.approx(sum(each or 0.0 for each in took_s.values()))
        assert found["steps"][0]["actor"] == "api"
        assert found["soak"] is None

    ask(tmp_path, story)


def test_a_soak_tells_how_far_it_is(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await begun(client, {**UNCOMPARED, "soak_s": 40})
        await come_to(rig, S.SOAKING)
        await asyncio.sleep(12)
        soak = (await now(client, first))["soak"]
        assert soak["soak_s"] == 40
        assert soak["watched_s"] == pytest.approx(12, abs=2)
        assert soak["progress"] == pytest.approx(soak["watched_s"] / 40)

    ask(tmp_path, story)


def test_a_step_shows_its_evidence_and_an_infinite_number_as_null(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        numbers = {"pairs": 64.0, "largest_error": float("inf")}
        evidence = Evidence(check="outputs y", ruling=Ruling.FAIL, note="NaN", numbers=numbers)
        refused = release(S.COMPARING, of="x").entered(
            S.REFUSED, at_s=2000.0, note="NaN", evidence=(evidence,)
        )
        await rig.sidecar.world.records.begin_release(refused)
        found = (await client.get(f"/v1/releases/{refused.id}")).json()
        assert found["steps"][-1]["evidence"] == [
            {
                "check": "outputs y",
                "ruling": "fail",
                "note": "NaN",
                "numbers": {"pairs": 64.0, "largest_error": None},
            }
        ]

    ask(tmp_path, story)


def test_all_that_was_gathered_is_shown(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await begun(client)
        await come_to(rig, S.DONE)
        found = await rig.newest_release()
        gathered = trial(
            outputs={
                "y": Agreement(requests=2, largest_error=float("inf"), not_comparable=1),
                "z": Agreement(requests=2, agreeing=2),
            },
            memory=Memory(declared_bytes=7).with_(1.5, 2**20, 30),
            served_before={1: Served(succeeded=10), 2: Served(succeeded=5, failed=5)},
            served={1: Served(succeeded=12, failed=1), 2: Served(succeeded=3)},
        )
        await rig.sidecar.world.records.set_trial(found.id, CheckKind.COMPARE, gathered)

        path = f"/v1/releases/{found.id}/evidence"
        body = (await client.get(path)).json()

        assert body["release"] == f"/v1/releases/{found.id}"
        compare = body["compare"]
        assert compare["races"]["batch 1"]["pairs"] == 50
        assert compare["races"]["batch 1"]["latest"][0] == {"base_ms": 1.0, "version_ms": 1.0}
        assert compare["outputs"]["y"]["largest_error"] is None
        assert compare["outputs"]["y"]["not_comparable"] == 1
        assert compare["outputs"]["y"]["tolerance"] == 1e-3
        assert compare["outputs"]["z"]["tolerance"] == 0
        assert compare["memory"]["readings"] == [
            {"seconds": 1.5, "held_bytes": 2**20, "requests": 30}
        ]
        assert compare["served"] == {
            "1": {"succeeded": 2, "failed": 1},
            "2": {"succeeded": 3, "failed": 0},
        }
        assert body["guard"]["rounds"] > 0

        followed = await client.post(
            "/v1/models/m/releases", json={"version": 1, "strategy": UNCOMPARED}
        )
        assert followed.status_code == 202
        assert (await client.get(path)).json() == body

        rig.store.version("m", 2).manifest.unlink()
        outputs = (await client.get(path)).json()["compare"]["outputs"]
        assert outputs["y"]["tolerance"] is None

    ask(tmp_path, story)


def test_releases_are_listed_newest_first_with_those_that_were_followed(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await begun(client)
        await come_to(rig, S.DONE)
        publish(rig.store, "m", 3, tier="hot")
        await begun(client, version=3)

        found = await pages(client, "/v1/releases", "releases", page_size=2)

        assert [[each["version"] for each in page] for page in found] == [[3, 2], [1]]
        active = (await client.get("/v1/releases?active=true")).json()["releases"]
        assert [each["version"] for each in active] == [3]
        assert (await client.get("/v1/releases?model=c")).json()["releases"] == []

    ask(tmp_path, story)


def test_a_release_is_followed_until_it_has_ended(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await begun(client)
        path = f"{first['location']}/stream"
        async with reading(app_of(rig), path=path) as reader:
            assert reader.headers["content-type"].startswith("text/event-stream")
            await come_to(rig, S.DONE)
            await asyncio.sleep(1)
            seen = [event["data"] for event in reader.events]
        assert {event["event"] for event in reader.events} == {"release"}
        assert [len(each["steps"]) for each in seen] == sorted(len(each["steps"]) for each in seen)
        assert seen[-1] == await now(client, first)
        soaks = [each["soak"]["watched_s"] for each in seen if each["soak"]]
        assert len(soaks) >= SOAK_S - 1
        again = await client.get(path)
        assert again.text.count("event: release") == 1

    ask(tmp_path, story)


def test_a_stream_of_a_release_ends_when_the_sidecar_stops(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await begun(client, MANUAL)
        following = asyncio.create_task(client.get(f"{first['location']}/stream"))
        await come_to(rig, S.AWAITING)
        await asyncio.sleep(5)
        assert not following.done()
        rig.sidecar.world.telemetry.close()
        assert (await asyncio.wait_for(following, 5)).status_code == 200

    ask(tmp_path, story)


def test_a_release_that_waits_for_a_person_is_promoted(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await begun(client, MANUAL)
        await come_to(rig, S.AWAITING)
        await asyncio.sleep(60)
        assert (await now(client, first))["state"] == "awaiting"

        assert await ended(rig, client, await said(client, first, "promote")) is None
        await come_to(rig, S.DONE)

        (approved,) = [
            step for step in (await now(client, first))["steps"] if "approved" in step["note"]
        ]
        assert approved["actor"] == "api"
        assert approved["operation"].startswith("/v1/operations/")

    ask(tmp_path, story)


def test_a_paused_release_stays_until_it_is_resumed(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await begun(client)
        await come_to(rig, S.SOAKING)
        assert await ended(rig, client, await said(client, first, "pause")) is None
        await asyncio.sleep(10 * SOAK_S)
        paused = await now(client, first)
        assert (paused["state"], paused["paused_by"]) == ("soaking", "api")

        assert await ended(rig, client, await said(client, first, "resume")) is None
        await come_to(rig, S.DONE)
        assert (await now(client, first))["paused_by"] is None

    ask(tmp_path, story)


@pytest.mark.parametrize("verb", ["abort", "rollback"])
def test_a_release_that_goes_on_is_turned_round(tmp_path: Path, verb: str) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await begun(client)
        await come_to(rig, S.SOAKING)
        assert await ended(rig, client, await said(client, first, verb)) is None
        assert (await now(client, first))["state"] == "rolled_back"
        assert await rig.recorded() == 1

    ask(tmp_path, story)


@pytest.mark.parametrize("verb", ["promote", "pause", "resume", "abort"])
def test_what_comes_too_late_is_refused(tmp_path: Path, verb: str) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await begun(client)
        await come_to(rig, S.DONE)
        status, code, detail = await problem(client, f"{first['location']}:{verb}")
        assert (status, code) == (409, "release_elsewhere")
        assert detail == f"cannot {verb} release {first['id']}: it is done"
        assert (await problem(client, f"/v1/releases/x:{verb}"))[:2] == (404, "unknown_release")

    ask(tmp_path, story)


def test_a_release_that_was_followed_is_not_rolled_back(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await begun(client)
        await come_to(rig, S.DONE)
        publish(rig.store, "m", 3, tier="hot")
        second = await begun(client, version=3)
        status, code, detail = await problem(client, f"{first['location']}:rollback")
        assert (status, code) == (409, "nothing_to_roll_back")
        assert detail.endswith(f"was followed by {second['id']}; roll that one back")

    ask(tmp_path, story)


@pytest.mark.parametrize("by_name", [False, True])
def test_traffic_goes_back_from_the_version_that_serves_though_another_was_refused(
    tmp_path: Path, *, by_name: bool
) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await begun(client)
        await come_to(rig, S.DONE)
        publish(rig.store, "m", 3, tier="hot", scale=2.02)
        second = await begun(client, version=3)
        await come_to(rig, S.REFUSED)

        path = first["location"] if by_name else "/v1/models/m"
        asked = (await client.post(f"{path}:rollback")).json()
        assert await ended(rig, client, asked) is None

        assert (await rig.recorded(), rig.serving.ready("m")) == (1, {1})
        back = (await client.get(asked["release"])).json()
        assert [step["state"] for step in back["steps"]] == [
            "restoring",
            "rolling_back",
            "rolled_back",
        ]
        listed = (await client.get("/v1/releases?model=m")).json()["releases"]
        assert [each["id"] for each in listed][:3] == [back["id"], second["id"], first["id"]]
        assert [each["state"] for each in listed][:3] == ["rolled_back", "refused", "done"]
        status, code, detail = await problem(client, "/v1/models/m:rollback")
        assert (status, code) == (409, "nothing_to_roll_back")
        assert detail.endswith("version 1 is its first")

    ask(tmp_path, story)


def test_only_the_newest_release_goes_back_and_only_to_a_version_before(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        back = functools.partial(rig.sidecar.releases.ask, kind=OperationKind.ROLLBACK, actor="api")
        first = await rig.newest_release()
        with pytest.raises(Conflict, match="version 1 is the first of m") as caught:
            await back(first.id)
        assert caught.value.code == "release_elsewhere"
        second = await begun(client)
        await come_to(rig, S.DONE)
        with pytest.raises(Conflict, match=f"it was followed by {second['id']}"):
            await back(first.id)
        assert (await rig.ended(await back(second["id"]))).error is None
        assert await rig.recorded() == 1

    ask(tmp_path, story)


def test_a_release_says_what_it_waits_for(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        rig.canary.kill()
        async with client_of(app_of(rig)) as client:
            first = await begun(client, MANUAL)
            await come_to(rig, S.CANARY_LOADING)
            await asyncio.sleep(2)
            assert (await now(client, first))["waits_for"].startswith("canary: no answer")

            rig.canary.restart()
            await come_to(rig, S.AWAITING)
            assert (await now(client, first))["waits_for"] == "a person to promote or abort it"

    run(tmp_path, story, supervised=False)


def test_a_request_of_a_release_is_done_once_per_key(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await begun(client, MANUAL)
        await come_to(rig, S.AWAITING)
        key = {"Idempotency-Key": "k"}
        asked = [
            (await client.post(f"{first['location']}:promote", headers=key)).json()["id"]
            for _ in range(2)
        ]
        assert asked[0] == asked[1]

    ask(tmp_path, story)


def test_a_viewer_looks_at_releases_and_asks_nothing_of_them(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        client.headers.update(bearer(OPERATOR))
        first = await begun(client, MANUAL)
        client.headers.update(bearer(VIEWER))
        for path in ("", "/evidence"):
            assert (await client.get(f"{first['location']}{path}")).status_code == 200
        for path in (f"{first['location']}:abort", "/v1/models/m/releases"):
            answer = await client.post(path, json={"version": 2})
            assert problem_in(answer)["code"] == "forbidden"
        assert first["actor"] == "otto"

    ask(tmp_path, story, ROLES)


def test_another_release_takes_the_place_of_one_that_goes_on(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first = await begun(client, MANUAL)
        await come_to(rig, S.AWAITING)
        publish(rig.store, "m", 3, tier="hot")
        second = await begun(client, version=3, supersede=True)
        assert (await now(client, first))["reason"] == "aborted by api"
        await rig.until(lambda: rig.serving.ready("m") == {3}, "version 3 serves")
        assert (await now(client, second))["base"] == 1

    ask(tmp_path, story)


def test_a_rejected_version_is_released_again_only_when_it_was_cleared(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        rejection = Rejection(at_s=1.0, release="m.2.x", reason="slower")
        await rig.sidecar.world.records.reject("m", 2, rejection)
        answer = await client.post("/v1/models/m/releases", json={"version": 2})
        assert answer.status_code == 423
        assert problem_in(answer)["code"] == "version_rejected"
        assert problem_in(answer)["rejected_by"] == "m.2.x"
        await asyncio.sleep(2)
        body = (await client.get("/v1/models/m")).json()
        assert body["rejected_versions"] == {"2": "slower"}
        assert body["pending_version"] is None

        path = "/v1/models/m/versions/2/rejection"
        assert (await client.delete(path)).status_code == 204
        assert (await problem(client, path, method="DELETE"))[:2] == (409, "not_rejected")
        assert (await begun(client))["active"]

    ask(tmp_path, story)


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ({"shift": [25, 5]}, "shift must grow from step to step"),
        ({"shift": [5], "copies": "one_at_a_time"}, "leave one of them out"),
        ({"sticky_header": "x-user"}, "of no use without shift"),
        ({"shfit": [5]}, "did you mean 'shift'?"),
        ({"bake_s": 0}, "/body/strategy/bake_s"),
    ],
)
def test_a_strategy_that_makes_no_sense_is_refused(
    tmp_path: Path, strategy: dict[str, Any], told: str
) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        body = {"version": 2, "strategy": strategy}
        status, code, detail = await problem(client, "/v1/models/m/releases", body)
        assert (status, code) == (422, "invalid_request")
        assert told in detail

    ask(tmp_path, story)


def test_requests_cannot_be_shifted_without_a_gateway(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        body = {"version": 2, "strategy": {"shift": [5]}}
        assert (await problem(client, "/v1/models/m/releases", body))[:2] == (409, "no_gateway")

    ask(tmp_path, story)
