"""Both clients of one sidecar, on fake servers behind a real port."""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AsyncExitStack
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from pilotlight.client import AsyncClient, Client
from pilotlight.client.resource import Resource
from sidecar.runtime.records import Records
from tests.builders import publish
from tests.fakes.gateway import FakeGateway
from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_served import Served, served, serving
from tests.unit.sidecar.test_api_traffic import app_of

__all__ = ["served"]

Connect = Callable[..., Any]
_END = object()


class Awaited:
    """A client whose methods block, as if they were awaited: each runs in a thread."""

    def __init__(self, blocking: object) -> None:
        self._blocking = blocking

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._blocking, name)
        if isinstance(found, Resource):
            return Awaited(found)

        @wraps(found)
        def call(*arguments: Any, **named: Any) -> Any:
            if name in ("list", "audit", "events", "follow"):
                return _each(found(*arguments, **named))
            return asyncio.to_thread(found, *arguments, **named)

        return call


async def _each(items: Generator[Any, None, None]) -> AsyncIterator[Any]:
    try:
        while (item := await asyncio.to_thread(next, items, _END)) is not _END:
            yield item
    finally:
        items.close()


@pytest.fixture(params=["blocking", "awaited"])
async def connect(request: pytest.FixtureRequest) -> AsyncIterator[Connect]:
    """`connect(url)` is a client of a sidecar; all its methods are to be awaited."""
    async with AsyncExitStack() as cleanup:

        def connected(url: str, **how: Any) -> Any:
            if request.param == "awaited":
                client = AsyncClient(url, **how)
                cleanup.push_async_callback(client.close)
                return client
            blocking = Client(url, **how)
            cleanup.callback(blocking.close)
            return Awaited(blocking)

        yield connected


@pytest.fixture
async def at_rest(tmp_path: Path) -> AsyncIterator[Served]:
    """Behind a gateway; `m` version 1 serves, version 2 and a cold `c` are stored."""
    rig = Rig(tmp_path)
    rig.gateway = FakeGateway()
    for number in (1, 2):
        publish(rig.store, "m", number, tier="hot")
    publish(rig.store, "c", 1)
    # As after a restart: nothing has to pass canary first.
    for name in ("m", "c"):
        await Records(rig.state).set_serving(name, 1)
    async with serving(rig, app_of) as served:
        await rig.ready()
        yield served


@pytest.fixture
def client(connect: Connect, at_rest: Served) -> Any:
    return connect(at_rest.url)
