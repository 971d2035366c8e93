"""The gateway over REST: what it does, what it has counted, and how requests are steered."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI

from sidecar.api.app import create_app
from sidecar.api.auth import Caller, Callers
from sidecar.api.front import Front
from sidecar.core.agreement import Answer, findings
from sidecar.core.comparison import Comparison, Missed
from sidecar.core.fleet import Server
from sidecar.core.steering import Steering
from sidecar.core.traffic import Answered, Traffic
from tests.builders import config_text, publish
from tests.fakes.gateway import FakeGateway
from tests.unit.sidecar import client as without_gateway
from tests.unit.sidecar.client import ROLES, VIEWER, Story, bearer, client_of, problem, problem_in
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_cycles import release_2, serving_version_1

TRAFFIC = "/v1/models/m/traffic"
NEW = {"If-None-Match": "*"}
ANY = {"If-Match": "*"}
FRONT = Front(http="0.0.0.0:8000", grpc="0.0.0.0:8001", can_mirror=True)
NOTHING = Steering().model_dump(mode="json")
ANSWERED = Traffic(
    answers={
        Answered(version=None, code="200", outcome="hit"): 5,
        Answered(version=1, code="grpc:0", outcome="hit"): 2,
        Answered(version=2, code="200", outcome="joined"): 1,
        Answered(version=2, code="grpc:0", outcome="cold"): 2,
    },
    p50_ms=1.5,
    p99_ms=12.0,
    open_streams=3,
)


def app_of(
    rig: Rig,
    tokens: Mapping[Caller, str] | None = None,
    *,
    can_mirror: bool = True,
    comparison: Comparison | None = None,
) -> FastAPI:
    """With a gateway; the rig has one too."""
    front = replace(FRONT, can_mirror=can_mirror, comparison=lambda _: comparison)
    world, loop = rig.sidecar.world, rig.sidecar.loop
    return create_app(world, loop, rig.state, Callers(tokens or {}), front)


def ask(
    tmp_path: Path,
    story: Story,
    tokens: Mapping[Caller, str] | None = None,
    *,
    can_mirror: bool = True,
    comparison: Comparison | None = None,
) -> None:
    """As `client.ask` does, behind a gateway."""

    async def play(rig: Rig) -> None:
        rig.gateway = FakeGateway()
        publish(rig.store, "c", 1)
        await serving_version_1(rig)
        await rig.until(lambda: gateway_of(rig).routes.have("m"), "it is routed")
        app = app_of(rig, tokens, can_mirror=can_mirror, comparison=comparison)
        async with client_of(app) as client:
            await story(rig, client)

    run(tmp_path, play)


def gateway_of(rig: Rig) -> FakeGateway:
    assert rig.gateway is not None
    return rig.gateway


@asynccontextmanager
async def releasing(rig: Rig) -> AsyncIterator[None]:
    """Within it both versions of `m` answer; at its end the release is done."""
    operation = await release_2(rig)
    await rig.until(lambda: rig.serving.ready("m") == {1, 2}, "both are loaded")
    yield
    await rig.ended(operation)


async def put(
    client: httpx2.AsyncClient, body: object, headers: Mapping[str, str] = ANY
) -> httpx2.Response:
    return await client.put(TRAFFIC, json=body, headers=headers)


async def effective(client: httpx2.AsyncClient) -> Any:
    return (await client.get(TRAFFIC)).json()["effective"]


async def until_effective(client: httpx2.AsyncClient, **expected: object) -> None:
    """Of what is not mentioned nothing is to hold."""
    async with asyncio.timeout(60):
        while await effective(client) != {**NOTHING, **expected}:  # noqa: ASYNC110  (nobody sets an event)
            await asyncio.sleep(0.01)


async def gateway(client: httpx2.AsyncClient) -> Any:
    return (await client.get("/v1/gateway")).json()["gateway"]


async def metric(client: httpx2.AsyncClient, name: str) -> list[str]:
    """Values of all series."""
    text = (await client.get("/metrics")).text
    return [line.split()[-1] for line in text.splitlines() if line.startswith(name)]


# Steering.


def test_what_came_of_sampled_requests_is_told(tmp_path: Path) -> None:
    answer = {
        server: Answer(latency_ms=1.0, outputs={"y": np.float32([value])})
        for server, value in ((Server.SERVING, 1.0), (Server.CANARY, 2.0))
    }
    between = Comparison.between({Server.SERVING: 1, Server.CANARY: 2})
    comparison = between.with_(
        answer, findings(answer[Server.SERVING], answer[Server.CANARY], {"y": 1e-5})
    ).without(Missed.TOO_MANY)

    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        told = (await client.get(TRAFFIC)).json()["comparison"]

        assert (told["serving"]["version"], told["canary"]["version"]) == (1, 2)
        assert (told["compared"], told["agreeing"], told["missed"]) == (1, 0, {"too_many": 1})
        assert "scaled error" in told["outputs"]["y"]["reason"]

    ask(tmp_path, story, comparison=comparison)


def test_steering_is_replaced_for_the_state_that_was_read_and_ended(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        unsaid = await client.get(TRAFFIC)
        assert "etag" not in unsaid.headers
        assert unsaid.json() == {
            "model": "m",
            "said": NOTHING,
            "effective": NOTHING,
            "not_loaded": [],
            "versions": [],
            "comparison": None,
        }

        made = await put(client, {"weights": {"1": 95, "2": 5}, "sticky_header": "x-user"}, NEW)
        assert made.status_code == 200
        said = {**NOTHING, "weights": {"1": 95, "2": 5}, "sticky_header": "x-user"}
        assert made.json()["said"] == said
        assert (await client.get(TRAFFIC)).headers["etag"] == made.headers["etag"]

        tag = {"If-Match": made.headers["etag"]}
        replaced = await put(client, {"mirror": 10}, tag)
        assert replaced.json()["said"] == {**NOTHING, "mirror": 10}
        late = await put(client, {"mirror": 20}, tag)
        assert (late.status_code, problem_in(late)["code"]) == (412, "stale")

        assert (await client.delete(TRAFFIC, headers=tag)).status_code == 412
        tag = {"If-Match": replaced.headers["etag"]}
        assert (await client.delete(TRAFFIC, headers=tag)).status_code == 204
        ended = await client.get(TRAFFIC)
        assert (ended.json()["said"], "etag" in ended.headers) == (NOTHING, False)
        assert (await client.delete(TRAFFIC, headers=NEW)).status_code == 204
        assert rig.told("m").count("steering_changed") == 3

    ask(tmp_path, story)


def test_the_audit_tells_who_steers_and_how(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        await put(client, {"weights": {"1": 1}}, NEW)
        await client.delete(TRAFFIC, headers=ANY)

        told = (await client.get("/v1/audit?event=steering_changed")).json()["entries"]
        assert [(entry["model"], entry["actor"]) for entry in told] == [("m", "api")] * 2
        assert [entry["detail"]["steering"] for entry in told] == [
            Steering(weights={1: 1}).model_dump_json(),
            Steering().model_dump_json(),
        ]

    ask(tmp_path, story)


def test_the_answer_says_which_versions_get_nothing_until_a_release_loads_them(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        said = await put(client, {"weights": {"1": 95, "2": 5}}, NEW)
        assert said.json()["not_loaded"] == [2]
        assert (await put(client, {"weights": {"1": 1, "2": 0}})).json()["not_loaded"] == []

        await put(client, {"weights": {"1": 95, "2": 5}})
        async with releasing(rig), asyncio.timeout(60):
            while (await client.get(TRAFFIC)).json()["not_loaded"]:  # noqa: ASYNC110  (nobody sets an event)
                await asyncio.sleep(0.01)

        await rig.until(lambda: rig.serving.ready("m") == {2}, "version 2 serves alone")
        assert (await client.get(TRAFFIC)).json()["not_loaded"] == [1]

    ask(tmp_path, story)


def test_the_version_of_a_cold_model_is_loaded_by_its_next_request(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await rig.sidecar.requests.load("c", actor="ann")
        await rig.until(lambda: rig.serving.ready("c") == {1}, "it is loaded")
        await rig.at_rest()
        await rig.sidecar.requests.unload("c", actor="ann")
        await rig.until(lambda: rig.serving.ready("c") == set(), "it is unloaded")

        said = await client.put("/v1/models/c/traffic", json={"weights": {"1": 1}}, headers=NEW)
        assert said.json()["not_loaded"] == []

    ask(tmp_path, story)


def test_versions_get_their_shares_only_while_they_answer(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await put(client, {"weights": {"1": 95, "2": 5}, "sticky_header": "x-user"}, NEW)
        await until_effective(client, weights={"1": 95}, sticky_header="x-user")
        async with releasing(rig):
            await until_effective(client, weights={"1": 95, "2": 5}, sticky_header="x-user")
        await until_effective(client, weights={"2": 5}, sticky_header="x-user")
        await client.delete(TRAFFIC, headers=ANY)
        await until_effective(client)

    ask(tmp_path, story)


def test_canary_gets_copies_only_while_it_holds_the_model(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await rig.until(lambda: rig.canary.ready("m") == set(), "canary is free")
        await put(client, {"mirror": 10, "sample": 2}, NEW)
        await rig.until(lambda: gateway_of(rig).history[-1].mirrors == {}, "it is looked at")
        assert await effective(client) == NOTHING
        operation = await release_2(rig)
        await until_effective(client, mirror=10, sample=2)
        await rig.ended(operation)
        await until_effective(client)

    ask(tmp_path, story)


def test_nothing_is_effective_before_the_gateway_has_taken_up_routes(tmp_path: Path) -> None:
    async def play(rig: Rig) -> None:
        rig.gateway = FakeGateway()
        rig.gateway.kill()
        await serving_version_1(rig)
        async with client_of(app_of(rig)) as client:
            assert await effective(client) is None
            assert (await gateway(client))["replicas"] == []
            rig.gateway.restart()
            await until_effective(client)

    run(tmp_path, play)


@pytest.mark.parametrize(
    ("body", "status", "code", "part"),
    [
        ({"weights": {"1": 9, "7": 1}}, 404, "unknown_version", "it has 1, 2"),
        ({"weights": {"0": 1}}, 422, "invalid_request", "/body/weights"),
        ({"weights": {"1": 0}}, 422, "invalid_request", "all weights are 0"),
        ({"weights": {"1": 1}, "mirror": 1}, 422, "invalid_request", "exclude each other"),
        ({"sticky_header": "x-user"}, 422, "invalid_request", "of no use without weights"),
        ({"sample": 1}, 422, "invalid_request", "of no use without mirror"),
        ({"mirrors": 1}, 422, "invalid_request", "did you mean 'mirror'?"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, body: object, status: int, code: str, part: str
) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        found = await problem(client, TRAFFIC, body, "PUT", NEW)
        assert found[:2] == (status, code)
        assert part in found[2]
        assert "etag" not in (await client.get(TRAFFIC)).headers

    ask(tmp_path, story)


def test_a_model_that_is_not_there_cannot_be_steered(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        for method in ("GET", "PUT", "DELETE"):
            body = {} if method == "PUT" else None
            found = await problem(client, "/v1/models/x/traffic", body, method, NEW)
            assert found[:2] == (404, "unknown_model"), method

    ask(tmp_path, story)


def test_a_change_says_what_it_was_made_for(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        for method in ("PUT", "DELETE"):
            body = {} if method == "PUT" else None
            found = await problem(client, TRAFFIC, body, method)
            assert found[:2] == (428, "precondition_required"), method

    ask(tmp_path, story)


def test_what_was_said_of_a_model_that_vanished_can_be_ended(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await put(client, {"weights": {"1": 1}}, NEW)
        rig.store.root.rename(tmp_path / "unmounted")
        await rig.until(lambda: not rig.sidecar.loop.snapshot.models, "it is missed")  # type: ignore[union-attr]
        await until_effective(client, weights={"1": 1})
        assert (await client.delete(TRAFFIC, headers=ANY)).status_code == 204
        await rig.until(lambda: gateway_of(rig).routes.splits == {}, "it is ended")

    ask(tmp_path, story)


def test_a_model_that_keeps_state_is_not_steered(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        publish(rig.store, "s", 1)
        stateless = config_text("s")
        config = stateless.replace("dynamic_batching { preferred_batch_size: [4] }", "")
        rig.store.version("s", 1).config.write_text(f"{config}sequence_batching {{ }}\n")
        path = "/v1/models/s/traffic"

        for body in ({"weights": {"1": 1}}, {"mirror": 5}):
            found = await problem(client, path, body, "PUT", NEW)
            assert found[:2] == (422, "stateful_model")
        assert (await client.put(path, json={}, headers=NEW)).status_code == 200

    ask(tmp_path, story)


def test_a_canary_without_an_http_address_gets_no_copies(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        found = await problem(client, TRAFFIC, {"mirror": 5}, "PUT", NEW)
        assert found[:2] == (409, "no_mirror")
        assert "servers.canary.http" in found[2]
        assert (await put(client, {"weights": {"1": 1}}, NEW)).status_code == 200

    ask(tmp_path, story, can_mirror=False)


def test_without_a_gateway_nothing_is_steered_or_counted(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        for method in ("GET", "PUT", "DELETE"):
            body = {} if method == "PUT" else None
            found = await problem(client, TRAFFIC, body, method, NEW)
            assert found[:2] == (409, "no_gateway"), method
            assert "section `gateway`" in found[2]
        assert (await client.get("/v1/gateway")).json() == {"gateway": None}
        assert (await client.get("/v1/models/m")).json()["traffic"] is None
        assert await metric(client, "pilotlight_gateway") == []

    without_gateway.ask(tmp_path, story)


def test_a_viewer_looks_and_does_not_steer(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        for path in (TRAFFIC, "/v1/gateway"):
            assert (await client.get(path, headers=bearer(VIEWER))).status_code == 200
        refused = await put(client, {"mirror": 1}, {**NEW, **bearer(VIEWER)})
        assert refused.status_code == 403

    ask(tmp_path, story, ROLES)


# What was counted.


def test_requests_are_told_by_version_code_and_outcome(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        gateway_of(rig).counted["m"] = ANSWERED
        await asyncio.sleep(2)

        assert (await client.get(TRAFFIC)).json()["versions"] == [
            {"version": 1, "requests": 2, "percentage": 20.0},
            {"version": 2, "requests": 3, "percentage": 30.0},
            {"version": None, "requests": 5, "percentage": 50.0},
        ]
        counted = {
            "requests": 10,
            "by_code": {"200": 6, "grpc:0": 4},
            "by_outcome": {"cold": 2, "hit": 7, "joined": 1},
            "p50_ms": 1.5,
            "p99_ms": 12.0,
            "open_streams": 3,
        }
        quiet = {**dict.fromkeys(counted, 0), "by_code": {}, "by_outcome": {}}
        quiet |= {"p50_ms": None, "p99_ms": None}
        assert (await client.get("/v1/models/m")).json()["traffic"] == counted
        listed = (await client.get("/v1/models")).json()["models"]
        assert [model["traffic"] for model in listed] == [quiet, counted]
        assert (listed[1]["p50_ms"], listed[1]["p50_basis"]) == (1.5, "gateway")
        assert (listed[0]["p50_ms"], listed[0]["p50_basis"]) == (None, None)
        explained = (await client.get("/v1/models/m:explain")).json()
        assert explained["model"]["traffic"] == counted

    ask(tmp_path, story)


# The gateway.


def test_the_gateway_tells_replicas_totals_and_who_waits(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        gateway_of(rig).counted |= {"m": ANSWERED, "c": ANSWERED}
        await asyncio.sleep(2)

        assert await gateway(client) == {
            "http": "0.0.0.0:8000",
            "grpc": "0.0.0.0:8001",
            "routed": True,
            "problem": None,
            "replicas": [
                {
                    "name": "own",
                    "http": "triton:8000",
                    "grpc": "triton:8001",
                    "joined": True,
                    "models": 1,
                }
            ],
            "routed_models": 1,
            "requests": 20,
            "by_outcome": {"cold": 4, "hit": 14, "joined": 2},
            "open_streams": 6,
            "waiting": {},
        }

        waiting = [asyncio.create_task(client.post("/v1/models/c:ensure")) for _ in range(3)]
        await rig.until(lambda: rig.sidecar.world.waiting.count("c") == 3, "they wait")
        assert (await gateway(client))["waiting"] == {"c": 3}
        assert await metric(client, "pilotlight_requests_waiting") == ["3.0"]
        await asyncio.gather(*waiting)
        await rig.until(lambda: gateway_of(rig).routes.have("c"), "it is routed")
        assert (await gateway(client))["routed_models"] == 2
        assert await metric(client, "pilotlight_gateway_routed_models") == ["2.0"]
        assert await metric(client, "pilotlight_requests_waiting") == ["0.0"]

    ask(tmp_path, story)


def test_a_gateway_that_is_away_is_told_and_its_replicas_are_those_of_before(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        router = rig.sidecar.world.router
        assert await metric(client, "pilotlight_gateway_up") == ["1.0"]
        gateway_of(rig).kill()
        await rig.until(lambda: router.problem is not None, "it is missed")

        told = await gateway(client)
        assert (told["routed"], told["problem"]) == (False, "the gateway does not answer")
        assert told["routed_models"] == 1
        assert await metric(client, "pilotlight_gateway_up") == ["0.0"]
        gateway_of(rig).restart()
        await rig.until(lambda: router.problem is None, "it is found")
        assert (await gateway(client))["routed"] is True
        assert await metric(client, "pilotlight_gateway_up") == ["1.0"]

    ask(tmp_path, story)
