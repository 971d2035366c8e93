"""An ensemble and its models on real servers: y = 2 x, and that once more."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contract.layout import Store
from contract.manifest import read_manifest
from embedded.provision import Installation
from sidecar.adapters.triton_grpc import TritonGrpc
from sidecar.core.fleet import Server
from sidecar.core.strategy import Outputs, Strategy
from sidecar.runtime.releases import Releases
from tests.builders import request
from tests.chains import publish_chain
from tests.e2e.conftest import all_served_before
from tests.e2e.inside import CANARY, SERVING, Inside, client_of, publish, sidecar_on, two_servers

pytestmark = [pytest.mark.triton, pytest.mark.timeout(240)]

NOTHING_AHEAD = {"prewarm": False}
"""Else the models of the ensemble may come back when it has gone: they were asked for."""
QUICKLY = Strategy(outputs=Outputs.ANY, latency_margin=None, soak_s=0.0)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "store")
    for part in ("first", "second"):
        publish(store, part, held_mib=1)
    publish_chain(store, "chain", {"first": 1, "second": 1})
    return store


def publish_again(store: Store, model: str) -> None:
    """Version 2, which answers as version 1 does."""
    before, after = store.version(model, 1), store.version(model, 2)
    shutil.copytree(before.path, after.path)
    manifest = read_manifest(before.manifest).model_copy(update={"version": 2})
    after.manifest.write_text(manifest.model_dump_json())


async def ask(client: TritonGrpc, version: int = 1) -> None:
    answer = await client.infer("chain", version, request(1.0, 3.0), timeout_s=60.0)
    assert answer["y"].tolist() == [[4.0, 12.0]]


@asynccontextmanager
async def traffic(client: TritonGrpc) -> AsyncIterator[None]:
    """Requests one after the other; none may fail."""
    is_over = asyncio.Event()

    async def send() -> None:
        while not is_over.is_set():
            await ask(client)

    sending = asyncio.create_task(send())
    yield
    is_over.set()
    await sending


def has_left(inside: Inside, server: Server) -> bool:
    """Whether a server holds nothing, and that was told: a folder goes a moment before."""
    return not inside.seen.servers[server].staged and not inside.seen.busy


async def order(inside: Inside, server: Server) -> list[str]:
    """What was loaded and, with a minus, unloaded; one after the other."""
    found = await inside.events("model_loaded", "model_unloaded")
    sign = {"model_loaded": "", "model_unloaded": "-"}
    return [f"{sign[each.name]}{each.model}" for each in found if each.server == server]


async def test_an_ensemble_comes_after_its_models_outlives_their_releases_and_goes_before_them(
    installation: Installation, store: Store, tmp_path: Path
) -> None:
    await all_served_before(store, tmp_path / "state.sqlite")
    with two_servers(installation, tmp_path) as servers:
        async with (
            sidecar_on(servers, store, tmp_path / "state.sqlite", policy=NOTHING_AHEAD) as inside,
            client_of(servers[SERVING]) as client,
        ):
            releases = Releases(inside.world, inside.requests)
            await inside.requests.ensure("chain", timeout_s=60)
            await ask(client)
            publish_again(store, "first")
            async with traffic(client):
                asked = await releases.begin("first", 2, actor="ann", strategy=QUICKLY)
                assert (await inside.ended(asked)).error is None
            publish_chain(store, "chain", {"first": 2, "second": 1}, 2)
            asked = await releases.begin("chain", 2, actor="ann", strategy=QUICKLY)
            assert (await inside.ended(asked)).error is None
            await ask(client, version=2)
            asked = await inside.requests.unload("chain", actor="ann")
            assert (await inside.ended(asked)).error is None
            await inside.until(lambda: has_left(inside, SERVING), "all have left")
            await inside.until(lambda: has_left(inside, CANARY), "canary is free")
            on_serving, on_canary = await order(inside, SERVING), await order(inside, CANARY)
            trouble = await inside.events("load_failed", "unload_failed", "check_failed")

    assert trouble == []
    assert sorted(on_serving[:2]) == ["first", "second"]
    assert on_serving[2:-3] == ["chain", "first", "first", "chain", "chain"]
    assert on_serving[-3] == "-chain"
    assert sorted(on_serving[-2:]) == ["-first", "-second"]
    # Whatever of an earlier release is still leaving canary meanwhile.
    beside = on_canary[: on_canary.index("chain")]
    for name in ("first", "second"):
        assert beside.count(name) > beside.count(f"-{name}")
    assert on_canary.index("-chain") < min(_last(on_canary, "-first"), _last(on_canary, "-second"))


def _last(found: list[str], name: str) -> int:
    return len(found) - 1 - found[::-1].index(name)
