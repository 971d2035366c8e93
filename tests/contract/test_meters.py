"""What a `ports.MemoryMeter` says: of a real tritonserver's processes and metrics, and of fakes."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract.layout import Store
from embedded.ports import free_ports
from embedded.triton import TritonServer
from sidecar.adapters.meters import CombinedMeter
from sidecar.adapters.metrics_meter import MetricsMeter
from sidecar.adapters.process_meter import ProcessMeter
from sidecar.adapters.stage import StageFolder
from sidecar.adapters.triton_grpc import TritonGrpc
from sidecar.core.faults import FaultKind, classify
from sidecar.core.memory import CPU, Device, Reading
from sidecar.core.stage_config import stage_config
from sidecar.core.wanted import Placement
from sidecar.errors import MeterFailed, Refused
from sidecar.ports import MemoryMeter, ModelServer
from tests.builders import publish
from tests.eventually import eventually
from tests.fakes.meter import FakeMeter
from tests.fakes.triton import FakeTriton
from tests.fakes.virtual_time import run_virtually
from tests.fixtures.embedded import LIVE_TIMEOUT_S, StartTriton

MODEL, OTHER = "short_form", "session"
LOAD_S = 60.0
MIB = 2**20


class Subject:
    """A server on a stage of its own, and a meter of its memory."""

    def __init__(
        self, server: ModelServer, meter: MemoryMeter, stage: StageFolder, store: Store
    ) -> None:
        self.server = server
        self.meter = meter
        self._stage = stage
        self._store = store

    async def load(self, model: str, *versions: int) -> None:
        stored = self._store.version(model, max(versions)).config.read_text()
        config = stage_config(stored, versions=versions, warmup=True)
        placement = Placement(versions=versions, lead=max(versions), config=config)
        await self._stage.write(model, placement)
        await self.server.load(model, timeout_s=LOAD_S)

    async def unload(self, model: str) -> None:
        await asyncio.sleep(0.05)
        await self.server.unload(model)

    async def reading(self) -> Reading:
        return (await self.meter.read())[CPU]


@pytest.fixture
def stage_root(tmp_path: Path) -> Path:
    root = tmp_path / "stage"
    root.mkdir()
    return root


@pytest.fixture(
    params=["fake", pytest.param("real", marks=[pytest.mark.triton, pytest.mark.timeout(300)])]
)
async def subject(
    request: pytest.FixtureRequest, stage_root: Path, example_store: Path
) -> AsyncIterator[Subject]:
    store = Store(example_store)
    stage = StageFolder(stage_root, store)
    async with AsyncExitStack() as stack:
        if request.param == "fake":
            memory = FakeMeter(
                foreign_bytes=MIB,
                bytes_of=lambda model, version: 10 * MIB * version,
                server="triton",
            )
            yield Subject(FakeTriton(stage_root, memory=memory), memory, stage, store)
        else:
            start_triton: StartTriton = request.getfixturevalue("start_triton")
            address = start_triton(stage_root).grpc_address
            client = TritonGrpc(name="triton", url=address, admin_key=None)
            await stack.enter_async_context(client)
            yield Subject(client, ProcessMeter(address), stage, store)


async def test_a_server_without_models_uses_some_of_the_machine(subject: Subject) -> None:
    reading = await subject.reading()

    assert reading.server_bytes is not None
    assert 0 <= reading.server_bytes < reading.used_bytes < reading.capacity_bytes
    assert reading.by_model == {}


async def test_a_loaded_model_is_seen_by_its_name_until_it_is_unloaded(subject: Subject) -> None:
    empty = await subject.reading()
    await subject.load(MODEL, 1)
    await subject.load(OTHER, 1)

    reading = await subject.reading()
    assert reading.by_model.keys() == {MODEL, OTHER}
    assert min(reading.by_model.values()) >= 10 * MIB
    assert reading.server_bytes >= (empty.server_bytes or 0) + reading.by_model[MODEL]
    assert reading.server_bytes >= sum(reading.by_model.values())
    assert reading.alone_by_model.keys() == reading.by_model.keys()
    for model, alone in reading.alone_by_model.items():
        assert 0 < alone <= reading.by_model[model]

    async def only_the_other_is_there() -> bool:
        return (await subject.reading()).by_model.keys() == {OTHER}

    await subject.unload(MODEL)
    await eventually(only_the_other_is_there, "the memory is given back")
    assert (await subject.reading()).server_bytes < reading.server_bytes


async def test_the_versions_of_a_model_are_added_up(subject: Subject) -> None:
    await subject.load(MODEL, 1)
    one = (await subject.reading()).by_model[MODEL]

    await subject.load(MODEL, 1, 2)

    assert (await subject.reading()).by_model[MODEL] >= one + 10 * MIB


@pytest.mark.triton
@pytest.mark.timeout(120)
async def test_a_restarted_server_is_found_again(
    start_triton: StartTriton, stage_root: Path
) -> None:
    server = start_triton(stage_root)
    meter = ProcessMeter(server.grpc_address)
    await meter.read()

    server.kill()
    with pytest.raises(MeterFailed, match="no tritonserver that this user can look into listens"):
        await meter.read()

    server.start()
    server.wait_live(LIVE_TIMEOUT_S)
    assert (await meter.read())[CPU].server_bytes


async def test_processes_of_another_machine_cannot_be_measured() -> None:
    with pytest.raises(MeterFailed, match=r"192\.0\.2\.1 is not this machine"):
        await ProcessMeter("192.0.2.1:8001").read()


async def test_a_port_where_something_else_listens_is_no_server() -> None:
    listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    async with listening:
        port = listening.sockets[0].getsockname()[1]
        with pytest.raises(MeterFailed, match=f"no tritonserver .* at localhost:{port}; start it"):
            await ProcessMeter(f"localhost:{port}").read()


@pytest.mark.triton
@pytest.mark.timeout(120)
async def test_a_real_servers_metrics_tell_the_memory_of_its_machine(
    start_triton: StartTriton, stage_root: Path
) -> None:
    server = start_triton(stage_root)
    async with MetricsMeter(metrics_url(server)) as meter:
        readings = await first_readings(meter)

    assert readings.keys() == {CPU}
    assert readings[CPU].capacity_bytes == psutil.virtual_memory().total
    assert 0 < readings[CPU].used_bytes < readings[CPU].capacity_bytes
    assert readings[CPU].server_bytes is None


@pytest.mark.triton
@pytest.mark.timeout(120)
async def test_processes_tell_more_of_the_cpu_than_metrics_do(
    start_triton: StartTriton, stage_root: Path
) -> None:
    server = start_triton(stage_root)
    async with MetricsMeter(metrics_url(server)) as metrics:
        readings = await first_readings(CombinedMeter(metrics, ProcessMeter(server.grpc_address)))

    assert readings.keys() == {CPU}
    assert readings[CPU].server_bytes


async def first_readings(meter: MemoryMeter) -> Mapping[Device, Reading]:
    """Those of the first look, which Triton takes some seconds after its start."""
    found: dict[Device, Reading] = {}

    async def measures() -> bool:
        with suppress(MeterFailed):
            found.update(await meter.read())
        return bool(found)

    await eventually(measures, "Triton has looked for the first time")
    return found


def metrics_url(server: TritonServer) -> str:
    return f"http://127.0.0.1:{server.metrics_port}/metrics"


@contextmanager
def serving(page: str, status: int = 200) -> Iterator[str]:
    """The URL of an HTTP server with one page."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/metrics"
        finally:
            server.shutdown()
            thread.join()


# The lines of a server with two GPUs, in the notation of Triton's documentation.
TWO_GPUS = """\
# HELP nv_inference_request_success Number of successful inference requests, all batch sizes
# TYPE nv_inference_request_success counter
nv_inference_request_success{model="m",version="1"} 5
# HELP nv_gpu_memory_total_bytes GPU total memory, in bytes
# TYPE nv_gpu_memory_total_bytes gauge
nv_gpu_memory_total_bytes{gpu_uuid="GPU-b"} 12884901888.000000
nv_gpu_memory_total_bytes{gpu_uuid="GPU-a"} 25769803776.000000
# HELP nv_gpu_memory_used_bytes GPU used memory, in bytes
# TYPE nv_gpu_memory_used_bytes gauge
nv_gpu_memory_used_bytes{gpu_uuid="GPU-b"} 1048576.000000
nv_gpu_memory_used_bytes{gpu_uuid="GPU-a"} 2097152.000000
"""
A = Reading(capacity_bytes=24 * 2**30, used_bytes=2 * MIB)
B = Reading(capacity_bytes=12 * 2**30, used_bytes=MIB)


@pytest.mark.parametrize(
    ("gpu_uuids", "expected"),
    [
        ((), {"gpu:0": A, "gpu:1": B}),
        (("GPU-b", "GPU-a"), {"gpu:0": B, "gpu:1": A}),
        (("GPU-b",), {"gpu:0": B, "gpu:1": A}),
        (("GPU-gone", "GPU-b"), {"gpu:1": B, "gpu:2": A}),
    ],
)
async def test_gpus_are_numbered_as_told_and_else_by_their_uuids(
    gpu_uuids: tuple[str, ...], expected: dict[str, Reading]
) -> None:
    with serving(TWO_GPUS) as url:
        async with MetricsMeter(url, gpu_uuids=gpu_uuids) as meter:
            assert await meter.read() == expected


async def test_a_device_with_half_of_its_metrics_is_absent() -> None:
    cut = [line for line in TWO_GPUS.splitlines() if not line.startswith("nv_gpu_memory_used")]
    with serving("\n".join([*cut, 'nv_gpu_memory_used_bytes{gpu_uuid="GPU-a"} 7', ""])) as url:
        async with MetricsMeter(url) as meter:
            assert (await meter.read()).keys() == {"gpu:0"}


@pytest.mark.parametrize(
    ("page", "status", "expected"),
    [
        ("nv_cpu_memory_total_bytes 0\nnv_cpu_memory_used_bytes 0\n", 200, "within 2 s of Triton"),
        ("<html>hello</html>", 200, "must be Triton's metrics page"),
        (TWO_GPUS, 503, "no metrics at http://127.*503.*start Triton with --allow-metrics=true"),
    ],
)
async def test_a_page_without_metrics_of_memory_is_named(
    page: str, status: int, expected: str
) -> None:
    with serving(page, status) as url:
        async with MetricsMeter(url) as meter:
            with pytest.raises(MeterFailed, match=expected):
                await meter.read()


async def test_an_unreachable_page_is_named_and_fails_the_whole_meter() -> None:
    (port,) = free_ports(1)
    async with MetricsMeter(f"http://127.0.0.1:{port}/metrics") as metrics:
        with pytest.raises(MeterFailed, match=f"no metrics at http://127.0.0.1:{port}/metrics"):
            await CombinedMeter(metrics, FakeMeter()).read()


async def test_of_a_device_that_two_measure_the_last_word_counts() -> None:
    gpu, first = FakeMeter(capacity_bytes=1, device="gpu:0"), FakeMeter(capacity_bytes=2)
    readings = await CombinedMeter(gpu, first, FakeMeter(capacity_bytes=3)).read()

    found = {device: reading.capacity_bytes for device, reading in readings.items()}
    assert found == {"gpu:0": 1, CPU: 3}


class Fakes:
    """Two servers that share a device of 30 MiB, of which 5 are foreign.

    A version holds 10 MiB, and 15 while it loads.
    """

    def __init__(self, root: Path, **settings: Any) -> None:
        self.store = Store(root / "store")
        self.memory = FakeMeter(
            capacity_bytes=30 * MIB,
            foreign_bytes=5 * MIB,
            bytes_of=lambda *_: 10 * MIB,
            peak_of=lambda *_: 15 * MIB,
            **settings,
        )
        self.serving, self.canary = (self._started(root / name) for name in ("serving", "canary"))

    def _started(self, root: Path) -> Subject:
        root.mkdir()
        server = FakeTriton(root, name=root.name, load_s=1.0, unload_s=1.0, memory=self.memory)
        return Subject(server, self.memory, StageFolder(root, self.store), self.store)

    def publish(self, *models: str, **behaviour: Any) -> None:
        for model in models:
            publish(self.store, model, **behaviour)


def test_a_fake_load_holds_its_peak_until_it_is_done(tmp_path: Path) -> None:
    async def story() -> None:
        fakes = Fakes(tmp_path)
        fakes.publish("m")
        loading = asyncio.create_task(fakes.serving.load("m", 1))
        await asyncio.sleep(0.5)
        assert (await fakes.serving.reading()).by_model == {"m": 15 * MIB}
        await loading

        await fakes.serving.unload("m")
        await asyncio.sleep(0.5)
        assert await fakes.serving.reading() == Reading(
            capacity_bytes=30 * MIB,
            used_bytes=15 * MIB,
            server_bytes=10 * MIB,
            by_model={"m": 10 * MIB},
            alone_by_model={"m": 10 * MIB},
        )
        await asyncio.sleep(1)
        assert (await fakes.serving.reading()).used_bytes == 5 * MIB

    run_virtually(story())


def test_a_fake_load_that_has_no_room_is_refused_as_out_of_memory(tmp_path: Path) -> None:
    async def story() -> None:
        fakes = Fakes(tmp_path)
        fakes.publish("m", "n")
        await fakes.canary.load("m", 1)

        with pytest.raises(Refused, match="version 1 is at UNAVAILABLE state") as refused:
            await asyncio.gather(fakes.serving.load("m", 1), fakes.serving.load("n", 1))
        assert classify(str(refused.value), lost=False) is FaultKind.OUT_OF_MEMORY
        await asyncio.sleep(1)
        reading = await fakes.serving.reading()
        assert (reading.used_bytes, reading.server_bytes) == (25 * MIB, 10 * MIB)

    run_virtually(story())


def test_a_fake_load_that_fails_or_whose_server_dies_gives_its_memory_back(tmp_path: Path) -> None:
    async def story() -> None:
        fakes = Fakes(tmp_path)
        fakes.publish("m")
        fakes.publish("bad", broken="Internal: no")
        with pytest.raises(Refused, match="Internal: no"):
            await fakes.serving.load("bad", 1)
        assert fakes.memory.used_bytes == 5 * MIB

        await fakes.serving.load("m", 1)
        fakes.serving.server.kill()
        assert fakes.memory.used_bytes == 5 * MIB

    run_virtually(story())


async def test_a_fake_meter_fails_as_told_and_may_see_no_processes() -> None:
    meter = FakeMeter(
        capacity_bytes=2, foreign_bytes=1, sees_processes=False, faults=["measure: refused 'no'"]
    )
    with pytest.raises(MeterFailed, match="no"):
        await meter.read()
    assert await meter.read() == {CPU: Reading(capacity_bytes=2, used_bytes=1)}
