"""One Triton as two servers: on the real tritonserver and on the fake.

Stages are written from the example's store.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from contract.config import parse_config
from contract.layout import Store
from contract.samples import read_golden
from embedded.triton import TritonServer
from sidecar.adapters.model_store import StoreFolder
from sidecar.adapters.process_meter import ProcessMeter
from sidecar.adapters.shadow import ShadowMeter, StoreBesideShadows, TwoInOne
from sidecar.adapters.triton_grpc import TritonGrpc
from sidecar.core.fleet import Server, VersionState
from sidecar.core.memory import CPU, Reading
from sidecar.core.stage_config import stage_config
from sidecar.core.trial import Served
from sidecar.core.wanted import Placement
from sidecar.errors import Refused
from sidecar.ports import ModelServer
from tests import builders
from tests.contract.test_model_server import Process, RealProcess
from tests.eventually import eventually
from tests.fakes.triton import FakeTriton
from tests.fixtures.embedded import StartTriton
from tests.fixtures.example import config_of

MODEL, SHADOW = "short_form", "short_form--v2"
SERVING, CANARY = Server.SERVING, Server.CANARY
READY, UNAVAILABLE = VersionState.READY, VersionState.UNAVAILABLE
LOAD_S, QUERY_S = 60.0, 30.0
REST_S = 0.05


class Subject:
    """A Triton, and what one sidecar makes of it."""

    def __init__(self, triton: ModelServer, process: Process, root: Path, store: Store) -> None:
        self.triton = triton
        self.process = process
        self.root = root
        self.store = store
        self.parts = TwoInOne.on(triton, root, store)

    def restarted(self) -> "Subject":
        """As another sidecar finds it."""
        return Subject(self.triton, self.process, self.root, self.store)

    async def load(self, server: Server, *versions: int) -> Placement:
        """Hold exactly these versions there; with warm-up where traffic is."""
        placed = self.placed(*versions, warmup=server is SERVING)
        await self.parts.stages[server].write(MODEL, placed)
        await self.parts.servers[server].load(MODEL, timeout_s=LOAD_S)
        return placed

    def placed(self, *versions: int, warmup: bool = False) -> Placement:
        lead = max(versions)
        stored = config_of(self.store, MODEL, lead)
        config = stage_config(stored, versions=versions, warmup=warmup)
        return Placement(versions=versions, lead=lead, config=config)

    async def warmed(self) -> None:
        """Return when the warm-up of version 1 is counted on serving, and no more."""
        config = parse_config(config_of(self.store, MODEL, 1), MODEL)
        requests = sum(sample.batch_size for sample in config.model_warmup)

        async def is_counted() -> bool:
            return await self.parts.servers[SERVING].requests_served() == {MODEL: {1: requests}}

        await eventually(is_counted, f"{requests} requests are counted")

    async def states(self, server: Server) -> Mapping[int, VersionState]:
        return (await self.parts.servers[server].index()).get(MODEL, {})

    async def ask(self, server: Server, version: int) -> None:
        sample = read_golden(self.store.version(MODEL, version).golden)[0]
        answer = await self.parts.servers[server].infer(
            MODEL, version, sample.inputs, timeout_s=QUERY_S
        )
        assert answer.keys() == sample.outputs.keys()

    async def remove(self, server: Server) -> None:
        await asyncio.sleep(REST_S)
        await self.parts.servers[server].unload(MODEL)

        async def is_gone() -> bool:
            return set((await self.states(server)).values()) <= {UNAVAILABLE}

        await eventually(is_gone, f"{MODEL} is unloaded on {server}")
        await self.parts.stages[server].clear(MODEL)


@pytest.fixture(
    params=["fake", pytest.param("real", marks=[pytest.mark.triton, pytest.mark.timeout(300)])]
)
async def subject(
    request: pytest.FixtureRequest, tmp_path: Path, example_store: Path
) -> AsyncIterator[Subject]:
    root, store = tmp_path / "stage", Store(example_store)
    root.mkdir()
    if request.param == "fake":
        fake = FakeTriton(root)
        yield Subject(fake, fake, root, store)
        assert fake.violations == []
        return
    start_triton: StartTriton = request.getfixturevalue("start_triton")
    async with real(start_triton(root), root, store) as found:
        yield found


@asynccontextmanager
async def real(server: TritonServer, root: Path, store: Store) -> AsyncIterator[Subject]:
    async with TritonGrpc(name="serving", url=server.grpc_address, admin_key=None) as client:
        yield Subject(client, RealProcess(server), root, store)


async def test_a_shadow_is_staged_beside_its_model_under_a_name_of_its_own(
    subject: Subject,
) -> None:
    serving = subject.placed(1, warmup=True)
    await subject.parts.stages[SERVING].write(MODEL, serving)
    placed = subject.placed(2)
    await subject.parts.stages[CANARY].write(MODEL, placed)

    assert {path.name for path in subject.root.iterdir()} == {MODEL, SHADOW}
    folder = subject.root / SHADOW
    staged = parse_config((folder / "config.pbtxt").read_text(), SHADOW)
    assert staged.name == SHADOW
    assert (folder / "2").resolve() == subject.store.version(MODEL, 2).path.resolve()
    for found in (subject, subject.restarted()):
        assert await found.parts.stages[CANARY].read() == {MODEL: placed.config}
        assert await found.parts.stages[SERVING].read() == {MODEL: serving.config}


async def test_a_version_is_asked_on_canary_while_another_takes_traffic(subject: Subject) -> None:
    await subject.load(SERVING, 1)
    await subject.warmed()
    before = subject.process.executions(MODEL, 1)
    await subject.load(CANARY, 2)

    assert await subject.states(SERVING) == {1: READY}
    assert await subject.states(CANARY) == {2: READY}
    await subject.ask(CANARY, 2)
    with pytest.raises(Refused, match=f"'{MODEL}' version 2 is not found"):
        await subject.ask(SERVING, 2)
    with pytest.raises(Refused, match=f"'{SHADOW}' version 1 is not found"):
        await subject.ask(CANARY, 1)
    assert subject.process.executions(MODEL, 1) == before


async def test_requests_to_a_shadow_are_not_counted_as_those_of_clients(subject: Subject) -> None:
    await subject.load(SERVING, 1)
    await subject.load(CANARY, 2)
    await subject.warmed()
    before = (await subject.parts.servers[SERVING].requests_served())[MODEL]

    await subject.ask(CANARY, 2)

    async def is_counted() -> bool:
        return await subject.parts.servers[CANARY].requests_served() == {MODEL: {2: 1}}

    await eventually(is_counted, "the shadow's request is counted")
    assert await subject.parts.servers[CANARY].served(MODEL) == {2: Served(succeeded=1)}
    assert await subject.parts.servers[SERVING].requests_served() == {MODEL: before}


async def test_a_shadow_holds_the_base_beside_the_candidate(subject: Subject) -> None:
    await subject.load(CANARY, 2)
    await subject.load(CANARY, 1, 2)

    assert await subject.states(CANARY) == {1: READY, 2: READY}
    await subject.ask(CANARY, 1)
    await subject.ask(CANARY, 2)


async def test_a_version_that_takes_the_place_of_another_leaves_nothing_behind(
    subject: Subject,
) -> None:
    """Triton forgets to list what lost its folder: it would hold the memory for ever."""
    await subject.load(CANARY, 2)
    await asyncio.sleep(REST_S)
    placed = await subject.load(CANARY, 3)

    async def is_replaced() -> bool:
        return await subject.states(CANARY) == {2: UNAVAILABLE, 3: READY}

    await eventually(is_replaced, "version 3 is there instead of 2")
    assert await subject.parts.stages[CANARY].read() == {MODEL: placed.config}

    await subject.remove(CANARY)
    assert list(subject.root.iterdir()) == []

    async def is_forgotten() -> bool:
        return await subject.triton.requests_served() == {}

    await eventually(is_forgotten, "nothing is counted any more")


async def test_a_shadow_goes_and_its_model_serves_on(subject: Subject) -> None:
    await subject.load(SERVING, 1)
    await subject.warmed()
    before = subject.process.executions(MODEL, 1)
    await subject.load(CANARY, 2)

    await subject.remove(CANARY)

    assert [path.name for path in subject.root.iterdir()] == [MODEL]
    assert await subject.states(CANARY) == {}
    assert await subject.states(SERVING) == {1: READY}
    assert subject.process.executions(MODEL, 1) == before


async def test_unloading_a_shadow_that_is_not_there_does_nothing_to_its_model(
    subject: Subject,
) -> None:
    await subject.load(SERVING, 1)
    await asyncio.sleep(REST_S)

    await subject.parts.servers[CANARY].unload(MODEL)
    await subject.parts.stages[CANARY].clear(MODEL)

    assert await subject.states(SERVING) == {1: READY}
    await subject.ask(SERVING, 1)


async def test_another_sidecar_finds_the_shadow_again(subject: Subject) -> None:
    await subject.load(SERVING, 1)
    await subject.load(CANARY, 2)
    later = subject.restarted()

    assert (await later.parts.stages[CANARY].read()).keys() == {MODEL}

    assert await later.states(CANARY) == {2: READY}
    await later.ask(CANARY, 2)
    await later.remove(CANARY)
    assert await later.states(SERVING) == {1: READY}


async def test_a_corrupt_version_fails_as_a_shadow_and_its_model_serves_on(
    subject: Subject,
) -> None:
    await subject.load(SERVING, 1)
    if isinstance(subject.process, FakeTriton):
        subject.process.add_faults("load: fails 'Internal: onnx runtime error 7: no'")

    with pytest.raises(Refused, match=r"load failed for model 'short_form--v5': version 5 is at"):
        await subject.load(CANARY, 5)

    assert await subject.states(CANARY) == {5: UNAVAILABLE}
    assert await subject.states(SERVING) == {1: READY}
    await subject.ask(SERVING, 1)


async def test_the_next_shadow_is_named_by_its_own_version(subject: Subject) -> None:
    await subject.load(CANARY, 2)
    await subject.remove(CANARY)

    await subject.load(CANARY, 3)

    assert [path.name for path in subject.root.iterdir()] == [f"{MODEL}--v3"]
    await subject.ask(CANARY, 3)


async def test_who_looks_at_the_stage_while_it_is_written_loses_no_shadow(
    tmp_path: Path, example_store: Path
) -> None:
    fake = FakeTriton(tmp_path)
    subject = Subject(fake, fake, tmp_path, Store(example_store))
    stage, placed = subject.parts.stages[CANARY], subject.placed(2)

    for _ in range(50):
        await asyncio.gather(stage.read(), stage.write(MODEL, placed))
        await subject.parts.servers[CANARY].load(MODEL, timeout_s=LOAD_S)
        await subject.remove(CANARY)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """With the models m, m--v2 and m--v2x."""
    found = Store(tmp_path / "store")
    for name in ("m", "m--v2", "m--v2x"):
        builders.publish(found, name)
    return found


async def test_a_model_that_is_named_like_a_shadow_is_left_out_with_the_reason(
    store: Store,
) -> None:
    beside = StoreBesideShadows(store, {})

    for found in (await beside.scan(), await beside.known(), await beside.known()):
        models, (problem,) = found
        assert models.keys() == {"m", "m--v2x"}
        assert problem == (
            "m--v2 is left out: on a server without a canary beside it, that is the name of a "
            "shadow of m; rename the model, or give the sidecar a canary in `servers`"
        )
    models, problems = await StoreFolder(store, {}).scan()
    assert models.keys() == {"m", "m--v2", "m--v2x"}
    assert problems == ()


class SaidMeter:
    async def read(self) -> Mapping[str, Reading]:
        return {
            CPU: Reading(
                capacity_bytes=100,
                used_bytes=90,
                server_bytes=80,
                by_model={"m": 30, "m--v2": 20, "other": 5},
                alone_by_model={"m": 25, "m--v2": 15, "other": 5},
            ),
            "gpu:0": Reading(capacity_bytes=100, used_bytes=50),
        }


async def test_memory_of_a_shadow_is_that_of_its_own_processes_and_not_the_servers() -> None:
    assert await ShadowMeter(SaidMeter()).read() == {
        CPU: Reading(
            capacity_bytes=100, used_bytes=90, by_model={"m": 20}, alone_by_model={"m": 15}
        ),
        "gpu:0": Reading(capacity_bytes=100, used_bytes=50),
    }


@pytest.mark.triton
@pytest.mark.timeout(300)
async def test_processes_of_a_real_shadow_are_told_from_those_of_its_model(
    start_triton: StartTriton, tmp_path: Path, example_store: Path
) -> None:
    server = start_triton(tmp_path)
    async with real(server, tmp_path, Store(example_store)) as subject:
        await subject.load(SERVING, 1)
        await subject.load(CANARY, 2)
        meter = ProcessMeter(server.grpc_address)

        everything = (await meter.read())[CPU].by_model
        shadows = (await ShadowMeter(meter).read())[CPU].by_model

        assert everything.keys() == {MODEL, SHADOW}
        assert shadows[MODEL] == pytest.approx(everything[SHADOW], rel=0.2)
