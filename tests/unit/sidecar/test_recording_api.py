"""Recorded requests over REST."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from fastapi import FastAPI

from sidecar.api.app import create_app
from sidecar.api.auth import Callers
from sidecar.core.recording import Dropped, Drops, Recording
from sidecar.core.steering import Steering
from sidecar.runtime.compare import LARGEST_BYTES
from sidecar.runtime.records import Records
from tests.builders import config_text, publish
from tests.fakes.gateway import FakeGateway
from tests.unit.sidecar import client as without_gateway
from tests.unit.sidecar.client import Story, client_of, problem, problem_in
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_api_traffic import FRONT, TRAFFIC, gateway_of
from tests.unit.sidecar.test_api_traffic import app_of as at_gateway

RECORDING = "/v1/models/m/recording"
REQUESTS = f"{RECORDING}/requests"
NEW = {"If-None-Match": "*"}
ANY = {"If-Match": "*"}
UNSAID = Recording().model_dump(mode="json")
EMPTY = {
    "model": "m",
    "said": UNSAID,
    "copied": 0,
    "requests": 0,
    "bytes": 0,
    "dropped": {},
    "reason": None,
}


def body(*data: float, name: str = "x", datatype: str = "FP32") -> dict[str, Any]:
    """A request of batch 1."""
    shape = [1, len(data)]
    return {"inputs": [{"name": name, "shape": shape, "datatype": datatype, "data": data}]}


def ask(tmp_path: Path, story: Story, app_of: Callable[[Rig], FastAPI] = at_gateway) -> None:
    """Behind a gateway, unless `app_of` is without; `m` version 1 serves."""

    async def play(rig: Rig) -> None:
        if app_of is at_gateway:
            rig.gateway = FakeGateway()
        publish(rig.store, "m", 1, tier="hot")
        await Records(rig.state).set_serving("m", 1)
        rig.start()
        await rig.ready()
        async with client_of(app_of(rig)) as client:
            await story(rig, client)

    run(tmp_path, play)


async def put(
    client: httpx2.AsyncClient, said: object, headers: dict[str, str] = ANY
) -> httpx2.Response:
    return await client.put(RECORDING, json=said, headers=headers)


def kept(rig: Rig) -> list[object]:
    return [inputs["x"].tolist() for inputs in rig.recordings.kept["m"]]


def test_a_recording_is_replaced_for_the_state_that_was_read_and_ended(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        unsaid = await client.get(RECORDING)
        assert "etag" not in unsaid.headers
        assert unsaid.json() == EMPTY

        made = await put(client, {"percent": 5}, NEW)
        assert (made.status_code, made.json()["said"]) == (200, {**UNSAID, "percent": 5})
        assert (await client.get(RECORDING)).headers["etag"] == made.headers["etag"]
        await rig.until(lambda: gateway_of(rig).routes.samples == {"m": 5}, "it is copied")
        assert (await client.get(RECORDING)).json()["copied"] == 5

        tag = {"If-Match": made.headers["etag"]}
        replaced = await put(client, {"most": 7}, tag)
        assert replaced.json()["said"] == {**UNSAID, "most": 7}
        late = await put(client, {"most": 8}, tag)
        assert (late.status_code, problem_in(late)["code"]) == (412, "stale")

        assert (await client.delete(RECORDING, headers=tag)).status_code == 412
        tag = {"If-Match": replaced.headers["etag"]}
        assert (await client.delete(RECORDING, headers=tag)).status_code == 204
        await rig.until(lambda: gateway_of(rig).routes.samples == {}, "it is copied no more")
        assert (await client.get(RECORDING)).json() == EMPTY
        assert rig.told("m").count("recording_changed") == 3

    ask(tmp_path, story)


def test_the_audit_tells_who_records_what(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        await put(client, {"percent": 5, "redact": ["x"]}, NEW)

        (told,) = (await client.get("/v1/audit?event=recording_changed")).json()["entries"]

        assert (told["model"], told["actor"]) == ("m", "api")
        said = Recording(percent=5, redact=("x",))
        assert told["detail"]["recording"] == said.model_dump_json()

    ask(tmp_path, story)


def test_a_request_that_is_handed_over_is_kept_redacted_and_forgotten_at_the_end(
    tmp_path: Path,
) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await client.post(REQUESTS, json=body(1, 2))
        assert answer.status_code == 200
        assert answer.json() == {**EMPTY, "requests": 1, "bytes": 8}
        assert kept(rig) == [[[1, 2]]]

        await put(client, {"redact": ["x"]}, NEW)
        assert kept(rig) == []
        await client.post(REQUESTS, json=body(1, 2))
        assert kept(rig) == [[[0, 0]]]

        assert (await client.delete(RECORDING, headers=ANY)).status_code == 204
        assert kept(rig) == []

    ask(tmp_path, story, without_gateway.app_of)


def test_what_was_handed_over_can_be_forgotten_where_nothing_was_said(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await client.post(REQUESTS, json=body(1, 2))

        assert (await client.delete(RECORDING, headers=NEW)).status_code == 204
        assert kept(rig) == []

    ask(tmp_path, story, without_gateway.app_of)


def test_a_request_may_have_its_tensors_behind_the_json(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        head = {"name": "x", "shape": [1, 2], "datatype": "FP32"}
        text = json.dumps({"inputs": [{**head, "parameters": {"binary_data_size": 8}}]}).encode()
        answer = await client.post(
            REQUESTS,
            content=text + np.float32([1, 2]).tobytes(),
            headers={"Inference-Header-Content-Length": str(len(text))},
        )

        assert (answer.status_code, kept(rig)) == (200, [[[1, 2]]])

    ask(tmp_path, story, without_gateway.app_of)


def test_a_request_that_is_sent_again_with_its_key_is_kept_once(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        for _ in range(2):
            answer = await client.post(
                REQUESTS, json=body(1, 2), headers={"Idempotency-Key": "one"}
            )
            assert answer.json()["requests"] == 1
        assert len(kept(rig)) == 1

    ask(tmp_path, story, without_gateway.app_of)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (json.dumps(body(1, 2, 3)).encode(), "version 1 of m does not take this request: input x"),
        (json.dumps(body(1, 2, name="z")).encode(), "input x FP32[-1, 2] is missing; there is no"),
        (json.dumps(body(1, 2, datatype="BF16")).encode(), "BF16"),
        (b"no JSON", "this is no request for inference"),
        (b"", "this is no request for inference"),
        (b" " * (LARGEST_BYTES + 1), f"at most {LARGEST_BYTES} are kept of one"),
    ],
    ids=["shape", "input", "datatype", "text", "empty", "large"],
)
def test_what_the_model_does_not_take_is_refused(tmp_path: Path, content: bytes, part: str) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await client.post(REQUESTS, content=content)

        found = problem_in(answer)
        assert (answer.status_code, found["code"]) == (422, "invalid_request")
        assert part in found["detail"]
        assert kept(rig) == []

    ask(tmp_path, story, without_gateway.app_of)


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ({"percent": 101}, "/body/percent"),
        ({"most": 0}, "/body/most"),
        ({"redact": ["ids"]}, "m has no input ids to redact; it has x"),
        ({"percents": 1}, "did you mean 'percent'?"),
    ],
    ids=str,
)
def test_a_recording_that_makes_no_sense_is_refused(
    tmp_path: Path, said: object, part: str
) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        found = await problem(client, RECORDING, said, "PUT", NEW)
        assert found[:2] == (422, "invalid_request")
        assert part in found[2]
        assert "etag" not in (await client.get(RECORDING)).headers

    ask(tmp_path, story)


def test_a_model_that_is_not_there_cannot_be_recorded(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        for method, path, sent in (
            ("GET", "", None),
            ("PUT", "", {}),
            ("DELETE", "", None),
            ("POST", "/requests", body(1, 2)),
        ):
            found = await problem(client, f"/v1/models/x/recording{path}", sent, method, NEW)
            assert found[:2] == (404, "unknown_model"), method

    ask(tmp_path, story)


def test_a_change_says_what_it_was_made_for(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        for method, sent in (("PUT", {}), ("DELETE", None)):
            found = await problem(client, RECORDING, sent, method)
            assert found[:2] == (428, "precondition_required"), method

    ask(tmp_path, story)


def test_a_model_that_keeps_state_is_not_recorded(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        publish(rig.store, "s", 1)
        stateless = config_text("s")
        config = stateless.replace("dynamic_batching { preferred_batch_size: [4] }", "")
        rig.store.version("s", 1).config.write_text(f"{config}sequence_batching {{ }}\n")
        path = "/v1/models/s/recording"

        for method, where, sent in (
            ("PUT", path, {"percent": 5}),
            ("POST", f"{path}/requests", body(1, 2)),
        ):
            found = await problem(client, where, sent, method, NEW)
            assert found[:2] == (422, "stateful_model")
        assert (await client.put(path, json={"most": 5}, headers=NEW)).status_code == 200

    ask(tmp_path, story)


def test_without_a_gateway_no_request_is_copied(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        found = await problem(client, RECORDING, {"percent": 5}, "PUT", NEW)
        assert found[:2] == (409, "no_gateway")
        assert "hand requests over with POST" in found[2]
        assert (await put(client, {"percent": 0, "most": 5}, NEW)).status_code == 200

    ask(tmp_path, story, without_gateway.app_of)


def test_why_some_are_not_kept_is_told(tmp_path: Path) -> None:
    drops = Drops().with_(Dropped.TOO_LARGE).with_(Dropped.UNREADABLE, "no JSON")

    def app_of(rig: Rig) -> FastAPI:
        front = replace(FRONT, drops=lambda _: drops)
        return create_app(rig.sidecar.world, rig.sidecar.loop, rig.state, Callers({}), front)

    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        told = (await client.get(RECORDING)).json()
        assert told["dropped"] == {"too_large": 1, "unreadable": 1}
        assert told["reason"] == "no JSON"

    ask(tmp_path, story, app_of)


def test_requests_that_cannot_be_written_are_a_problem_of_the_state(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        rig.recordings.problem = "no room on the disk"
        found = await problem(client, REQUESTS, body(1, 2))
        assert found == (503, "state_unavailable", "no room on the disk")

    ask(tmp_path, story)


def test_what_is_copied_for_a_recording_is_not_told_as_a_sample(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await put(client, {"percent": 5}, NEW)
        await rig.until(lambda: gateway_of(rig).routes.samples == {"m": 5}, "it is copied")

        told = await client.get(TRAFFIC)

        assert told.status_code == 200
        assert told.json()["effective"] == Steering().model_dump(mode="json")

    ask(tmp_path, story)
