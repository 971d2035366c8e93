"""A sidecar in the test's own process, on real servers: tests see its ledger and its plans."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from fastapi import FastAPI
from onnx import helper

from contract.intent import Intent
from contract.layout import ONNX_MODEL, Store
from contract.manifest import record_files
from embedded.provision import Installation
from embedded.triton import TritonServer
from sidecar import compose
from sidecar.adapters.triton_grpc import TritonGrpc
from sidecar.core.events import Event
from sidecar.core.fleet import Operation, Server, Snapshot
from sidecar.core.ledger import Account, ledger
from sidecar.core.memory import CPU
from sidecar.core.status import unready
from sidecar.runtime.loop import Loop
from sidecar.runtime.requests import Requests
from sidecar.runtime.world import World
from sidecar.settings import Settings
from tests import builders
from tests.contract.test_embedded_triton import FLOAT, save_model
from tests.eventually import eventually
from tests.fixtures.embedded import running_triton

MIB = builders.MIB
CRASHES = {"work_crashed", "cycle_crashed", "task_crashed"}
SERVING, CANARY = Server.SERVING, Server.CANARY


PYTHON_MODEL = """
import numpy, os, resource, time
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        INITIALIZE

    def execute(self, requests):
        return [self.answer(pb_utils.get_input_tensor_by_name(r, "x").as_numpy()) for r in requests]

    def answer(self, x):
        if (x > 100).any():
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("x is above 100"))
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", 2 * x)])
"""


def publish(
    store: Store,
    name: str,
    *,
    weights_mib: int = 1,
    held_mib: int = 100,
    initialize: str | None = None,
    warmup_x: tuple[float, float] = (1.0, 2.0),
    **intent: object,
) -> None:
    """Version 1 of a real model, y = 2 x: in ONNX with so many MiB of weights, or in Python.

    `held_mib` is what its manifest declares that a loaded instance holds. `initialize` is a
    statement that its Python runs at load; that model refuses an x above 100.
    """
    builders.publish(store, name, warmup_x=warmup_x)
    folder = store.version(name, 1)
    file = folder.path / ONNX_MODEL
    file.unlink()
    if initialize is None:
        save_weights(file, weights_mib)
    else:
        text = PYTHON_MODEL.replace("INITIALIZE", initialize)
        (folder.path / "model.py").write_text(text)
        config = folder.config.read_text().replace('"onnxruntime"', '"python"')
        folder.config.write_text(config)
    files = record_files(folder.path)
    held, on_disk = held_mib * MIB, sum(record.bytes for record in files.values())
    manifest = json.loads(folder.manifest.read_text())
    manifest["cost"] |= {"disk_bytes": on_disk, "private_bytes": held, "peak_bytes": held}
    manifest["files"] = {
        name: {"sha256": record.sha256, "bytes": record.bytes} for name, record in files.items()
    }
    folder.manifest.write_text(json.dumps(manifest))
    wanted = Intent.model_validate({"tier": "auto", **intent})
    store.intent(name).write_text(wanted.model_dump_json())


def save_weights(file: Path, mib: int) -> None:
    """Two matrices of which most is zero, but none knows."""
    inner = mib * MIB // 2 // 2 // np.float32().nbytes
    wide, narrow = np.zeros((2, inner), np.float32), np.zeros((inner, 2), np.float32)
    wide[0, 0] = wide[1, 1] = 2.0
    narrow[0, 0] = narrow[1, 1] = 1.0
    made = file.parent / "made" / file.name
    save_model(
        made,
        [
            helper.make_node("MatMul", ["x", "wide"], ["inner"]),
            helper.make_node("MatMul", ["inner", "narrow"], ["y"]),
        ],
        [("x", FLOAT, ["n", 2])],
        [("y", FLOAT, ["n", 2])],
        constants={"wide": wide, "narrow": narrow},
    )
    made.rename(file)
    made.parent.rmdir()


class Inside:
    """One running sidecar with what tests ask of it."""

    def __init__(self, world: World, loop: Loop) -> None:
        self.world = world
        self.loop = loop
        self.requests = Requests(world, loop.profile)

    @property
    def seen(self) -> Snapshot:
        """What the sidecar saw last."""
        assert self.loop.snapshot is not None
        return self.loop.snapshot

    def account(self) -> Account:
        """Of the machine's memory, as the last plan took it."""
        return ledger(self.seen, self.loop.policy)[CPU]

    def answers(self, model: str) -> bool:
        return bool(self.seen.servers[SERVING].answers(model))

    async def events(self, *names: str, model: str | None = None) -> list[Event]:
        entries = await self.world.telemetry.journal.read(after=0, limit=100_000)
        events = [entry.event for entry in entries]
        return [e for e in events if e.name in names and model in (None, e.model)]

    async def until(self, condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
        async def holds() -> bool:
            return self.loop.snapshot is not None and condition()

        await eventually(holds, what, timeout_s)

    async def at_rest(self) -> None:
        """Return when no work is going on, and what came of all has been told."""
        await self.until(lambda: not self.seen.busy, "all work is done")

    async def ready(self) -> None:
        await self.until(lambda: unready(self.seen) == [], "ready")

    async def ended(self, operation: Operation) -> Operation:
        """The operation when it is done."""
        found: list[Operation] = []

        async def is_over() -> bool:
            now = await self.world.records.operation(operation.id)
            found[:] = [now] if now is not None and now.finished_at_s is not None else []
            return bool(found)

        await eventually(is_over, f"{operation.kind} of {operation.model} ends", 60)
        return found[0]


@contextmanager
def two_servers(installation: Installation, home: Path) -> Iterator[Mapping[Server, TritonServer]]:
    with ExitStack() as cleanup:
        servers = {}
        for server in Server:
            stage, log = home / "stage" / server, home / f"{server}.log"
            stage.mkdir(parents=True)
            starting = running_triton(installation, stage, log, name=server.value)
            servers[server] = cleanup.enter_context(starting)
        yield servers


@asynccontextmanager
async def sidecar_on(
    servers: Mapping[Server, TritonServer], store: Store, state: Path, **more: Any
) -> AsyncIterator[Inside]:
    """The sidecar as `sidecar.compose` wires it, but without REST; no work of it may crash.

    `more` are settings such as `policy={"budgets": {"cpu": "1GiB"}}`.
    """
    settings = Settings.model_validate(
        {
            "store": store.root,
            "state": state,
            "servers": {
                server: {"grpc": triton.grpc_address, "stage": triton.repository}
                for server, triton in servers.items()
            },
            "soak_s": 1.0,
            "interval_s": 0.5,
            **more,
        }
    )
    wired: asyncio.Future[Inside] = asyncio.get_running_loop().create_future()

    async def run(_app: FastAPI, world: World, loop: Loop, _settings: Settings) -> None:
        wired.set_result(Inside(world, loop))
        await loop.run()

    with pytest.MonkeyPatch.context() as patch, structlog.testing.capture_logs() as logs:
        patch.setattr(compose, "_until_stopped", run)
        running = asyncio.create_task(compose._serve(settings))
        try:
            await asyncio.wait({running, wired}, return_when="FIRST_COMPLETED")
            if running.done():
                running.result()
            inside = wired.result()
            await inside.until(lambda: inside.loop.problem is None, "the first cycle")
            yield inside
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
    assert [entry for entry in logs if entry["event"] in CRASHES] == []


@asynccontextmanager
async def client_of(server: TritonServer) -> AsyncIterator[TritonGrpc]:
    """Somebody who talks to Triton without the sidecar."""
    async with TritonGrpc(name="client", url=server.grpc_address, admin_key=None) as client:
        yield client


async def ask(client: TritonGrpc, model: str, version: int = 1) -> None:
    """One inference, checked. Raises ServerError when there is no answer."""
    answer = await client.infer(model, version, builders.request(1.0, 3.0), timeout_s=60.0)
    assert answer["y"].tolist() == [[2.0, 6.0]]
