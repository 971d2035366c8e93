"""What happened, as a stream and as a list."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from starlette.types import Message

from sidecar.api.events import BATCH, follow
from sidecar.core.events import Event, EventName
from sidecar.ports import EVERYTHING, Filter
from sidecar.runtime.telemetry import Telemetry
from tests.fakes.state import FakeState
from tests.unit.sidecar.client import app_of, ask, problem
from tests.unit.sidecar.rig import Rig

HEARTBEAT_S = 15.0


class Reader:
    """One open stream."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.text = ""
        self._left = asyncio.Event()

    async def receive(self) -> Message:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.headers = {key.decode(): value.decode() for key, value in message["headers"]}
        self.text += message.get("body", b"").decode()

    def leave(self) -> None:
        self._left.set()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events that have come in, with the JSON of their data."""
        blocks = [
            dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            for block in self.text.split("\n\n")
        ]
        return [{**block, "data": json.loads(block["data"])} for block in blocks if block]


@asynccontextmanager
async def reading(
    app: FastAPI,
    query: str = "",
    headers: dict[str, str] | None = None,
    *,
    path: str = "/v1/events",
) -> AsyncIterator[Reader]:
    reader = Reader()
    given = {"host": "localhost", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(key.lower().encode(), value.encode()) for key, value in given.items()],
        "server": ("sidecar", 80),
        "client": ("reader", 1),
    }
    answering = asyncio.create_task(app(scope, reader.receive, reader.send))
    await asyncio.sleep(0.1)
    yield reader
    reader.leave()
    await asyncio.wait_for(answering, 1)


async def at_rest(rig: Rig) -> None:
    """Nothing happens by itself any more, and an unload of `c` is three events."""
    await rig.sidecar.requests.load("c", actor="somebody")
    await asyncio.sleep(60)


def readers(rig: Rig) -> float | None:
    return rig.sidecar.world.telemetry.registry.get_sample_value("pilotlight_event_readers")


def test_a_reader_sees_what_happens_from_now_on(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await at_rest(rig)
        async with reading(app_of(rig)) as reader:
            assert reader.headers["content-type"].startswith("text/event-stream")
            operation = (await client.post("/v1/models/c:unload")).json()
            await rig.until(lambda: rig.told().count("operation_ended") == 2, "it is unloaded")
            await asyncio.sleep(0.1)
        assert [event["event"] for event in reader.events] == [
            "operation_accepted",
            "model_unloaded",
            "operation_ended",
        ]
        accepted, unloaded, _ = reader.events
        assert accepted["id"] == str(accepted["data"]["id"])
        assert accepted["data"]["detail"] == {"operation": operation["id"], "kind": "unload"}
        assert (unloaded["data"]["model"], unloaded["data"]["server"]) == ("c", "serving")
        assert unloaded["data"]["at"].endswith("Z")

    ask(tmp_path, story)


def test_a_reader_can_begin_with_what_has_just_happened(tmp_path: Path) -> None:
    async def story(rig: Rig, _client: httpx2.AsyncClient) -> None:
        await at_rest(rig)
        async with reading(app_of(rig), "newest=2") as reader:
            pass
        assert [event["event"] for event in reader.events] == rig.told()[-2:]
        async with reading(app_of(rig), "newest=100", {"Last-Event-ID": "1"}) as reader:
            pass
        assert len(reader.events) == len(rig.told()) - 1

    ask(tmp_path, story)


def test_a_reader_that_comes_back_misses_nothing(tmp_path: Path) -> None:
    """The header wins over the query: a browser connects again with the same address."""

    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await at_rest(rig)
        app = app_of(rig)
        before = len(rig.state.entries)
        await client.post("/v1/models/c:unload")
        await rig.until(lambda: rig.told().count("operation_ended") == 2, "it is unloaded")
        async with reading(app, "after=0", {"Last-Event-ID": str(before + 1)}) as reader:
            assert [event["event"] for event in reader.events] == [
                "model_unloaded",
                "operation_ended",
            ]
        async with reading(app, f"after={before}") as reader:
            assert reader.events[0]["event"] == "operation_accepted"

    ask(tmp_path, story)


def test_a_reader_can_follow_one_model(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await at_rest(rig)
        async with reading(app_of(rig), "after=0&model=c") as reader:
            assert not any(event["data"]["model"] != "c" for event in reader.events)
            behind = len(reader.events)
            await client.post("/v1/models/m:load")
            await client.post("/v1/models/c:unload")
            await rig.until(lambda: rig.told("c").count("operation_ended") == 2, "it is unloaded")
            await asyncio.sleep(0.1)
        assert {event["data"]["model"] for event in reader.events} == {"c"}
        assert len(reader.events) == behind + 3

    ask(tmp_path, story)


def test_a_quiet_stream_is_kept_open_by_comments(tmp_path: Path) -> None:
    async def story(rig: Rig, _client: httpx2.AsyncClient) -> None:
        await at_rest(rig)
        async with reading(app_of(rig)) as reader:
            await asyncio.sleep(2 * HEARTBEAT_S + 1)
        assert [line[0] for line in reader.text.splitlines() if line] == [":", ":"]

    ask(tmp_path, story)


def test_a_reader_that_leaves_is_let_go(tmp_path: Path) -> None:
    async def story(rig: Rig, _client: httpx2.AsyncClient) -> None:
        app = app_of(rig)
        async with reading(app), reading(app):
            assert readers(rig) == 2
        assert readers(rig) == 0

    ask(tmp_path, story)


def test_streams_end_when_the_sidecar_stops(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        following = asyncio.create_task(client.get("/v1/events"))
        await asyncio.sleep(1)
        assert not following.done()
        rig.sidecar.world.telemetry.close()
        assert (await asyncio.wait_for(following, 1)).status_code == 200

    ask(tmp_path, story)


@pytest.mark.parametrize("given", ["-1", "x", str(2**63)])
def test_an_id_that_is_none_is_refused(tmp_path: Path, given: str) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        path, headers = "/v1/events", {"Last-Event-ID": given}
        assert (await problem(client, path, None, "GET", headers))[:2] == (422, "invalid_request")
        answer = await problem(client, f"{path}?after={given}", method="GET")
        assert answer[:2] == (422, "invalid_request")

    ask(tmp_path, story)


async def test_a_reader_far_behind_gets_all_in_order_and_then_what_is_new() -> None:
    telemetry = Telemetry(FakeState())
    event = Event(name=EventName.BECAME_READY)
    for _ in range(2 * BATCH):
        await telemetry.record(event)
    entries = follow(telemetry, 0, EVERYTHING)

    seen = [(await anext(entries)).id for _ in range(2 * BATCH)]
    waiting = asyncio.ensure_future(anext(entries))
    await asyncio.sleep(0)
    assert not waiting.done()
    await telemetry.record(event)

    assert [*seen, (await waiting).id] == list(range(1, 2 * BATCH + 2))


async def test_a_filtered_reader_rests_while_others_are_told_of() -> None:
    """Otherwise it would spin: there is always something newer than its last entry."""
    state = FakeState()
    telemetry = Telemetry(state)
    entries = follow(telemetry, 0, Filter(model="c"))
    waiting = asyncio.ensure_future(anext(entries))
    for model in ("m", "m", "c"):
        await asyncio.sleep(0.01)
        assert not waiting.done()
        await telemetry.record(Event(name=EventName.MODEL_LOADED, model=model))

    assert (await waiting).id == 3


async def test_a_reader_that_remembers_another_journal_is_not_left_waiting() -> None:
    telemetry = Telemetry(FakeState())
    waiting = asyncio.ensure_future(anext(follow(telemetry, 1000, EVERYTHING)))
    await asyncio.sleep(0)
    await telemetry.record(Event(name=EventName.BECAME_READY))

    assert (await asyncio.wait_for(waiting, 30)).id == 1


async def test_a_stream_ends_when_the_journal_cannot_be_read() -> None:
    state = FakeState()
    state.problem = "disk full"

    assert [entry async for entry in follow(Telemetry(state), 0, EVERYTHING)] == []


def test_the_audit_is_read_in_pages_oldest_first(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await at_rest(rig)
        told = rig.told()
        first = (await client.get("/v1/audit?page_size=2")).json()
        token = first["next_page_token"]
        rest = (await client.get(f"/v1/audit?page_token={token}")).json()
        assert len(first["entries"]) == 2
        assert [entry["event"] for entry in first["entries"] + rest["entries"]] == told
        assert rest["next_page_token"] is None

    ask(tmp_path, story)


def test_the_audit_is_filtered_by_model_actor_event_and_time(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        await at_rest(rig)
        asked_at = (await client.post("/v1/models/c:unload")).json()["created_at"]
        await rig.until(lambda: rig.told().count("operation_ended") == 2, "it is unloaded")

        async def found(**query: str) -> list[str]:
            answer = await client.get("/v1/audit", params=query)
            return [entry["event"] for entry in answer.json()["entries"]]

        unload = ["operation_accepted", "model_unloaded", "operation_ended"]
        everything = rig.told("c")
        assert await found(model="c") == everything
        assert await found(model="c", since=asked_at) == unload
        assert await found(model="c", until=asked_at) == everything[:-3]
        assert await found(actor="api") == ["operation_accepted"]
        assert await found(actor="somebody", model="m") == []
        assert set(await found(event="operation_ended")) == {"operation_ended"}
        assert (await problem(client, "/v1/audit?since=2026-01-01T00:00", method="GET"))[0] == 422

    ask(tmp_path, story)
