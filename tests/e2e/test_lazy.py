"""Programs that speak to Triton itself, with each of its four clients: what is cold is loaded."""

import asyncio
from types import ModuleType
from typing import Any

import pytest
from tritonclient import grpc as over_grpc
from tritonclient import http as over_http
from tritonclient.grpc import aio as awaited_over_grpc
from tritonclient.http import aio as awaited_over_http

from contract.dtypes import datatype_of
from contract.samples import GoldenSample
from pilotlight.client import AsyncClient, Client, NotFound
from pilotlight.client.lazy import NotLoaded, on_demand
from tests.e2e.conftest import WITHIN_S, Running

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

COLD = "session"


def inputs(library: ModuleType, sample: GoldenSample) -> list[Any]:
    made = []
    for name, array in sample.inputs.items():
        made.append(library.InferInput(name, list(array.shape), datatype_of(array).value))
        made[-1].set_data_from_numpy(array)
    return made


def unload(sidecar: Client) -> None:
    sidecar.operations.wait(sidecar.models.unload(COLD), timeout_s=WITHIN_S)


def test_each_of_tritons_clients_gets_an_answer_of_a_cold_model(running: Running) -> None:
    serving = running.stack.serving
    addresses = {
        over_grpc: serving.grpc_address,
        over_http: f"127.0.0.1:{serving.http_port}",
        awaited_over_grpc: serving.grpc_address,
        awaited_over_http: f"127.0.0.1:{serving.http_port}",
    }
    (sample, *_) = running.shelf.golden(COLD)
    with Client(running.stack.url) as sidecar:
        for library in (over_grpc, over_http):
            assert sidecar.models.get(COLD).ready_versions == ()
            with library.InferenceServerClient(addresses[library]) as triton:
                lazy = on_demand(triton, sidecar)
                assert lazy.get_model_metadata(COLD)
                assert lazy.infer(COLD, inputs(library, sample)).get_response()
            unload(sidecar)
        for library in (awaited_over_grpc, awaited_over_http):
            asyncio.run(awaited(library, addresses[library], running.stack.url, sample))
            unload(sidecar)


async def awaited(library: ModuleType, address: str, url: str, sample: GoldenSample) -> None:
    async with AsyncClient(url) as sidecar, library.InferenceServerClient(address) as triton:
        lazy = on_demand(triton, sidecar)
        asked = (lazy.infer(COLD, inputs(library, sample)) for _ in range(3))
        assert all(found.get_response() for found in await asyncio.gather(*asked))
        with pytest.raises(NotLoaded, match=f"did you mean '{COLD}'") as told:
            await lazy.infer(f"{COLD}s", [])
        assert isinstance(told.value.__cause__, NotFound)
