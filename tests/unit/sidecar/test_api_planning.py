"""What the planner says over REST, and what people tell it."""

import asyncio
from datetime import datetime
from math import ceil
from pathlib import Path

import httpx2
import pytest

from sidecar.api.planning_schemas import ActionBody
from sidecar.core.actions import Check, LetGo, Note, Restart, SetAside, Settle, Work
from sidecar.core.fleet import CheckKind, Mode, OperationKind, Server
from sidecar.core.release import ReleaseState
from sidecar.runtime.collect import METER_EVERY_S
from tests.builders import operation, publish, quarantine, release, request
from tests.unit.sidecar.client import ROLES, VIEWER, ask, bearer, problem, problem_in
from tests.unit.sidecar.rig import HELD_BYTES, Rig, run
from tests.unit.sidecar.test_cycles import serving_version_1

SPEC = "/v1/models/c/spec"


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def a_while() -> None:
    """Two looks of the loop."""
    await asyncio.sleep(3)


async def give(rig: Rig, *, budget_bytes: int) -> None:
    """So much is for models; a tenth of the device stays free."""
    rig.meter.capacity_bytes = ceil(budget_bytes / 0.9)
    await asyncio.sleep(METER_EVERY_S + 1)


# Ensure.


def test_ensure_waits_for_a_cold_model_and_finds_a_warm_one_at_once(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        first, second = await asyncio.gather(
            client.post("/v1/models/c:ensure"), client.post("/v1/models/c:ensure?timeout=1m")
        )
        assert [first.status_code, second.status_code] == [200, 200]
        assert (first.json()["model"], first.json()["outcome"]) == ("c", "cold")
        assert (second.json()["model"], second.json()["outcome"]) == ("c", "joined")
        assert rig.loaded(Server.SERVING, "c") == [{1}]

        again = (await client.post("/v1/models/c:ensure")).json()
        assert (again["model"], again["outcome"]) == ("c", "hit")
        assert again["waited_s"] < first.json()["waited_s"]

    ask(tmp_path, story)


def test_ensure_gives_up_at_the_callers_deadline_and_the_load_goes_on(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        status, code, _ = await problem(client, "/v1/models/c:ensure?timeout=1ms")
        assert (status, code) == (504, "deadline_passed")

    ask(tmp_path, story)


@pytest.mark.parametrize("timeout", ["", "30", "-1s", "0s", "61s", "1h", "½s"])
def test_a_timeout_that_is_no_duration_or_too_long_is_refused(tmp_path: Path, timeout: str) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await client.post("/v1/models/c:ensure", params={"timeout": timeout})
        content = problem_in(answer)
        assert (answer.status_code, content["code"]) == (422, "invalid_request")
        assert content["errors"][0]["pointer"] == "/query/timeout"

    ask(tmp_path, story)


def test_ensure_says_what_is_in_the_way(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        assert (await problem(client, "/v1/models/x:ensure"))[:2] == (404, "unknown_model")

        await give(rig, budget_bytes=HELD_BYTES)
        answer = await client.post("/v1/models/c:ensure")
        content = problem_in(answer)
        assert (answer.status_code, content["code"]) == (507, "insufficient_memory")
        assert content["blocked_by"] == ["m (hot, 1.0 MiB)"]
        await give(rig, budget_bytes=8 * HELD_BYTES)

        await client.post("/v1:pause")
        assert (await problem(client, "/v1/models/c:ensure"))[:2] == (503, "not_now")

    ask(tmp_path, story)


def test_a_quarantine_is_told_and_ended_by_a_person(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        rig.serving.add_faults("load c: refused 'Internal: no' x9")
        await client.post("/v1/models/c:load")
        await rig.until(lambda: "model_set_aside" in rig.told(), "it rests")
        await a_while()
        assert (await problem(client, "/v1/models/c:ensure"))[:2] == (423, "quarantined")
        told = (await client.get("/v1/models/c")).json()
        assert told["quarantined"]
        until = (await client.get("/v1/models/c:explain")).json()["quarantine"]["until"]
        assert told["quarantined_until"] == until

        assert (await client.post("/v1/models/c:unquarantine")).status_code == 204
        await a_while()
        assert (await problem(client, "/v1/models/x:unquarantine"))[0] == 404

    ask(tmp_path, story)


def test_a_model_that_does_not_rest_has_no_quarantine_to_end(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await problem(client, "/v1/models/c:unquarantine")
        assert answer[:2] == (409, "not_quarantined")

    ask(tmp_path, story)


# Explain, list.


def test_an_explanation_tells_cost_demand_and_what_a_load_would_do(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        cold = (await client.get("/v1/models/c:explain")).json()
        assert (cold["model"]["name"], cold["model"]["warmth"]) == ("c", "disk")
        assert cold["load"] == {"victims": [], "blocked": None, "on_cpu": False}
        assert (cold["demand"], cold["quarantine"], cold["curves"]) == (None, None, [])

        await a_while()
        hot = (await client.get("/v1/models/m:explain")).json()
        assert (hot["stays_because"], hot["load"]) == ("hot", None)
        assert hot["idle"]["advice"] == "it stays loaded in any case: hot"
        held = {"device": "cpu", "bytes": HELD_BYTES, "basis": "measured"}
        assert hot["cost"]["held"] == [held]
        assert hot["cost"]["loads"] == 1
        assert [curve["steady"] for curve in hot["curves"]] == [True]
        assert hot["curves"][0]["sparkline"]
        assert (await problem(client, "/v1/models/x:explain", method="GET"))[0] == 404

    ask(tmp_path, story)


def test_requests_are_counted_in_list_and_explanation(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        for _ in range(3):
            await rig.serving.infer("m", 1, request(1.0, 2.0), timeout_s=1)
        await a_while()
        listed = (await client.get("/v1/models")).json()["models"][1]
        demand = (await client.get("/v1/models/m:explain")).json()["demand"]
        assert demand["requests"] == 3
        assert listed["last_request_at"] == demand["last_at"]
        assert sum(listed["requests_by_hour"]) == 3
        assert listed["requests_by_hour"] == demand["by_hour"]
        assert listed["requests_per_hour"] == pytest.approx(demand["per_hour"]["1h"], rel=1e-3)
        assert listed["score"] > 0

    ask(tmp_path, story)


# Devices, plans, policy.


def test_devices_tell_who_holds_what(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await give(rig, budget_bytes=4 * HELD_BYTES)
        found = (await client.get("/v1/devices")).json()
        (device,) = found["devices"]
        assert (device["device"], device["budget_bytes"]) == ("cpu", 4 * HELD_BYTES)
        assert (device["held_bytes"], device["free_bytes"]) == (HELD_BYTES, 3 * HELD_BYTES)
        assert (device["error_bytes"], device["leaving_bytes"]) == (0, 0)
        assert device["holders"] == [
            {
                "server": "serving",
                "model": "m",
                "bytes": HELD_BYTES,
                "basis": "measured",
                "hold": "held",
            }
        ]
        assert (found["price"], found["shadow_price"], found["advice"]) == (3.0, None, [])

        rig.meter.add_faults("measure: refused 'no metrics' x99")
        await rig.until(lambda: "meter_failed" in rig.told(), "the meter's failure is told")
        await a_while()
        found = (await client.get("/v1/devices")).json()
        assert "no metrics" in found["meter_problem"]
        assert "no metrics" in found["advice"][0]

    ask(tmp_path, story)


def test_the_present_plan_says_what_does_not_fit(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        assert (await client.get("/v1/plans")).json()["blocked"] == []
        for number, action in enumerate(("load", "unload"), start=1):
            await client.post(f"/v1/models/c:{action}")
            await rig.until(lambda n=number: rig.told().count("operation_ended") == n, action)  # type: ignore[misc]
        await give(rig, budget_bytes=HELD_BYTES)

        loading = (await client.post("/v1/models/c:load")).json()
        await rig.until(lambda: rig.told().count("operation_ended") == 3, "it is given up")
        await a_while()

        (blocked,) = (await client.get("/v1/plans")).json()["blocked"]
        assert (blocked["model"], blocked["device"]) == ("c", "cpu")
        assert "c needs 1.0 MiB on cpu" in blocked["reason"]
        error = (await client.get(loading["location"])).json()["error"]
        assert error == f"{blocked['reason']}; it is loaded as soon as there is room"

    ask(tmp_path, story)


def test_actions_of_the_plan_tell_model_server_and_reason(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await client.post("/v1:pause")
        await a_while()
        await client.post("/v1/models/c:load")
        await a_while()
        (note,) = (await client.get("/v1/plans")).json()["notes"]
        assert (note["action"], note["model"], note["server"]) == ("save_release", "c", None)
        assert "version 1" in note["reason"]
        assert rig.serving.ready("c") == set()

    ask(tmp_path, story)


def test_another_budget_is_tried_without_changing_anything(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        body = {"budgets": {"cpu": "1MiB"}, "load": ["c"]}
        found = (await client.post("/v1/plans", json=body)).json()
        assert [choice["model"] for choice in found["now"]["held"]] == ["m"]
        assert [choice["reason"] for choice in found["then"]["left_out"]] == ["no room on cpu"] * 2
        assert found["summary"].startswith("budget too small: the hot models need 1.0 MiB on cpu")
        assert rig.sidecar.loop.policy.budgets == {}

    ask(tmp_path, story)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"load": ["x"]}, (404, "unknown_model", "no model 'x'")),
        ({"budgets": {"cpu": "12 elephants"}}, (422, "invalid_request", "is no size")),
        ({"budgets": {"tpu:0": "1GiB"}}, (422, "invalid_request", "write cpu, or gpu:0")),
        ({"budgets": {"cpu": 0}}, (422, "invalid_request", "greater than 0")),
        ({"budgets": {"cpu": 2**61}}, (422, "invalid_request", "less than or equal")),
        ({"budget": {}}, (422, "invalid_request", "did you mean 'budgets'?")),
    ],
    ids=str,
)
def test_a_what_if_that_makes_no_sense_is_refused(
    tmp_path: Path, body: object, told: tuple[int, str, str]
) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        status, code, detail = await problem(client, "/v1/plans", body)
        assert (status, code) == told[:2]
        assert told[2] in detail

    ask(tmp_path, story)


def test_the_policy_is_shown(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        found = (await client.get("/v1/policy")).json()
        assert (found["price"], found["ranking"], found["profile"]) == (3.0, "value", "production")
        assert found["soak_s"] == rig.policy.soak_s

    ask(tmp_path, story)


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Restart(server=Server.SERVING, reason="why"), ("restart", None, "serving", "why")),
        (
            LetGo(model="a", reason="why", numbers={"idle_s": 3.0}),
            ("let_go", "a", None, "why"),
        ),
        (
            Settle(operation=operation(OperationKind.LOAD, of="a")),
            ("settle", "a", None, "load: it is done"),
        ),
        (
            SetAside(model="a", quarantine=quarantine(reason="no")),
            ("set_aside", "a", None, "no"),
        ),
        (
            Check(
                kind=CheckKind.FILES,
                release=release(ReleaseState.ADMITTED),
                config="",
                reason="before any load",
            ),
            ("check", "m", None, "before any load"),
        ),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_action_tells_its_name_and_its_reason(
    action: Note | Work, said: tuple[str, str | None, str | None, str]
) -> None:
    body = ActionBody.of(action)

    assert (body.action, body.model, body.server, body.reason) == said
    assert body.numbers == dict(getattr(action, "numbers", {}))


# Pause, resume, drain.


def test_pause_resume_and_drain_are_told_with_time_and_actor(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        before = (await client.get("/v1/control")).json()
        assert before == {"mode": "running", "profile": "production", "since": None, "actor": None}

        paused = (await client.post("/v1:pause")).json()
        assert (paused["mode"], paused["actor"]) == ("paused", "api")
        assert (await client.get("/v1/control")).json() == paused
        assert (await client.post("/v1:pause")).json() == paused
        await client.post("/v1/models/c:load")
        await asyncio.sleep(60)
        assert rig.serving.ready("c") == set()

        resumed = (await client.post("/v1:resume")).json()
        assert at(resumed["since"]) >= at(paused["since"]) + 60
        await rig.until(lambda: rig.serving.ready("c") == {1}, "it is loaded after all")

        await client.post("/v1:drain")
        await a_while()
        assert (await client.get("/readyz")).status_code == 503
        modes = [e.detail["mode"] for e in rig.state.events if e.name == "mode_changed"]
        assert modes == ["paused", "running", "draining"]

    ask(tmp_path, story)


def test_a_pause_outlives_the_sidecar_and_a_drain_does_not(tmp_path: Path) -> None:
    async def story(rig: Rig) -> None:
        await serving_version_1(rig)
        await rig.sidecar.requests.set_mode(Mode.PAUSED, actor="ann")
        await rig.crash()
        await a_while()
        assert (await rig.sidecar.world.records.control()).mode is Mode.PAUSED

        await rig.sidecar.requests.set_mode(Mode.DRAINING, actor="ann")
        await rig.crash()
        await rig.ready()
        now = await rig.sidecar.world.records.control()
        assert (now.mode, now.actor) == (Mode.RUNNING, "pilotlight")

    run(tmp_path, story, may_crash=True)


def test_a_viewer_changes_neither_mode_nor_spec(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        look = bearer(VIEWER)
        assert (await client.get("/v1/control", headers=look)).status_code == 200
        assert (await problem(client, "/v1:pause", headers=look))[:2] == (403, "forbidden")
        patched = await problem(client, SPEC, {"pin": True}, "PATCH", {**look, "If-Match": "*"})
        assert patched[:2] == (403, "forbidden")

    ask(tmp_path, story, ROLES)


# Specs.


async def patch(client: httpx2.AsyncClient, body: object, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await client.patch(SPEC, json=body, headers=named)


def test_a_spec_overrides_the_store_and_null_takes_that_back(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        unsaid = await client.get(SPEC)
        assert "etag" not in unsaid.headers
        assert unsaid.json()["overrides"] == dict.fromkeys(unsaid.json()["overrides"])
        assert unsaid.json()["effective"]["tier"] == "cold"

        made = await patch(client, {"tier": "warm", "priority": 2}, if_none_match="*")
        assert made.status_code == 200
        assert made.json()["effective"]["tier"] == "warm"
        assert (await client.get(SPEC)).json() == made.json()
        await rig.until(lambda: rig.serving.ready("c") == {1}, "a warm model is loaded")
        listed = (await client.get("/v1/models/c")).json()
        assert (listed["tier"], listed["priority"]) == ("warm", 2)

        tag = made.headers["etag"]
        back = await patch(client, {"tier": None}, if_match=tag)
        assert back.json()["overrides"]["tier"] is None
        assert (back.json()["effective"]["tier"], back.json()["effective"]["priority"]) == (
            "cold",
            2,
        )
        late = await patch(client, {"pin": True}, if_match=tag)
        assert (late.status_code, problem_in(late)["code"]) == (412, "stale")
        assert rig.told("c").count("spec_changed") == 2

    ask(tmp_path, story)


def test_a_spec_outlives_a_crash_and_an_unreadable_record(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await patch(client, {"tier": "hot"}, if_none_match="*")
        await rig.until(lambda: rig.serving.ready("c") == {1}, "it is loaded")
        await rig.crash()
        await rig.until(lambda: rig.sidecar.loop.snapshot is not None, "the first look")
        seen = rig.sidecar.loop.snapshot
        assert seen is not None
        assert seen.is_hot("c")

        rig.state.problem = "database or disk is full"
        await rig.until(lambda: rig.sidecar.loop.problem is not None, "the loop has noticed")
        seen = rig.sidecar.loop.snapshot
        assert seen is not None
        assert seen.is_hot("c")
        rig.state.problem = None

    ask(tmp_path, story)


def test_a_model_made_hot_over_rest_cannot_be_unloaded(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        await patch(client, {"tier": "hot"}, if_none_match="*")
        assert (await problem(client, "/v1/models/c:unload"))[:2] == (409, "model_is_hot")

    ask(tmp_path, story)


def test_hot_models_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await give(rig, budget_bytes=HELD_BYTES)
        answer = await patch(client, {"tier": "hot"}, if_none_match="*")
        content = problem_in(answer)
        assert (answer.status_code, content["code"]) == (422, "hot_models_do_not_fit")
        assert (content["needed_bytes"], content["budget_bytes"]) == (2 * HELD_BYTES, HELD_BYTES)
        assert "c 1.0 MiB, m 1.0 MiB" in content["detail"]
        assert "etag" not in (await client.get(SPEC)).headers

        pinned = await patch(client, {"pin": True}, if_none_match="*")
        assert pinned.json()["effective"]["pin"] is True

    ask(tmp_path, story)


def test_a_model_made_hot_is_answered_with_whom_that_leaves_no_room(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        publish(rig.store, "other", 1, tier="auto")
        await give(rig, budget_bytes=2 * HELD_BYTES)
        seen = rig.sidecar.loop.snapshot
        assert seen is not None
        assert "other" in seen.models
        assert (await client.get(SPEC)).json()["warnings"] == []

        answer = await patch(client, {"tier": "hot"}, if_none_match="*")

        assert answer.json()["warnings"] == [
            "hot models take 2.0 MiB of 2.0 MiB on cpu: no room for other; raise the budget or "
            "make some of them warm"
        ]
        assert (await client.get(SPEC)).json()["warnings"] == answer.json()["warnings"]

    ask(tmp_path, story)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"tier": "tepid"}, "/body/tier"),
        ({"idle_timeout_s": -1}, "/body/idle_timeout_s"),
        ({"pinned": True}, "/body"),
    ],
    ids=str,
)
def test_a_spec_that_is_none_is_refused(tmp_path: Path, body: object, pointer: str) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        content = problem_in(await patch(client, body, if_match="*"))
        assert content["code"] == "invalid_request"
        assert [flaw["pointer"] for flaw in content["errors"]] == [pointer]

    ask(tmp_path, story)


def test_a_spec_is_changed_only_for_the_state_that_was_read(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await patch(client, {"pin": True})
        assert (answer.status_code, problem_in(answer)["code"]) == (428, "precondition_required")
        assert (await problem(client, "/v1/models/x/spec", method="GET"))[0] == 404

    ask(tmp_path, story)
