"""What the sidecar costs: `python -m bench.sidecar [planner|loop|memory|restart]...`.

Prints Markdown for `RESULTS.md`. Planner times are CPU time, so that what else runs on the machine
matters less; all others are seen from outside. `loop`, `memory` and `restart` start real
tritonservers; `restart` needs `make repo` before.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from operator import attrgetter
from pathlib import Path
from statistics import median, quantiles

import httpx2
import psutil
import yaml
from prometheus_client import generate_latest

from bench.fleet import BASE, NOW_S, fleet, write_base, write_store
from bench.report import MIB, PATIENCE_S, cpu_s, machine, must, new_home, print_row, tell
from contract.layout import Store
from embedded.ports import free_ports
from embedded.process import Process, wait_until
from embedded.provision import provision
from embedded.triton import TritonServer
from pilotlight.admin import Admin
from pilotlight.paths import EMBEDDED, MODEL_REPOSITORY
from pilotlight.stack import Ports, Stack
from sidecar.adapters.model_store import StoreFolder
from sidecar.adapters.page_cache import FilePageCache
from sidecar.adapters.process_meter import ProcessMeter
from sidecar.adapters.recordings import RecordingsFolder
from sidecar.adapters.server_process import ServerProcess
from sidecar.adapters.sqlite_state import SqliteState
from sidecar.adapters.stage import StageFolder
from sidecar.adapters.triton_grpc import TritonGrpc
from sidecar.core.fleet import Kept, Server, ServerView, Snapshot, Verification
from sidecar.core.planner import plan
from sidecar.core.policy import Policy
from sidecar.core.routing import Replica
from sidecar.core.stage_config import stage_config
from sidecar.core.wanted import Placement
from sidecar.runtime.activate import Waiting
from sidecar.runtime.board import Board
from sidecar.runtime.observe import observe
from sidecar.runtime.records import Records
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry
from sidecar.runtime.world import World

SIZES = (10, 100, 1_000, 10_000)
ROUNDS = 15
LOADED = 1_000
OWN = Replica(name="own", http="", grpc="", models=frozenset())
STORED = 10_000
CYCLES = 30
WATCHED_S = 60.0
"""CPU is a share of time, so the bench lets that much time pass."""
RESTARTS = 3
"""Hundreds of models are loaded, or proven, before a measurement begins."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parts = parser.parse_args().parts or list(PARTS)
    if unknown := set(parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(unknown)}")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine()}\n")
    for part in parts:
        PARTS[part]()


def bench_planner() -> None:
    """Interleaved: each round plays every scene once."""
    fleets = {size: fleet(size) for size in SIZES}
    scenes = {
        "nothing to do": attrgetter("resting"),
        "prewarm tick": attrgetter("ticking"),
        "a request that needs victims": attrgetter("waiting"),
        "after a Triton restart": attrgetter("restarted"),
    }
    snapshots = {
        (scene, size): pick(found)
        for scene, pick in scenes.items()
        for size, found in fleets.items()
    }
    seen: dict[tuple[str, int], list[float]] = {key: [] for key in snapshots}
    for (_, size), snapshot in snapshots.items():
        plan(snapshot, fleets[size].policy, NOW_S)
    gc.collect()
    for _ in range(ROUNDS):
        for key, snapshot in snapshots.items():
            began_s = time.process_time()
            plan(snapshot, fleets[key[1]].policy, NOW_S)
            seen[key].append(1e3 * (time.process_time() - began_s))
    print(f"Planner, ms of CPU time per plan: median (p95) of {ROUNDS}.\n")
    print_row("scene", *(f"{size:,} models" for size in SIZES))
    print_row(*["---"] * (len(SIZES) + 1))
    for scene in scenes:
        print_row(scene, *(_median_p95(seen[scene, size]) for size in SIZES))
    print()


def bench_loop() -> None:
    """A sidecar takes over a Triton that has a thousand models, then looks at it every second."""
    with new_home() as home, ExitStack() as stack:
        store = write_store(home / "store", LOADED, chained=True)
        setup = stack.enter_context(_servers(home, store))
        write_base(setup.serving.repository)
        asyncio.run(_load_all(setup))
        sidecar = stack.enter_context(setup.sidecar())
        _wait_until_all_answer(setup)
        process = psutil.Process(sidecar.pid)
        before_s = cpu_s(process)
        time.sleep(WATCHED_S)
        share = (cpu_s(process) - before_s) / WATCHED_S
        cycle_ms = 1e3 * _mean(setup.url, "pilotlight_reconcile_seconds")
        sidecar.stop()
        parts = asyncio.run(_time_parts(setup))
    print(f"One cycle with {LOADED:,} models loaded, ms: median (p95) of {CYCLES}.\n")
    print_row("part", "ms")
    print_row("---", "---")
    for part, times in parts.items():
        print_row(part, _median_p95(times))
    print_row("look of the running sidecar (mean)", f"{cycle_ms:.1f}")
    print_row(f"CPU of the sidecar over {WATCHED_S:.0f} s", f"{100 * share:.2f} % of a core")
    print()


def bench_memory() -> None:
    with new_home() as home, ExitStack() as stack:
        setup = stack.enter_context(_servers(home, write_store(home / "store", STORED)))
        sidecar = stack.enter_context(setup.sidecar())
        must(wait_until(lambda: _answers(setup.url, "/startupz"), PATIENCE_S), "startupz")
        process = psutil.Process(sidecar.pid)
        time.sleep(WATCHED_S / 2)
        before_s = cpu_s(process)
        time.sleep(WATCHED_S / 2)
        share = (cpu_s(process) - before_s) / (WATCHED_S / 2)
        memory = process.memory_full_info()
    print(f"A sidecar with {STORED:,} models in the store, none loaded.\n")
    print_row("figure", "seen")
    print_row("---", "---")
    print_row("resident memory", f"{memory.rss / MIB:.0f} MB")
    print_row("of it private", f"{memory.uss / MIB:.0f} MB")
    print_row("CPU", f"{100 * share:.2f} % of a core")
    print()


def bench_restart() -> None:
    """The example's hot models after tritonserver was killed."""
    if not Store(MODEL_REPOSITORY).root.is_dir():
        sys.exit("restart needs the example's models; run `make repo`")
    rows = []
    with new_home() as home:
        stack = Stack(
            provision(EMBEDDED, tell),
            home=home,
            store=MODEL_REPOSITORY,
            ports=Ports.free(),
            soak_s=1.0,
            on_event=tell,
        )
        with stack, Admin(stack.url) as admin:
            must(wait_until(lambda: admin.readiness()["ready"], PATIENCE_S), "readyz")
            rows = [_restart(stack, admin) for _ in range(RESTARTS)]
    print(f"tritonserver killed with SIGKILL, {RESTARTS} times.\n")
    print_row("figure", *(f"run {number}" for number in range(1, RESTARTS + 1)))
    print_row(*["---"] * (RESTARTS + 1))
    for name in rows[0]:
        print_row(name, *(row[name] for row in rows))
    print()


PARTS: Mapping[str, Callable[[], None]] = {
    "planner": bench_planner,
    "loop": bench_loop,
    "memory": bench_memory,
    "restart": bench_restart,
}


@dataclass(frozen=True)
class Setup:
    """Two Tritons, and what a sidecar is told of them."""

    home: Path
    store: Store
    serving: TritonServer
    canary: TritonServer
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        return self.home / "state.sqlite"

    @contextmanager
    def sidecar(self) -> Iterator[Process]:
        servers = {
            name: {"grpc": server.grpc_address, "stage": str(server.repository)}
            for name, server in (("serving", self.serving), ("canary", self.canary))
        }
        settings = {
            "store": str(self.store.root),
            "state": str(self.state),
            "servers": servers,
            "api": {"port": self.port},
        }
        path = self.home / "settings.yaml"
        path.write_text(yaml.safe_dump(settings))
        process = Process(
            name="sidecar",
            command=[sys.executable, "-m", "pilotlight", "serve", "--settings", str(path)],
            log=self.home / "sidecar.log",
        )
        process.start()
        try:
            yield process
        finally:
            process.stop()


@contextmanager
def _servers(home: Path, store: Store) -> Iterator[Setup]:
    installation = provision(EMBEDDED, tell)
    ports = free_ports(7)
    servers = []
    for name, (http_port, grpc_port, metrics_port) in {
        "serving": ports[:3],
        "canary": ports[3:6],
    }.items():
        repository = home / "stage" / name
        repository.mkdir(parents=True)
        servers.append(
            TritonServer(
                installation=installation,
                name=name,
                repository=repository,
                log=home / f"{name}.log",
                http_port=http_port,
                grpc_port=grpc_port,
                metrics_port=metrics_port,
                completes_configs=False,
            )
        )
    try:
        for server in servers:
            server.start()
            server.wait_live(PATIENCE_S)
        yield Setup(home, store, servers[0], servers[1], ports[6])
    finally:
        for server in servers:
            server.stop()


async def _load_all(setup: Setup) -> None:
    """Leave servers, stages and state as a sidecar that has loaded everything would."""
    async with AsyncExitStack() as stack:
        state = SqliteState(setup.state)
        stack.push_async_callback(state.close)
        records, stage = Records(state), StageFolder(setup.serving.repository, setup.store)
        models, _ = await StoreFolder(setup.store, {}).scan()
        triton = await stack.enter_async_context(_client(setup))
        await triton.load(BASE, timeout_s=PATIENCE_S)
        for number, model in enumerate(models.values()):
            await stage.write(model.name, _placed(model.versions[1].config))
            await triton.load(model.name, timeout_s=PATIENCE_S)
            await records.set_serving(model.name, 1)
            await records.keep(model.name, Kept(since_s=time.time(), reason="for the bench"))
            if number % 100 == 0:
                tell(f"{number} of {LOADED} loaded")


def _placed(config: str) -> Placement:
    text = stage_config(config, versions=(1,), warmup=True)
    return Placement(versions=(1,), lead=1, config=text)


def _client(setup: Setup, server: Server = Server.SERVING) -> TritonGrpc:
    triton = setup.serving if server is Server.SERVING else setup.canary
    return TritonGrpc(name=server.value, url=triton.grpc_address, admin_key=None)


def _wait_until_all_answer(setup: Setup) -> None:
    """Each model that was found loaded is asked a question before it counts."""

    def all_answer() -> bool:
        return _metric(setup.url, 'pilotlight_models{tier="cold",warmth="warmed"}') >= LOADED

    must(wait_until(lambda: _answers(setup.url, "/startupz"), PATIENCE_S), "startupz")
    must(wait_until(all_answer, PATIENCE_S), "adoption")


async def _time_parts(setup: Setup) -> dict[str, list[float]]:
    """The calls of one cycle, each on its own, with the sidecar out of the way."""
    async with AsyncExitStack() as stack:
        state = SqliteState(setup.state)
        stack.push_async_callback(state.close)
        serving = await stack.enter_async_context(_client(setup))
        canary = await stack.enter_async_context(_client(setup, Server.CANARY))
        telemetry = Telemetry(state)
        world = World(
            servers={Server.SERVING: serving, Server.CANARY: canary},
            stages={
                server: StageFolder(triton.repository, setup.store)
                for server, triton in (
                    (Server.SERVING, setup.serving),
                    (Server.CANARY, setup.canary),
                )
            },
            store=StoreFolder(setup.store, {}),
            process=ServerProcess(setup.serving.grpc_address),
            meter=ProcessMeter(setup.serving.grpc_address),
            page_cache=FilePageCache(setup.store),
            recordings=RecordingsFolder(setup.state.with_name("recordings")),
            records=Records(state),
            board=Board(),
            waiting=Waiting(),
            router=Router(None, OWN, telemetry),
            telemetry=telemetry,
        )
        policy = Policy(soak_s=60.0, parallel_loads=4)
        seen = (await observe(world, None)).snapshot
        snapshot = replace(seen, servers={**seen.servers, Server.SERVING: _proven(seen)})
        parts: dict[str, Callable[[], Awaitable[object]]] = {
            "is the server alive": serving.check,
            "index": serving.index,
            "statistics": serving.requests_served,
            "memory, every 5 s": world.meter.read,
            "stage": world.stages[Server.SERVING].read,
            "store": world.store.known,
            "store, scanned anew": world.store.scan,
            "records": world.records.serving,
            "all of these together, in one look": partial(observe, world, None),
            "plan": partial(asyncio.to_thread, plan, snapshot, policy, time.time()),
            "metrics, at a scrape": partial(_scrape, world.telemetry, snapshot, policy),
        }
        times: dict[str, list[float]] = {part: [] for part in parts}
        for _ in range(CYCLES):
            for part, call in parts.items():
                began_s = time.perf_counter()
                await call()
                times[part].append(1e3 * (time.perf_counter() - began_s))
        return times


def _proven(snapshot: Snapshot) -> ServerView:
    """As after the sidecar has asked every loaded model a question."""
    view = snapshot.servers[Server.SERVING]
    verified = {
        model: Verification(versions=view.ready(model), config=config)
        for model, config in view.staged.items()
    }
    return replace(view, verified=verified)


async def _scrape(telemetry: Telemetry, snapshot: Snapshot, policy: Policy) -> None:
    telemetry.show(snapshot, policy, 0.0)
    generate_latest(telemetry.registry)


def _restart(stack: Stack, admin: Admin) -> dict[str, str]:
    """Seconds from the kill on; Triton's own share is the longest of the loads side by side."""
    newest = max((entry["id"] for entry in admin.audit()), default=0)
    hot = [model["name"] for model in admin.models() if model["tier"] == "hot"]
    began_s = time.monotonic()
    stack.serving.kill()
    must(wait_until(lambda: not admin.readiness()["ready"], PATIENCE_S), "unreadiness")
    must(wait_until(partial(_is_live, stack.serving), PATIENCE_S), "Triton")
    live_s = time.monotonic() - began_s
    must(wait_until(lambda: admin.readiness()["ready"], PATIENCE_S), "readyz")
    ready_s = time.monotonic() - began_s
    loads = {
        entry["model"]: entry
        for entry in admin.audit()
        if entry["id"] > newest and entry["event"] == "model_loaded" and entry["model"] in hot
    }
    details = [entry["detail"] for entry in loads.values()]
    longest_s = max(detail["load_s"] for detail in details)
    ours_s = ready_s - live_s - longest_s
    return {
        "killed to Triton's port open": f"{live_s:.2f} s",
        "port open to all hot models warmed and proven": f"{ready_s - live_s:.2f} s",
        "Triton's own loads, side by side (longest)": f"{longest_s:.2f} s",
        "Triton's own loads, added up": f"{sum(each['load_s'] for each in details):.2f} s",
        "warm-up by requests, longest": f"{max(each['warm_up_s'] for each in details):.2f} s",
        "probe, longest": f"{max(each['verify_s'] for each in details):.3f} s",
        "what the sidecar added to the load": f"{ours_s:.2f} s ({100 * ours_s / longest_s:.0f} %)",
        "added to start and load": f"{100 * ours_s / (ready_s - ours_s):.0f} %",
    }


def _is_live(server: TritonServer) -> bool:
    return _answers(f"http://127.0.0.1:{server.http_port}", "/v2/health/live")


def _answers(url: str, path: str) -> bool:
    try:
        return httpx2.get(f"{url}{path}", timeout=5.0).status_code == HTTPStatus.OK
    except httpx2.TransportError:
        return False


def _metric(url: str, name: str) -> float:
    text = httpx2.get(f"{url}/metrics", timeout=30.0).text
    found = [line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(found[0]) if found else 0.0


def _mean(url: str, name: str) -> float:
    return _metric(url, f"{name}_sum") / _metric(url, f"{name}_count")


def _median_p95(times: list[float]) -> str:
    return f"{median(times):.1f} ({quantiles(times, n=20)[-1]:.1f})"


if __name__ == "__main__":
    main()
