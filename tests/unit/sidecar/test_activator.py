"""The activator over a whole sidecar on fake servers."""

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import httpx2
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from sidecar.activator.serve import Activator
from sidecar.core.fleet import Server
from tests.builders import publish
from tests.unit.sidecar.activated import ANY_PORT, PATIENCE_S, NoSamples
from tests.unit.sidecar.rig import Rig


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    rig.query_timeout_s = PATIENCE_S
    publish(rig.store, "c", 1)
    rig.start()
    await rig.ready()
    yield rig
    await rig.sidecar.die()


@pytest.fixture
async def activator(rig: Rig) -> AsyncIterator[Activator]:
    async with Activator(
        rig.sidecar.hold(), NoSamples(), http=ANY_PORT, grpc=ANY_PORT
    ) as activator:
        yield activator


async def test_a_cold_model_is_loaded_for_its_first_request(rig: Rig, activator: Activator) -> None:
    assert rig.loaded(Server.SERVING, "c") == []
    host, port = activator.http
    address = f"http://{host}:{port}"
    async with httpx2.AsyncClient(base_url=address, timeout=PATIENCE_S) as client:
        answer = await client.post("/v2/models/c/infer", json={"inputs": []})

    assert (answer.status_code, answer.headers["x-pilotlight-again"]) == (503, "1")
    assert answer.headers["x-warmth"] == "cold"
    assert rig.loaded(Server.SERVING, "c") == [{1}]


async def test_a_model_that_is_not_in_the_store_is_refused(rig: Rig, activator: Activator) -> None:
    host, port = activator.grpc
    async with grpc.aio.insecure_channel(f"{host}:{port}") as channel:
        triton = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError, match="unknown model: 'x' is not found"):
            await triton.ModelInfer(service_pb2.ModelInferRequest(model_name="x"))
        ready = await triton.ModelReady(service_pb2.ModelReadyRequest(name="c"))

    assert ready.ready
    assert rig.loaded(Server.SERVING, "c") == []
