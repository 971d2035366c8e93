"""The API over real connections: what only a real server and a real client show."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from pilotlight.admin import Admin
from sidecar.compose import ApiServer
from sidecar.runtime import observe
from tests.builders import publish
from tests.unit.sidecar.client import app_of
from tests.unit.sidecar.rig import Rig

DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class Served:
    rig: Rig
    server: ApiServer
    url: str
    serving: asyncio.Task[None]

    def readers(self) -> float | None:
        registry = self.rig.sidecar.world.telemetry.registry
        return registry.get_sample_value("pilotlight_event_readers")


@asynccontextmanager
async def serving(rig: Rig, app: Callable[[Rig], FastAPI]) -> AsyncIterator[Served]:
    """The rig's sidecar behind a real port, until this is left."""
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.MonkeyPatch.context() as patch:
        # The machine may stand still for seconds, and the fake servers with it.
        for patience in ("PATIENCE_S", "PATIENCE_WITH_LOST_S"):
            patch.setattr(observe, patience, DEADLINE_S)
        rig.query_timeout_s = DEADLINE_S
        rig.start()
        config = uvicorn.Config(app(rig), log_config=None, access_log=False)
        server = ApiServer(config, at_end=rig.sidecar.world.telemetry.close)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await rig.until(lambda: server.started, "it listens", DEADLINE_S)
        try:
            yield Served(rig, server, url, task)
        finally:
            server.end()
            await asyncio.wait_for(task, DEADLINE_S)
            await rig.sidecar.die()


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serving(Rig(tmp_path), app_of) as served:
        yield served


@asynccontextmanager
async def first_line(served: Served) -> AsyncIterator[AsyncIterator[str]]:
    """An event stream of which something has come in."""
    async with (
        httpx2.AsyncClient(base_url=served.url, timeout=DEADLINE_S) as client,
        client.stream("GET", "/v1/events?after=0") as answer,
    ):
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("event: ")
        yield lines


async def test_a_reader_that_hangs_up_is_let_go(served: Served) -> None:
    async with first_line(served):
        assert served.readers() == 1
    await served.rig.until(lambda: served.readers() == 0, "it is let go", DEADLINE_S)


async def test_an_open_stream_does_not_keep_the_sidecar_from_stopping(served: Served) -> None:
    async with first_line(served) as lines:
        served.server.end()
        await asyncio.wait_for(served.serving, DEADLINE_S)
        assert [line async for line in lines]


async def test_the_client_sees_all_models_however_many_pages_they_take(served: Served) -> None:
    names = [f"m{number:03}" for number in range(101)]
    for name in names:
        publish(served.rig.store, name, 1)

    def seen() -> int:
        found = served.rig.sidecar.loop.snapshot
        return len(found.models) if found else 0

    await served.rig.until(lambda: seen() == len(names), "all are seen", DEADLINE_S)

    with Admin(served.url) as admin:
        models = await asyncio.to_thread(admin.models)

    assert [model["name"] for model in models] == names
