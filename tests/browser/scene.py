"""A whole sidecar on fake servers in real time, behind a port, and fleets to look at."""

import asyncio
import math
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from contract.intent import Intent, Tier
from contract.layout import VersionFolder
from contract.manifest import read_manifest
from sidecar.api.app import create_app
from sidecar.api.auth import Caller, Callers
from sidecar.api.front import Front
from sidecar.compose import ApiServer
from sidecar.core.demand import Demand, arrived
from sidecar.core.memory import CPU, GIB
from sidecar.core.policy import Policy
from sidecar.core.traffic import Answered, Traffic
from sidecar.runtime.records import Records
from tests.builders import MIB, publish
from tests.fakes.gateway import FakeGateway
from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_served import Served, serving

DEADLINE_S = 120.0
"""The page rests ten times as long as its questions took: where the machine stood still, long."""
FRONT = Front(http="127.0.0.1:8000", grpc="127.0.0.1:8001", can_mirror=False)
HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A model of a fleet to look at; `busy` is requests in the busiest hour of its day."""

    tier: str
    mib: int
    versions: int = 1
    busy: int = 0
    peak_hour: int = 12
    p50_ms: float | None = None


FLEET = {
    "short_form": Shown(tier="hot", mib=412, versions=5, busy=5200, peak_hour=19, p50_ms=1.9),
    "premium": Shown(tier="hot", mib=96, busy=640, peak_hour=20, p50_ms=2.4),
    "long_form": Shown(tier="cold", mib=318, versions=2, busy=310, peak_hour=21, p50_ms=15.2),
    "session": Shown(tier="auto", mib=24, busy=180, peak_hour=9, p50_ms=0.8),
    "thumbnail": Shown(tier="auto", mib=140, busy=12, peak_hour=14),
    "search_rank": Shown(tier="hot", mib=264, versions=2, busy=2100, peak_hour=16, p50_ms=4.1),
    "query_rewrite": Shown(tier="warm", mib=188, busy=900, peak_hour=15, p50_ms=8.7),
    "spam": Shown(tier="warm", mib=52, busy=1500, peak_hour=11, p50_ms=1.2),
    "toxicity_de": Shown(tier="auto", mib=210, busy=30, peak_hour=18),
    "toxicity_fr": Shown(tier="auto", mib=210, busy=4, peak_hour=17),
    "ocr_receipts": Shown(tier="cold", mib=620, busy=2, peak_hour=10),
    "churn": Shown(tier="cold", mib=18, busy=1, peak_hour=3),
}


RELEASED = ("short_form", "search_rank")


def demand(shown: Shown, now_s: float) -> Demand | None:
    """Three days of a day's rhythm, up to a moment ago."""
    found = None
    began_s = now_s - 72 * HOUR_S
    for hour in range(72 if shown.busy else 0):
        at_s = began_s + hour * HOUR_S
        apart = math.cos((at_s // HOUR_S % 24 - shown.peak_hour) / 24 * 2 * math.pi)
        count = round(shown.busy * max(0.0, 0.5 + 0.5 * apart) ** 2)
        if count:
            until_s = at_s + HOUR_S - 1
            found = arrived(found, count=count, since_s=at_s, until_s=until_s)
    return found


def bytes_of(model: str, _version: int) -> int:
    return FLEET[model].mib * MIB if model in FLEET else MIB


def weigh(folder: VersionFolder, size: int) -> None:
    """Let the manifest declare so many bytes."""
    written = read_manifest(folder.manifest)
    cost = replace(written.cost, disk_bytes=size, private_bytes=size, peak_bytes=size)
    folder.manifest.write_text(written.model_copy(update={"cost": cost}).model_dump_json())


async def fleet_rig(root: Path) -> Rig:
    """`FLEET` with its demand behind a gateway that has counted, on 2 GiB for models.

    The `RELEASED` serve the version before their newest.
    """
    rig = Rig(root)
    rig.policy = Policy(soak_s=600.0, parallel_loads=4, budgets={CPU: 2 * GIB})
    rig.meter._bytes_of = bytes_of
    rig.meter._peak_of = bytes_of
    rig.meter.capacity_bytes = 16 * GIB
    rig.meter.foreign_bytes = 3 * GIB
    rig.gateway = FakeGateway()
    for name, shown in FLEET.items():
        for version in range(1, shown.versions + 1):
            publish(rig.store, name, version, tier=shown.tier)
            weigh(rig.store.version(name, version), shown.mib * MIB)
        counted = Answered(version=None, code="200", outcome="hit")
        rig.gateway.counted[name] = Traffic(answers={counted: shown.busy}, p50_ms=shown.p50_ms)
        if asked := demand(shown, time.time()):
            await Records(rig.state).set_demand(name, asked)
    for name in RELEASED:
        await Records(rig.state).set_serving(name, FLEET[name].versions - 1)
    rig.store.intent("search_rank").write_text(Intent(tier=Tier.HOT, pin=True).model_dump_json())
    return rig


def many_rig(root: Path, count: int) -> Rig:
    """A fleet of one kind; names that do not sort as their numbers do."""
    rig = Rig(root)
    for number in range(count):
        publish(rig.store, f"model_{number * 7919 % count:04}", 1, tier="auto")
    return rig


def app_of(rig: Rig, tokens: Mapping[Caller, str] | None = None) -> FastAPI:
    """With a gateway where the rig has one."""
    world, loop = rig.sidecar.world, rig.sidecar.loop
    front = FRONT if rig.gateway else None
    return create_app(world, loop, rig.state, Callers(tokens or {}), front)


@asynccontextmanager
async def shown(rig: Rig, tokens: Mapping[Caller, str] | None = None) -> AsyncIterator[Served]:
    """The rig's sidecar behind a port, when it is ready."""
    async with serving(rig, lambda rig: app_of(rig, tokens)) as served:
        await until(rig, lambda: rig.missing() == [], "it is ready")
        yield served


@asynccontextmanager
async def restarted(rig: Rig, served: Served) -> AsyncIterator[None]:
    """Another sidecar after the first one, on its port."""
    await rig.crash()
    config = uvicorn.Config(app_of(rig), log_config=None, access_log=False)
    server = ApiServer(config, at_end=rig.sidecar.world.telemetry.close)
    address = ("127.0.0.1", int(served.url.rpartition(":")[2]))
    with socket.create_server(address) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]))
        yield
        server.end()
        await asyncio.wait_for(task, DEADLINE_S)


async def until(rig: Rig, condition: Callable[[], bool], what: str) -> None:
    await rig.until(condition, what, DEADLINE_S)


async def loaded(rig: Rig, model: str) -> None:
    """As if a request had waited for it."""
    await rig.sidecar.requests.ensure(model, timeout_s=DEADLINE_S)
