"""What goes wrong with models and memory on real servers, and what becomes of it."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from contract.layout import ONNX_MODEL, Store, VersionFolder
from embedded.provision import Installation
from embedded.triton import TritonServer
from sidecar.adapters.stage import StageFolder
from sidecar.core.activation import Heat
from sidecar.core.faults import FaultKind
from sidecar.core.fleet import Mode, Server
from sidecar.core.stage_config import stage_config
from sidecar.core.wanted import Placement
from sidecar.errors import DoesNotFit, Quarantined, Refused, TooLate
from tests.e2e.conftest import all_served_before
from tests.e2e.inside import (
    CANARY,
    MIB,
    SERVING,
    Inside,
    ask,
    client_of,
    publish,
    sidecar_on,
    two_servers,
)
from tests.eventually import eventually

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

WAIT_S = 60.0
DRIFT_S = 60.0
# As `tests/contract/test_fault_texts.py` does it: the process really has no memory.
OUT_OF_MEMORY = (
    "if os.path.exists({flag!r}):\n"
    "            pages = int(open('/proc/self/statm').read().split()[0])\n"
    "            limit = pages * resource.getpagesize() + 2**26\n"
    "            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))\n"
    "            bytes(2**30)"
)

LOADS_WHILE = "while os.path.exists({closed!r}): time.sleep(0.02)"

Servers = Mapping[Server, TritonServer]


@pytest.fixture
def servers(installation: Installation, tmp_path: Path) -> Iterator[Servers]:
    with two_servers(installation, tmp_path) as started:
        yield started
        assert [server.is_running for server in started.values()] == [True, True]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """While this file is there, a load of the slow model goes on."""
    file = tmp_path / "closed"
    file.touch()
    return file


async def answered(inside: Inside, servers: Servers, model: str) -> None:
    """Ask for it, and then Triton itself; nothing is being done for it any more after that."""
    await inside.requests.ensure(model, timeout_s=WAIT_S)
    async with client_of(servers[SERVING]) as client:
        await ask(client, model)
    await inside.at_rest()


def garbage(folder: VersionFolder) -> None:
    (folder.path / ONNX_MODEL).write_bytes(b"nothing of the kind")


def no_file(folder: VersionFolder) -> None:
    (folder.path / ONNX_MODEL).unlink()


@pytest.mark.parametrize(
    ("damage", "kind"), [(garbage, FaultKind.CORRUPT), (no_file, FaultKind.MISSING_FILE)]
)
async def test_a_file_that_is_damaged_after_it_was_published_sets_its_model_aside_alone(
    servers: Servers,
    store: Store,
    state: Path,
    damage: Callable[[VersionFolder], None],
    kind: FaultKind,
) -> None:
    for name in ("good", "damaged"):
        publish(store, name)
    damage(store.version("damaged", 1))
    await all_served_before(store, state)
    async with sidecar_on(servers, store, state) as inside:
        await answered(inside, servers, "good")
        with pytest.raises(Quarantined, match="damaged is in quarantine: "):
            await inside.requests.ensure("damaged", timeout_s=WAIT_S)

        quarantine = inside.seen.quarantine["damaged"]
        assert quarantine.kind is kind
        assert (quarantine.until_s is None) is (kind is FaultKind.CORRUPT), "it cannot heal"
        assert len(await inside.events("load_failed", model="damaged")) == 3
        await answered(inside, servers, "good")


async def test_a_damaged_file_of_a_model_that_never_served_is_found_before_any_load(
    servers: Servers, store: Store, state: Path
) -> None:
    publish(store, "damaged")
    garbage(store.version("damaged", 1))
    async with sidecar_on(servers, store, state) as inside:
        with pytest.raises(Quarantined, match=r"model.onnx has 19 bytes, the manifest says"):
            await inside.requests.ensure("damaged", timeout_s=WAIT_S)

        assert await inside.events("model_loaded", "load_failed") == []


async def test_of_three_who_wait_for_a_slow_load_one_gives_up_and_two_are_answered(
    servers: Servers, store: Store, state: Path, closed: Path
) -> None:
    publish(store, "slow", initialize=LOADS_WHILE.format(closed=str(closed)))
    await all_served_before(store, state)
    async with sidecar_on(servers, store, state) as inside:
        first = await waiting_for_slow(inside)
        second = await waiting_for_slow(inside)
        with pytest.raises(TooLate, match="slow was not loaded within 1 s; the load goes on"):
            await inside.requests.ensure("slow", timeout_s=1.0)

        let_end(closed)
        assert (await first, await second) == (Heat.COLD, Heat.JOINED)
        await answered(inside, servers, "slow")
        assert len(await inside.events("model_loaded", "load_failed")) == 1


async def test_a_load_goes_on_although_all_who_waited_gave_up(
    servers: Servers, store: Store, state: Path, closed: Path
) -> None:
    publish(store, "slow", initialize=LOADS_WHILE.format(closed=str(closed)))
    await all_served_before(store, state)
    async with sidecar_on(servers, store, state) as inside:
        leaves = await waiting_for_slow(inside)
        await inside.until(lambda: (SERVING, "slow") in inside.seen.busy, "the load has begun")
        with pytest.raises(TooLate):
            await inside.requests.ensure("slow", timeout_s=0.5)
        leaves.cancel()
        await inside.until(lambda: inside.world.waiting.count("slow") == 0, "nobody waits")
        let_end(closed)
        await inside.until(lambda: inside.answers("slow"), "it was loaded all the same")

        assert len(await inside.events("model_loaded")) == 1


def let_end(closed: Path) -> None:
    """The loads that go on while this file is there."""
    closed.unlink()


async def waiting_for_slow(inside: Inside) -> asyncio.Task[Heat]:
    """One more who waits for the model."""
    before = inside.world.waiting.count("slow")
    asking = asyncio.create_task(inside.requests.ensure("slow", timeout_s=WAIT_S))
    await inside.until(lambda: inside.world.waiting.count("slow") > before, "one more waits")
    return asking


async def test_a_model_that_is_larger_than_the_budget_is_refused_with_the_numbers(
    servers: Servers, store: Store, state: Path
) -> None:
    publish(store, "small", held_mib=80)
    publish(store, "large", held_mib=2000)
    await all_served_before(store, state)
    policy = {"budgets": {"cpu": "500MiB"}}
    async with sidecar_on(servers, store, state, policy=policy) as inside:
        await answered(inside, servers, "small")
        with pytest.raises(DoesNotFit) as refused:
            await inside.requests.ensure("large", timeout_s=WAIT_S)

        members = refused.value.members
        assert (members["device"], members["needed_bytes"]) == ("cpu", 2000 * MIB)
        held_bytes = 450 * MIB - members["free_bytes"]  # type: ignore[operator]
        assert 0.5 * held_bytes < members["evictable_bytes"] <= held_bytes  # type: ignore[operator]
        await answered(inside, servers, "small")
        assert await inside.events("model_evicted") == []


async def test_nobody_goes_for_a_model_whose_gpu_the_machine_lacks(
    servers: Servers, store: Store, state: Path
) -> None:
    publish(store, "small", held_mib=80)
    publish(store, "cuda", held_mib=80)
    config = store.version("cuda", 1).config
    config.write_text(config.read_text().replace("KIND_CPU", "KIND_GPU gpus: 1"))
    await all_served_before(store, state)
    async with sidecar_on(servers, store, state, policy={"budgets": {"cpu": "150MiB"}}) as inside:
        await answered(inside, servers, "small")
        with pytest.raises(Quarantined, match="a restart of the server, a newer version or"):
            await inside.requests.ensure("cuda", timeout_s=WAIT_S)

        quarantine = inside.seen.quarantine["cuda"]
        assert (quarantine.kind, quarantine.until_s) == (FaultKind.NO_GPU, None)
        await answered(inside, servers, "small")
        assert await inside.events("model_evicted") == []


async def test_real_want_of_memory_evicts_tries_once_more_and_then_the_model_rests(
    servers: Servers, store: Store, state: Path, tmp_path: Path
) -> None:
    flag = tmp_path / "there-is-no-memory"
    flag.touch()
    publish(store, "idle")
    publish(store, "greedy", held_mib=30, initialize=OUT_OF_MEMORY.format(flag=str(flag)))
    await all_served_before(store, state)
    async with sidecar_on(servers, store, state) as inside:
        await answered(inside, servers, "idle")
        with pytest.raises(Quarantined, match=r"greedy is in quarantine.*MemoryError"):
            await inside.requests.ensure("greedy", timeout_s=WAIT_S)

        (evicted,) = await inside.events("model_evicted")
        assert evicted.model == "idle"
        assert evicted.detail["reason"] == (
            "evicted for greedy, for which the server had no memory"
        )
        assert len(await inside.events("load_failed", model="greedy")) == 2
        quarantine = inside.seen.quarantine["greedy"]
        assert quarantine.kind is FaultKind.OUT_OF_MEMORY
        assert quarantine.until_s is not None

        flag.unlink()
        await inside.requests.unquarantine("greedy", actor="ann")
        await answered(inside, servers, "greedy")
        await answered(inside, servers, "idle")


async def test_a_warm_up_that_fails_on_canary_never_reaches_the_serving_server(
    servers: Servers, store: Store, state: Path
) -> None:
    publish(store, "careless", initialize="pass", warmup_x=(1.0, 1000.0))
    publish(store, "good")
    async with sidecar_on(servers, store, state) as inside:
        with pytest.raises(Quarantined, match="x is above 100"):
            await inside.requests.ensure("careless", timeout_s=WAIT_S)

        (loaded,) = await inside.events("model_loaded")
        assert (loaded.model, loaded.server) == ("careless", CANARY)
        async with client_of(servers[SERVING]) as client:
            with pytest.raises(Refused, match="careless"):
                await ask(client, "careless")
        await answered(inside, servers, "good")


async def test_a_model_that_somebody_else_unloads_is_back_within_seconds(
    servers: Servers, store: Store, state: Path
) -> None:
    for name in ("m", "other"):
        publish(store, name)
    await all_served_before(store, state)
    async with sidecar_on(servers, store, state) as inside:
        for name in ("m", "other"):
            await answered(inside, servers, name)
        async with client_of(servers[SERVING]) as stranger:
            await stranger.unload("m")
            await inside.until(lambda: not inside.answers("m"), "it is noticed", DRIFT_S)
            await inside.until(lambda: inside.answers("m"), "it is put right", DRIFT_S)
            await ask(stranger, "m")

        (drift,) = await inside.events("drift")
        assert (drift.model, drift.detail["kind"]) == ("m", "unloaded")


async def test_a_model_that_somebody_else_loads_is_gone_within_seconds(
    servers: Servers, store: Store, state: Path
) -> None:
    for name in ("m", "unwanted"):
        publish(store, name)
    await all_served_before(store, state)
    async with sidecar_on(servers, store, state, policy={"prewarm": False}) as inside:
        await answered(inside, servers, "m")
        await inside.requests.set_mode(Mode.PAUSED, actor="ann")
        await inside.until(lambda: inside.seen.mode is Mode.PAUSED, "it looks on")
        async with client_of(servers[SERVING]) as stranger:
            await smuggle(store, "unwanted", servers[SERVING].repository)
            await stranger.load("unwanted", timeout_s=WAIT_S)
            await ask(stranger, "unwanted")
            await inside.requests.set_mode(Mode.RUNNING, actor="ann")

            async def is_gone() -> bool:
                index = await stranger.index()
                staged = [path.name for path in servers[SERVING].repository.iterdir()]
                return "unwanted" not in index and staged == ["m"]

            await eventually(is_gone, "it is put right", DRIFT_S)
            await ask(stranger, "m")


async def smuggle(store: Store, model: str, repository: Path) -> None:
    """Put version 1 into a server's repository past its sidecar."""
    text = store.version(model, 1).config.read_text()
    config = stage_config(text, versions=(1,), warmup=True)
    placed = Placement(versions=(1,), lead=1, config=config)
    await StageFolder(repository, store).write(model, placed)
