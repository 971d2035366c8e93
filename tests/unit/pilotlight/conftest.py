"""A sidecar on fake servers behind a real port, as the commands meet it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn

from sidecar.compose import ApiServer
from tests.fakes.gateway import FakeGateway
from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_served import DEADLINE_S, Served, served
from tests.unit.sidecar.test_api_traffic import app_of

__all__ = ["served"]


@pytest.fixture
async def served_at_gateway(tmp_path: Path) -> AsyncIterator[Served]:
    rig = Rig(tmp_path)
    rig.gateway = FakeGateway()
    rig.start()
    config = uvicorn.Config(app_of(rig), log_config=None, access_log=False)
    server = ApiServer(config, at_end=rig.sidecar.world.telemetry.close)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        await rig.until(lambda: server.started, "it listens", DEADLINE_S)
        yield Served(rig, server, url, serving)
        server.end()
        await asyncio.wait_for(serving, DEADLINE_S)
    await rig.sidecar.die()
