"""REST over a whole sidecar on fake servers."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from sidecar.api.health import STALE_AFTER_S
from sidecar.core.release import ReleaseState
from tests.builders import publish
from tests.unit.sidecar.client import ask, ended, problem
from tests.unit.sidecar.rig import HELD_BYTES, Rig
from tests.unit.sidecar.test_cycles import come_to


def test_a_model_tells_tier_warmth_versions_and_why(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        release = await rig.newest_release()
        await asyncio.sleep(2)
        told = (await client.get("/v1/models/m")).json()
        assert told.pop("p50_ms") > 0
        assert told == {
            "name": "m",
            "tier": "hot",
            "pin": False,
            "priority": 0,
            "warmth": "warmed",
            "serving_version": 1,
            "ready_versions": [1],
            "versions": [1, 2],
            "rejected_versions": {},
            "pending_version": 2,
            "release": f"/v1/releases/{release.id}",
            "requests_per_hour": 0.0,
            "requests_by_hour": [],
            "last_request_at": None,
            "p50_basis": "warm_up",
            "cold_starts": 0,
            "last_cold_start_at": None,
            "last_cold_start_s": None,
            "held_bytes": HELD_BYTES,
            "score": 0.0,
            "quarantined": False,
            "quarantined_until": None,
            "reason": "hot",
            "traffic": None,
        }
        listed = (await client.get("/v1/models")).json()["models"]
        assert [(one["name"], one["warmth"]) for one in listed] == [("c", "disk"), ("m", "warmed")]

    ask(tmp_path, story)


def test_a_load_is_accepted_with_an_operation_that_ends(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await client.post("/v1/models/c:load")
        assert answer.status_code == 202
        operation = answer.json()
        assert answer.headers["location"] == operation["location"]
        assert (operation["kind"], operation["done"], operation["error"]) == ("load", False, None)
        done = await ended(rig, client, operation["location"])
        assert (done["done"], done["error"]) == (True, None)
        assert (await client.get("/v1/models/c")).json()["warmth"] == "warmed"

        unload = (await client.post("/v1/models/c:unload")).json()
        await rig.until(lambda: rig.told().count("operation_ended") == 2, "unloaded")
        assert (await client.get(unload["location"])).json()["error"] is None
        assert (await client.get("/v1/models/c")).json()["ready_versions"] == []

    ask(tmp_path, story)


def test_an_operation_says_what_it_waits_for_while_it_does(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        rig.serving.kill()
        await rig.until(lambda: rig.missing() != [], "it is missed")
        unload = (await client.post("/v1/models/c:unload")).json()
        assert unload["waits_for"] is None
        now = (await client.get(unload["location"])).json()
        assert (now["done"], now["waits_for"][:9]) == (False, "serving: ")
        assert (await client.get("/v1/operations")).json()["operations"] == [now]

        rig.serving.restart()
        done = await ended(rig, client, unload["location"])
        assert (done["error"], done["waits_for"]) == (None, None)

    ask(tmp_path, story)


def test_a_release_shows_each_step_with_its_evidence(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        operation = (await client.post("/v1/models/m/releases", json={"version": 2})).json()
        done = await ended(rig, client, operation["location"])
        assert done["error"] is None
        release = (await client.get(operation["release"])).json()
        assert (release["state"], release["base"], release["version"]) == ("done", 1, 2)
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
        assert release["steps"][0]["note"] == "version 2 requested by api; version 1 serves"
        assert release["steps"][0]["at"].endswith("Z")
        checks = {each["check"] for step in release["steps"] for each in step["evidence"]}
        assert {"answers", "memory: cpu", "output: y"} <= checks

    ask(tmp_path, story)


def test_a_rollback_while_soaking_ends_both_operations(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        released = (await client.post("/v1/models/m/releases", json={"version": 2})).json()
        await come_to(rig, ReleaseState.SOAKING)
        back = (await client.post("/v1/models/m:rollback")).json()
        await rig.until(lambda: rig.told().count("operation_ended") == 2, "both end")
        assert (await client.get(back["location"])).json()["error"] is None
        error = (await client.get(released["location"])).json()["error"]
        assert error == "rolled_back: rollback requested by api"
        assert (await client.get("/v1/models/m")).json()["serving_version"] == 1

    ask(tmp_path, story)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/v1/models/x:load", (404, "unknown_model", "no model 'x' in the store; known: c, m")),
        ("/v1/models/m:unload", (409, "model_is_hot", "m is hot and stays loaded")),
        ("/v1/models/c:rollback", (409, "nothing_to_roll_back", "it never had one")),
        ("/v1/models/m:rollback", (409, "nothing_to_roll_back", "version 1 is its first")),
        ("/v1/models/m:explode", (405, "method_not_allowed", "Method Not Allowed")),
    ],
)
def test_a_request_that_does_not_fit_is_a_problem(
    tmp_path: Path, path: str, told: tuple[int, str, str]
) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        status, code, detail = await problem(client, path)
        assert (status, code) == told[:2]
        assert told[2] in detail

    ask(tmp_path, story)


@pytest.mark.parametrize(
    "body",
    [
        {"version": 0},
        {"version": -1},
        {"version": "2"},
        {"version": 1.5},
        {"version": True},
        {"version": None},
        {"version": 2**63},
        {},
        [],
        None,
    ],
    ids=str,
)
def test_a_version_that_is_no_positive_integer_is_refused(tmp_path: Path, body: object) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        status, code, _ = await problem(client, "/v1/models/m/releases", body)
        assert (status, code) == (422, "invalid_request")
        assert (await rig.newest_release()).version == 1

    ask(tmp_path, story)


def test_an_unknown_field_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        body = {"version": 2, "versoin": 3}
        status, code, detail = await problem(client, "/v1/models/m/releases", body)
        assert (status, code) == (422, "invalid_request")
        assert "unknown key 'versoin'; did you mean 'version'?" in detail

    ask(tmp_path, story)


def test_a_release_while_another_runs_is_a_conflict(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        publish(rig.store, "m", 3)
        await client.post("/v1/models/m/releases", json={"version": 2})
        status, code, detail = await problem(client, "/v1/models/m/releases", {"version": 3})
        assert (status, code) == (409, "release_active")
        assert "of version 2 is" in detail
        assert (await rig.newest_release()).version == 2

    ask(tmp_path, story)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/models/x", "unknown_model"),
        ("/v1/operations/x", "unknown_operation"),
        ("/v1/releases/x", "unknown_release"),
    ],
)
def test_what_is_not_there_is_404(tmp_path: Path, path: str, code: str) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        assert (await problem(client, path, method="GET"))[:2] == (404, code)

    ask(tmp_path, story)


def test_readyz_says_what_is_missing(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        assert (await client.get("/readyz")).json() == {"ready": True, "missing": []}
        rig.serving.kill()
        await rig.until(lambda: rig.missing() != [], "the loss is seen")
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["missing"][0].startswith("serving server: no answer")

    ask(tmp_path, story)


def test_readyz_lists_on_request_all_that_was_looked_at(tmp_path: Path) -> None:
    """A canary that is away is shown, and keeps nobody from being served."""

    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        rig.canary.kill()
        await rig.until(lambda: "server_lost" in rig.told(), "the loss is seen")
        answer = await client.get("/readyz?verbose")
        assert answer.status_code == 200
        checks = {check["name"]: check for check in answer.json()["checks"]}
        assert {name: check["ok"] for name, check in checks.items()} == {
            "loop": True,
            "server serving": True,
            "server canary": False,
            "store": True,
            "memory": True,
            "stage serving": True,
            "version serving": True,
            "readiness serving": True,
            "fits": True,
            "model m": True,
        }
        assert checks["server canary"]["detail"].startswith("no answer")
        assert checks["model m"]["detail"] == "loaded, warmed and probed"

    ask(tmp_path, story)


def test_before_the_first_look_nothing_is_ready(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert (await problem(client, "/v1/models", method="GET"))[:2] == (
            503,
            "state_unavailable",
        )
        assert (await client.get("/livez")).json() == {"status": "alive"}
        startup = await client.get("/startupz")
        assert (startup.status_code, startup.json()["started"]) == (503, False)
        assert startup.json()["detail"] == "the first look at the servers has not ended yet"
        await rig.until(lambda: rig.sidecar.loop.snapshot is not None, "the first look")
        assert (await client.get("/startupz")).status_code == 200

    ask(tmp_path, story, started=False)


def test_a_full_disk_refuses_requests_but_leaves_readiness(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        rig.state.problem = "state file /state.sqlite: database or disk is full"
        await rig.until(lambda: rig.sidecar.loop.problem is not None, "the loop has noticed")
        assert (await client.get("/readyz")).status_code == 200
        status, code, detail = await problem(client, "/v1/models/c:load")
        assert (status, code) == (503, "state_unavailable")
        assert "disk is full" in detail
        rig.state.problem = None
        await rig.until(lambda: rig.sidecar.loop.problem is None, "it mends itself")

    ask(tmp_path, story)


def test_metrics_count_what_happened(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        text = (await client.get("/metrics")).text
        assert "pilotlight_ready 1.0" in text
        assert 'pilotlight_model_state{model="m",state="warmed",version="1"} 1.0' in text
        assert 'pilotlight_load_seconds_count{phase="load"} 1.0' in text
        assert 'pilotlight_events_total{event="became_ready"} 1.0' in text

    ask(tmp_path, story)


def test_a_loop_that_stands_still_is_not_ready(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await rig.sidecar.die()
        await asyncio.sleep(STALE_AFTER_S + 2)
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert "the last look is 6" in answer.json()["missing"][0]

    ask(tmp_path, story)
