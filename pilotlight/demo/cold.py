"""What a first user meets at a plain Triton: no warm-up, loaded on demand."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tritonclient import grpc as triton_grpc

from contract.samples import GoldenSample
from embedded.ports import free_ports
from embedded.provision import Installation
from embedded.triton import TritonServer
from pilotlight.demo.clients import GrpcClient, steady_ms
from pilotlight.demo.shelf import Shelf
from sidecar.adapters.stage import StageFolder
from sidecar.core.stage_config import stage_config
from sidecar.core.wanted import Placement


@dataclass(frozen=True, slots=True)
class ColdStart:
    """Seconds to load, then milliseconds of the first request and of a steady one."""

    load_s: float
    first_ms: float
    steady_ms: float


def measure_cold(
    installation: Installation, shelf: Shelf, requests: Mapping[str, GoldenSample], home: Path
) -> dict[str, ColdStart]:
    """Load each model without `model_warmup`, its files not in the page cache, and ask once."""
    stage = home / "plain"
    stage.mkdir(parents=True)
    folder = StageFolder(stage, shelf.store)
    for model in requests:
        stored = shelf.store.version(model, 1).config.read_text()
        config = stage_config(stored, versions=(1,), warmup=False)
        asyncio.run(folder.write(model, Placement(versions=(1,), lead=1, config=config)))
    http_port, grpc_port, metrics_port = free_ports(3)
    server = TritonServer(
        installation=installation,
        name="plain",
        repository=stage,
        log=home / "logs" / "plain.log",
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
    )
    server.start()
    try:
        server.wait_live(60)
        return {
            model: _measure(server, shelf, model, request) for model, request in requests.items()
        }
    finally:
        server.stop()


def _measure(server: TritonServer, shelf: Shelf, model: str, request: GoldenSample) -> ColdStart:
    shelf.drop_from_page_cache(model)
    with triton_grpc.InferenceServerClient(server.grpc_address) as control:
        began_s = time.perf_counter()
        control.load_model(model)
        load_s = time.perf_counter() - began_s
    client = GrpcClient(server.grpc_address)
    try:
        first_ms = 1000 * client.infer(model, request.inputs).seconds
        return ColdStart(load_s, first_ms, steady_ms(client, model, request.inputs))
    finally:
        client.close()
