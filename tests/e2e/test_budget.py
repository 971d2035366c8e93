"""Thirty models compete for memory that holds a third of them, under random traffic."""

import asyncio
import random
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

import psutil
import pytest

from contract.layout import Store
from embedded.provision import Installation
from embedded.triton import TritonServer
from sidecar.adapters.triton_grpc import TritonGrpc
from sidecar.core.ledger import Hold
from sidecar.errors import Refused
from tests.e2e.conftest import all_served_before
from tests.e2e.inside import (
    MIB,
    SERVING,
    Inside,
    ask,
    client_of,
    publish,
    sidecar_on,
    two_servers,
)

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

EVICTIONS = 15
WITHIN_S = 120.0
CLIENTS = 6
THINK_S = 0.15
ENSURE_S = 90.0
SAMPLE_S = 0.2
ZIPF = 1.1

MODELS = tuple(f"m{number:02}" for number in range(30))
WEIGHTS_MIB = (4, 8, 12)
# A stub alone holds 50 MiB of its own and five times these weights.
STUB_MIB, PER_WEIGHT = 52, 5
BUDGET_MIB = 1000
"""A tenth of it is headroom: what a load takes beyond what it will hold, and what is late."""
DRIFT_MIB = 16
"""By which what loaded models hold may grow, as it is measured again. The smallest is larger."""


@dataclass
class Traffic:
    """What clients saw."""

    waits_s: list[float] = field(default_factory=list)
    hits: int = 0
    races: int = 0
    failed: list[str] = field(default_factory=list)

    @property
    def requests(self) -> int:
        return len(self.waits_s)


@dataclass(frozen=True)
class Sample:
    """Bytes at one moment; `measured` is what the server's children really hold."""

    measured: int
    held: int
    promised: int
    limit: int


async def one_client(
    inside: Inside, triton: TritonGrpc, chance: random.Random, traffic: Traffic
) -> None:
    """Ask the sidecar for a model, then Triton for an answer; who is evicted between asks again."""
    shares = list(accumulate(1 / rank**ZIPF for rank in range(1, len(MODELS) + 1)))
    while True:
        model = chance.choices(MODELS, cum_weights=shares)[0]
        was_there = inside.answers(model)
        began_s = time.monotonic()
        try:
            await inside.requests.ensure(model, timeout_s=ENSURE_S)
            waited_s = time.monotonic() - began_s
            while not await is_answered(triton, model):
                traffic.races += 1
                await inside.requests.ensure(model, timeout_s=ENSURE_S)
        except Exception as error:  # noqa: BLE001  (whatever a client meets is what we count)
            traffic.failed.append(f"{model}: {type(error).__name__}: {error}")
        else:
            traffic.waits_s.append(waited_s)
            traffic.hits += was_there
        await asyncio.sleep(chance.expovariate(1 / THINK_S))


async def is_answered(triton: TritonGrpc, model: str) -> bool:
    """Not when it was evicted in between."""
    try:
        await ask(triton, model)
    except Refused:
        return False
    return True


async def watch(inside: Inside, server: TritonServer, samples: list[Sample]) -> None:
    while True:
        measured = await asyncio.to_thread(model_processes_bytes, server)
        account = inside.account()
        samples.append(
            Sample(
                measured=measured,
                held=account.sum_of(Hold.HELD, Hold.LEAVING),
                promised=account.sum_of(*Hold),
                limit=account.budget_bytes,
            )
        )
        await asyncio.sleep(SAMPLE_S)


def model_processes_bytes(server: TritonServer) -> int:
    total = 0
    for process in psutil.Process(server.pid).children(recursive=True):
        with suppress(psutil.Error):
            total += process.memory_full_info().pss
    return total


async def play(inside: Inside, server: TritonServer) -> tuple[Traffic, list[Sample]]:
    """Traffic until there were `EVICTIONS`, at most for `WITHIN_S`."""
    traffic, samples = Traffic(), []
    async with client_of(server) as triton:
        watching = asyncio.create_task(watch(inside, server, samples))
        clients = [
            asyncio.create_task(one_client(inside, triton, random.Random(seed), traffic))  # noqa: S311
            for seed in range(CLIENTS)
        ]
        deadline_s = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline_s:
            if len(await inside.events("model_evicted")) >= EVICTIONS:
                break
            await asyncio.sleep(SAMPLE_S)
        for task in (*clients, watching):
            task.cancel()
        await asyncio.gather(*clients, watching, return_exceptions=True)
    return traffic, samples


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """The most popular are not the smallest; every tenth is unloaded after idle seconds."""
    store = Store(tmp_path / "store")
    for number, name in enumerate(MODELS):
        weights = WEIGHTS_MIB[number % len(WEIGHTS_MIB)]
        publish(
            store,
            name,
            weights_mib=weights,
            held_mib=STUB_MIB + PER_WEIGHT * weights,
            idle_timeout_s=5.0 if number % 10 == 9 else None,
        )
    return store


async def test_thirty_models_share_memory_for_ten_and_every_request_is_answered(
    installation: Installation,
    store: Store,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with two_servers(installation, tmp_path) as servers:
        await all_served_before(store, tmp_path / "state.sqlite")
        policy = {"budgets": {"cpu": f"{BUDGET_MIB}MiB"}}
        async with sidecar_on(servers, store, tmp_path / "state.sqlite", policy=policy) as inside:
            traffic, samples = await play(inside, servers[SERVING])
            loads = await inside.events("model_loaded")
            evictions = await inside.events("model_evicted")
            idle = await inside.events("model_let_go")
            trouble = await inside.events(
                "load_failed", "unload_failed", "model_set_aside", "cycle_failed"
            )
            lost = [e for e in await inside.events("server_lost") if e.server == SERVING]
        alive = [server.is_running for server in servers.values()]

    limit = samples[0].limit
    summary = (
        f"\n{traffic.requests} requests, {traffic.hits} hits, {traffic.races} evicted between, "
        f"{len(loads)} loads, {len(evictions)} evictions, {len(idle)} idle unloads; mean wait "
        f"{sum(traffic.waits_s) / len(traffic.waits_s):.2f} s, longest {max(traffic.waits_s):.2f} "
        f"s; of {limit // MIB} MiB: held at most {max(s.held for s in samples) // MIB}, with "
        f"loads in flight {max(s.promised for s in samples) // MIB}, measured "
        f"{max(s.measured for s in samples) // MIB}\n"
    )
    with capsys.disabled():
        sys.stdout.write(summary)
    assert traffic.failed == []
    # Canary, which holds nothing here, counts as lost when it is silent for two seconds.
    assert trouble == lost == []
    assert alive == [True, True]
    assert len(evictions) >= EVICTIONS
    assert len(loads) > 12, "more than fit at once"
    assert max(sample.promised for sample in samples) <= limit + DRIFT_MIB * MIB
    assert max(sample.measured for sample in samples) <= BUDGET_MIB * MIB
