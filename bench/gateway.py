"""What the gateway costs: `python -m bench.gateway [hot|cold|routes|scale]... [--rounds N]`.

Prints Markdown for `RESULTS.md`. What is compared runs in turn, in random order, within each
round. Triton, Envoy and who asks share the machine. `hot` asks with perf_analyzer, which it
installs, and with h2load of nghttp2, where that is installed. `cold` needs `make repo` before.
"""

import argparse
import asyncio
import csv
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import mean, median, quantiles
from typing import Any, Protocol

import numpy as np
import psutil
from tritonclient import grpc as triton_grpc
from tritonclient.grpc import service_pb2

from bench.fleet import name_of
from bench.report import MIB, PATIENCE_S, cpu_s, machine, must, new_home, print_row, tell
from contract.layout import CONFIG, Store
from contract.samples import Tensors, read_golden
from embedded.envoy import EnvoyServer
from embedded.errors import ProvisionFailed
from embedded.installing import installed, pip_install, read_stamp, write_stamp
from embedded.ports import free_ports
from embedded.process import wait_until
from embedded.provision import Installation, provision, provision_envoy
from embedded.triton import TritonServer
from pilotlight.admin import Admin
from pilotlight.demo.clients import Client, GrpcClient, HttpClient, Traffic
from pilotlight.paths import EMBEDDED, ENVOY, MODEL_REPOSITORY, WORK
from pilotlight.stack import WORKERS, Ports, Stack
from sidecar.adapters.envoy.admin import Admin as EnvoyAdmin
from sidecar.adapters.envoy.gateway import EnvoyGateway, Plan
from sidecar.adapters.envoy.listeners import Edge
from sidecar.adapters.envoy.names import GRPC, HTTP, PROTOCOLS
from sidecar.adapters.stage import StageFolder
from sidecar.core.events import EventName
from sidecar.core.fleet import Server
from sidecar.core.routing import Replica, Routes, Split
from sidecar.core.wanted import Placement
from sidecar.errors import GatewayError

HOT_ROUNDS, COLD_ROUNDS, FLIP_ROUNDS, SCALE_ROUNDS = 5, 10, 10, 10
KIB, GIB = 2**10, 2**30
DIRECT, GATEWAY = "direct", "gateway"
FLOAT_BYTES = 4

BURST_S = 0.5
"""A run of h2load is as many requests as the first one would have answered in that time."""
LEAST_REQUESTS = 100
FEW_CLIENTS = 16
RUN_TIMEOUT_S = 60.0
WINDOW_MS, WINDOWS, ANY_PERCENTAGE = 300, "3", "999"
"""Of perf_analyzer: three are the fewest, and our rounds even out how much they differ."""
TINY, TYPICAL = "tiny", "typical"
PAUSES_S = {TINY: 0.0, TYPICAL: 0.005}
"""Of the models; one on a GPU leaves the CPU alone too while it computes."""
ECHO = """
import time
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep({pause_s})
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("y", pb_utils.get_input_tensor_by_name(each, "x").as_numpy())]
            )
            for each in requests
        ]
"""
ECHO_CONFIG = """name: "{name}"
backend: "python"
input {{ name: "x" data_type: TYPE_FP32 dims: [-1] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [-1] }}
version_policy {{ all {{ }} }}
instance_group {{ kind: KIND_CPU count: 2 }}
"""

# The last one that carries the binary, and only in its wheels for manylinux.
PERF_ANALYZER = "tritonclient==2.51.0"
LIBRARIES = {"libb64.so.0d": "libb64-*.so.0d", "libcudart.so.12": "libcudart-*.so.12.*"}
"""What perf_analyzer needs, and how it is called in the wheel of tritonserver."""

COLD = "long_form"
"""Of the example: a text encoder whose load takes about a second."""
REST_S = 0.5
"""After an unload: processes of the model still end then."""
FLIPS = 20
"""In a round."""
FLIP_EVERY_S = 0.05
FLIP_TIMEOUT_S = 10.0
SCALES = (1, 500, 1_000, 10_000)
HOT_EVERY_S = 0.005
ONES: Tensors = {"x": np.ones(16, np.float32)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, help="of each part; 1 is a quick look")
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    if unknown := set(parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(unknown)}")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine()}\n")
    for part in parts:
        bench, rounds = PARTS[part]
        bench(arguments.rounds or rounds)


def bench_hot(rounds: int) -> None:
    """Requests to loaded models, next to the same requests to Triton itself."""
    with new_home() as home, ExitStack() as stack:
        setup = stack.enter_context(_servers(home, PAUSES_S))
        plays = [
            (generator, scene)
            for generator in _generators(home)
            for scene in SCENES
            if generator.plays(scene)
        ]
        seen: dict[tuple[Generator, Scene], list[Round]] = {play: [] for play in plays}
        for number in range(1, rounds + 1):
            for generator, scene in plays:
                tell(f"hot, round {number} of {rounds}: {generator.name}, {scene}")
                ways = random.sample(list(WAYS), k=len(WAYS))
                runs = {way: _run(setup, way, generator, scene) for way in ways}
                seen[generator, scene].append(runs)
    print(
        f"Hot requests, medians of {rounds} rounds. The tiny model echoes its input, the typical "
        f"one waits {1e3 * PAUSES_S[TYPICAL]:g} ms before it does.\n"
    )
    columns = ["asked with", "requests", "direct: p50 (p99), ms", "direct: /s", *FIGURES, "goal"]
    print_row(*columns)
    print_row(*["---"] * len(columns))
    for (generator, scene), found in seen.items():
        figures = _figures(found)
        direct = [each[DIRECT] for each in found]
        p50_ms, p99_ms = (median(run.p50_ms for run in direct), median(r.p99_ms for r in direct))
        print_row(
            generator.name,
            scene,
            f"{p50_ms:.2f} ({p99_ms:.2f})",
            f"{median(run.per_s for run in direct):.0f}",
            *(f"{figures[name]:{shown}}" for name, shown in FIGURES.items()),
            scene.goal.verdict(figures) if scene.goal else "",
        )
    print()


def bench_cold(rounds: int) -> None:
    """First requests to a model that is not loaded, next to a load by hand and one inference."""
    store = Store(MODEL_REPOSITORY)
    if not store.root.is_dir():
        sys.exit("cold needs the example's models; run `make repo`")
    inputs = read_golden(store.version(COLD, 1).golden)[0].inputs
    with new_home() as home, ExitStack() as exits:
        installation = provision(EMBEDDED, tell)
        stack = Stack(
            installation,
            home=home / "stack",
            store=store.root,
            ports=Ports.free(),
            soak_s=1.0,
            on_event=tell,
            envoy=provision_envoy(ENVOY, tell),
        )
        exits.enter_context(stack)
        admin = exits.enter_context(Admin(stack.url))
        bare = exits.enter_context(_triton(home / "bare", installation))
        must(wait_until(lambda: admin.readiness()["ready"], PATIENCE_S), "readyz")
        admin.wait(admin.ask(f"/v1/models/{COLD}:load"), PATIENCE_S)
        config = (stack.serving.repository / COLD / CONFIG).read_text()
        placement = Placement(versions=(1,), lead=1, config=config)
        asyncio.run(StageFolder(bare.repository, store).write(COLD, placement))
        http_port = int(stack.http_address.rpartition(":")[2])
        ways: dict[str, Callable[[], Cold]] = {
            DIRECT: partial(_load_by_hand, bare, inputs),
            HTTP: partial(_first_request, admin, partial(HttpClient, http_port), inputs),
            GRPC: partial(_first_request, admin, partial(GrpcClient, stack.grpc_address), inputs),
        }
        seen: dict[str, list[Cold]] = {way: [] for way in ways}
        for number in range(1, rounds + 1):
            tell(f"cold, round {number} of {rounds}")
            for way in random.sample(list(ways), k=len(ways)):
                seen[way].append(ways[way]())
    _print_cold(seen)


def bench_routes(rounds: int) -> None:
    """A split between two versions is turned round while clients ask."""
    with new_home() as home, _servers(home, {TINY: 0.0}, versions=(1, 2)) as setup:
        flips = asyncio.run(_flip(setup, rounds))
    print(
        f"{len(flips.applied_s)} flips of a split between two versions, under two clients over "
        f"HTTP and two over gRPC.\n"
    )
    print_row("figure", "seen", "goal")
    print_row("---", "---", "---")
    print_row("flip to Envoy's word for it, ms: p50 (max)", _p50_max(flips.applied_s), "")
    print_row("flip to the last answer of the old version", _p50_max(flips.seen_s), "")
    failed = Goal(figure=FAILED, limit=0).verdict({FAILED: len(flips.failed)})
    print_row("requests", f"{flips.requests:,}", "")
    print_row("failed", len(flips.failed), failed)
    for reason in sorted(set(flips.failed)):
        print_row("", reason, "")
    print()


def bench_scale(rounds: int) -> None:
    """One model after the other joins many that a replica has already, while a client asks."""
    print(f"One model more among those that are loaded; ms: p50 (max) of {rounds} changes.\n")
    columns = ["loaded", "all at once, s", "one change", "CPU of Envoy for it"]
    columns += ["changes not confirmed", "failed hot requests", "longest hot request"]
    columns += ["Envoy's memory before and after, MB"]
    print_row(*columns)
    print_row(*["---"] * len(columns))
    for count in SCALES:
        tell(f"scale: {count}")
        with new_home() as home, _servers(home, {TINY: 0.0}) as setup:
            grown = asyncio.run(_grow(setup, count, rounds))
        print_row(
            f"{count:,}",
            f"{grown.first_s:.2f}",
            _p50_max(grown.changes_s),
            _p50_max(grown.spent_s),
            grown.late,
            grown.failed,
            f"{1e3 * grown.longest_s:.0f}",
            f"{grown.before_bytes / MIB:.0f}, {grown.after_bytes / MIB:.0f}",
        )
    print(
        "\nEnvoy is told of loaded models only: 10,000 in the catalogue with 500 of them loaded "
        "are 500 to it.\n"
    )


PARTS: Mapping[str, tuple[Callable[[int], None], int]] = {
    "hot": (bench_hot, HOT_ROUNDS),
    "cold": (bench_cold, COLD_ROUNDS),
    "routes": (bench_routes, FLIP_ROUNDS),
    "scale": (bench_scale, SCALE_ROUNDS),
}

WAYS = (DIRECT, GATEWAY)
ADDED, P50, P99 = "p50 added, ms", "p50, ratio", "p99, ratio"
THROUGHPUT, CPU = "throughput, ratio", "CPU of Envoy, µs/request"
FIGURES = {ADDED: ".2f", P50: ".2f", P99: ".2f", THROUGHPUT: ".2f", CPU: ".0f"}
ADDED_COLD, ADDED_SHARE, FAILED = "added, ms", "added, %", "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What a figure is to be at most, or at least."""

    figure: str
    limit: float
    at_least: bool = False

    def is_met(self, seen: Mapping[str, float]) -> bool:
        found = seen[self.figure]
        return found >= self.limit if self.at_least else found <= self.limit

    def verdict(self, seen: Mapping[str, float]) -> str:
        sign = "≥" if self.at_least else "≤"
        return f"{self.figure} {sign} {self.limit:g}: {'met' if self.is_met(seen) else 'missed'}"


COLD_GOALS = (Goal(figure=ADDED_COLD, limit=50), Goal(figure=ADDED_SHARE, limit=5))


@dataclass(frozen=True, slots=True)
class Scene:
    """So many clients, each with one request at a time that carries a tensor of so many bytes."""

    protocol: str
    model: str
    body_bytes: int
    clients: int

    def __str__(self) -> str:
        size = f"{self.body_bytes // MIB} MB" if self.body_bytes >= MIB else "1 kB"
        return f"{self.protocol}, {self.model}, {size}, {self.clients} at once"

    @property
    def floats(self) -> int:
        return self.body_bytes // FLOAT_BYTES

    @property
    def goal(self) -> Goal | None:
        is_http = self.protocol == HTTP
        if self.body_bytes >= MIB:
            return Goal(figure=P50, limit=1.3)
        match self.model, self.clients:
            case "tiny", 1:
                return Goal(figure=ADDED, limit=0.15 if is_http else 0.2)
            case "tiny", 16:
                return Goal(figure=THROUGHPUT, limit=0.65 if is_http else 0.8, at_least=True)
            case "typical", 1:
                return Goal(figure=P50, limit=1.03)
            case _:
                return None


SCENES = [
    Scene(protocol, *rest)
    for protocol in PROTOCOLS
    for rest in (
        (TINY, KIB, 1),
        (TINY, KIB, 16),
        (TINY, KIB, 64),
        (TINY, MIB, 1),
        (TINY, 8 * MIB, 1),
        (TYPICAL, KIB, 1),
        (TYPICAL, KIB, 16),
        (TYPICAL, KIB, 64),
    )
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A burst of at least so many requests. `cpu_us` is Envoy's for each of them."""

    p50_ms: float
    p99_ms: float
    per_s: float
    requests: int
    cpu_us: float = 0.0


Round = Mapping[str, Run]
"""By way."""


class Generator(Protocol):
    @property
    def name(self) -> str: ...

    def plays(self, scene: Scene) -> bool: ...

    def run(self, scene: Scene, port: int) -> Run: ...


class H2Load:
    """Sends ready-made bodies over HTTP/1.1, or in HTTP/2 frames as gRPC does.

    By number of requests, not by time: Triton crashes under gRPC clients that leave with requests
    in flight (GATEWAY.md section 1).
    """

    name = "h2load"

    def __init__(self, binary: str, folder: Path) -> None:
        self._binary = binary
        self._body = folder / "body"
        self._log = folder / "h2load.log"
        self._bursts: dict[Scene, int] = {}

    def plays(self, scene: Scene) -> bool:
        return True

    def run(self, scene: Scene, port: int) -> Run:
        if scene not in self._bursts:
            per_s = self._send(scene, port, LEAST_REQUESTS).per_s
            self._bursts[scene] = max(LEAST_REQUESTS, round(per_s * BURST_S))
        return self._send(scene, port, self._bursts[scene])

    def _send(self, scene: Scene, port: int, requests: int) -> Run:
        path, body, options = _http_body(scene) if scene.protocol == HTTP else _grpc_body(scene)
        self._body.write_bytes(body)
        self._log.unlink(missing_ok=True)
        _execute(
            [
                *(self._binary, "-n", str(requests), "-c", str(scene.clients)),
                *("-d", str(self._body), f"--log-file={self._log}", *options),
                f"http://127.0.0.1:{port}{path}",
            ]
        )
        rows = [tuple(map(int, row.split("\t"))) for row in self._log.read_text().splitlines()]
        times_ms = [took_us / 1e3 for _, _, took_us in rows]
        began_us = min(sent_us for sent_us, _, _ in rows)
        ended_us = max(sent_us + took_us for sent_us, _, took_us in rows)
        return Run(
            p50_ms=median(times_ms),
            p99_ms=quantiles(times_ms, n=100)[-1],
            per_s=1e6 * len(rows) / (ended_us - began_us),
            requests=len(rows),
        )


def _http_body(scene: Scene) -> tuple[str, bytes, Sequence[str]]:
    """Path, body and h2load's options of a request with a binary tensor."""
    head = {
        "inputs": [
            {
                "name": "x",
                "datatype": "FP32",
                "shape": [scene.floats],
                "parameters": {"binary_data_size": scene.body_bytes},
            }
        ],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(head).encode()
    length = f"inference-header-content-length: {len(text)}"
    options = ("--h1", "-H", "content-type: application/octet-stream", "-H", length)
    return f"/v2/models/{scene.model}/infer", text + bytes(scene.body_bytes), options


def _grpc_body(scene: Scene) -> tuple[str, bytes, Sequence[str]]:
    request = service_pb2.ModelInferRequest(model_name=scene.model)
    request.inputs.add(name="x", datatype="FP32", shape=[scene.floats])
    request.raw_input_contents.append(bytes(scene.body_bytes))
    message = request.SerializeToString()
    frame = b"\0" + len(message).to_bytes(4, "big") + message
    options = ("-H", "content-type: application/grpc", "-H", "te: trailers")
    return "/inference.GRPCInferenceService/ModelInfer", frame, options


class PerfAnalyzer:
    """NVIDIA's load generator, for three windows of time.

    Told a number of requests it now and then never ends.
    """

    name = "perf_analyzer"

    def __init__(self, binary: Path, libraries: Path, folder: Path) -> None:
        self._binary = binary
        self._report = folder / "perf_analyzer.csv"
        self._environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
        _execute([str(binary), "--version"], self._environment)

    def plays(self, scene: Scene) -> bool:
        """A few: it takes a second to begin."""
        return scene.body_bytes == KIB and scene.clients <= FEW_CLIENTS

    def run(self, scene: Scene, port: int) -> Run:
        _execute(
            [
                *(str(self._binary), "-m", scene.model, "--shape", f"x:{scene.floats}"),
                *("-i", scene.protocol, "-u", f"127.0.0.1:{port}"),
                *("--concurrency-range", str(scene.clients), "-f", str(self._report)),
                *("-p", str(WINDOW_MS), "-r", WINDOWS, "-s", ANY_PERCENTAGE),
            ],
            self._environment,
        )
        with self._report.open() as report:
            (row,) = csv.DictReader(report)
        return Run(
            p50_ms=float(row["p50 latency"]) / 1e3,
            p99_ms=float(row["p99 latency"]) / 1e3,
            per_s=float(row["Inferences/Second"]),
            requests=int(float(row["Inferences/Second"]) * WINDOW_MS / 1e3),
        )


def _generators(home: Path) -> Iterator[Generator]:
    """Those that this machine can run; at least one."""
    found = False
    if binary := shutil.which("h2load"):
        yield H2Load(binary, home)
        found = True
    else:
        tell("no h2load here; apt-get install nghttp2-client on Debian and Ubuntu")
    try:
        yield _perf_analyzer(home)
        found = True
    except (ProvisionFailed, GeneratorFailed) as error:
        tell(f"no perf_analyzer here: {error}")
    if not found:
        sys.exit("hot needs one of the two")


def _perf_analyzer(home: Path) -> PerfAnalyzer:
    """Raises ProvisionFailed or GeneratorFailed where it cannot be had or does not run."""
    libraries = home / "libraries"
    libraries.mkdir()
    carried = provision(EMBEDDED, tell).home / "pytriton" / "nvidia_pytriton.libs"
    for name, pattern in LIBRARIES.items():
        (libraries / name).symlink_to(next(carried.glob(pattern)))

    def find(folder: Path) -> Path | None:
        binary = folder / "bin" / "perf_analyzer"
        return binary if read_stamp(folder, [PERF_ANALYZER]) and binary.exists() else None

    def fill(folder: Path) -> None:
        tell(f"installing {PERF_ANALYZER}")
        pip_install(sys.executable, "--target", str(folder), PERF_ANALYZER)
        write_stamp(folder, [PERF_ANALYZER])

    with installed(WORK / "perf_analyzer", find, fill) as binary:
        return PerfAnalyzer(binary, libraries, home)


class GeneratorFailed(Exception):
    """A load generator does not run, or ended without its figures; says what it said."""


def _execute(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    ended = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=RUN_TIMEOUT_S,
    )
    if ended.returncode != 0:
        raise GeneratorFailed(
            f"`{' '.join(command)}` ended with {ended.returncode}:\n{ended.stdout[-2000:]}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A Triton with models, and an Envoy in front of it that is told its routes by the bench."""

    triton: TritonServer
    envoy: EnvoyServer
    folder: Path
    plan: Plan

    def port(self, way: str, protocol: str) -> int:
        if way == GATEWAY:
            return self.envoy.ports[PROTOCOLS.index(protocol)]
        return self.triton.http_port if protocol == HTTP else self.triton.grpc_port

    def routes(self, models: Iterable[str], **splits: Split) -> Routes:
        replica = Replica(
            name="own",
            http=f"127.0.0.1:{self.triton.http_port}",
            grpc=self.triton.grpc_address,
            models=frozenset(models),
        )
        return Routes(replicas=(replica,), splits=splits)

    @asynccontextmanager
    async def gateway(self) -> AsyncIterator[EnvoyGateway]:
        async with EnvoyAdmin(f"http://127.0.0.1:{self.envoy.admin_port}") as admin:
            yield EnvoyGateway(self.folder, self.plan, admin)


@contextmanager
def _servers(
    home: Path, pauses_s: Mapping[str, float], versions: Sequence[int] = (1,)
) -> Iterator[Setup]:
    """Models by the time that they wait, each with these versions; all are routed."""
    with _triton(home / "triton", provision(EMBEDDED, tell)) as triton:
        for name, pause_s in pauses_s.items():
            _write_model(triton.repository / name, pause_s, versions)
            with closing(triton_grpc.InferenceServerClient(triton.grpc_address)) as client:
                client.load_model(name)
        http_port, grpc_port, admin_port, *nobody = free_ports(5)
        folder = home / "gateway"
        edge = Edge(
            addresses={HTTP: ("127.0.0.1", http_port), GRPC: ("127.0.0.1", grpc_port)},
            largest_request_bytes=GIB,
        )
        plan = Plan(
            seen_folder=str(folder),
            edge=edge,
            admin=("127.0.0.1", admin_port),
            activator={
                protocol: f"127.0.0.1:{port}"
                for protocol, port in zip(PROTOCOLS, nobody, strict=True)
            },
            canary=None,
            largest_heap_bytes=4 * GIB,
        )
        envoy = EnvoyServer(
            binary=provision_envoy(ENVOY, tell),
            bootstrap=folder / "bootstrap.json",
            log=home / "envoy.log",
            ports=(http_port, grpc_port),
            admin_port=admin_port,
            concurrency=WORKERS,
        )
        setup = Setup(triton=triton, envoy=envoy, folder=folder, plan=plan)
        asyncio.run(_write_routes(setup, setup.routes(pauses_s)))
        try:
            envoy.start()
            envoy.wait_live(PATIENCE_S)
            yield setup
        finally:
            envoy.stop()


@contextmanager
def _triton(home: Path, installation: Installation) -> Iterator[TritonServer]:
    """Without a model."""
    repository = home / "repository"
    repository.mkdir(parents=True)
    http_port, grpc_port, metrics_port = free_ports(3)
    triton = TritonServer(
        installation=installation,
        name="bench",
        repository=repository,
        log=home / "triton.log",
        http_port=http_port,
        grpc_port=grpc_port,
        metrics_port=metrics_port,
        completes_configs=False,
    )
    try:
        triton.start()
        triton.wait_live(PATIENCE_S)
        yield triton
    finally:
        triton.stop()


def _write_model(folder: Path, pause_s: float, versions: Sequence[int]) -> None:
    for version in versions:
        (folder / str(version)).mkdir(parents=True)
        (folder / str(version) / "model.py").write_text(ECHO.format(pause_s=pause_s))
    (folder / CONFIG).write_text(ECHO_CONFIG.format(name=folder.name))


async def _write_routes(setup: Setup, routes: Routes) -> None:
    async with setup.gateway() as gateway:
        await gateway.write(routes)


def _run(setup: Setup, way: str, generator: Generator, scene: Scene) -> Run:
    """Triton itself says whether all of them were answered: h2load reads no status of gRPC."""
    envoy = psutil.Process(setup.envoy.pid)
    answered, before_s = _answered(setup, scene.model), cpu_s(envoy)
    run = generator.run(scene, setup.port(way, scene.protocol))
    spent_s, answered = cpu_s(envoy) - before_s, _answered(setup, scene.model) - answered
    if answered < run.requests:
        sys.exit(f"{scene}, {way}: Triton has answered {answered} of {run.requests} requests")
    return replace(run, cpu_us=1e6 * spent_s / answered)


def _answered(setup: Setup, model: str) -> int:
    with closing(triton_grpc.InferenceServerClient(setup.triton.grpc_address)) as client:
        (found,) = client.get_inference_statistics(model).model_stats
    return int(found.inference_stats.success.count)


def _figures(rounds: Sequence[Round]) -> Mapping[str, float]:
    """Of each round the figure, of these the median; but CPU time is too coarse for one round."""
    pairs = [(each[DIRECT], each[GATEWAY]) for each in rounds]
    return {
        ADDED: median(gateway.p50_ms - direct.p50_ms for direct, gateway in pairs),
        P50: median(gateway.p50_ms / direct.p50_ms for direct, gateway in pairs),
        P99: median(gateway.p99_ms / direct.p99_ms for direct, gateway in pairs),
        THROUGHPUT: median(gateway.per_s / direct.per_s for direct, gateway in pairs),
        CPU: mean(gateway.cpu_us for _, gateway in pairs),
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Cold:
    """A first request in seconds, and of these the parts that are known by name."""

    wait_s: float
    parts_s: Mapping[str, float]


def _load_by_hand(triton: TritonServer, inputs: Tensors) -> Cold:
    with closing(triton_grpc.InferenceServerClient(triton.grpc_address)) as client:
        began_s = time.perf_counter()
        client.load_model(COLD)
        load_s = time.perf_counter() - began_s
        with closing(GrpcClient(triton.grpc_address)) as asking:
            infer_s = asking.infer(COLD, inputs).seconds
        client.unload_model(COLD)
        must(wait_until(lambda: not _has_ready(client), PATIENCE_S), "unload")
    time.sleep(REST_S)
    return Cold(wait_s=load_s + infer_s, parts_s={"load_s": load_s, "infer_s": infer_s})


def _has_ready(client: triton_grpc.InferenceServerClient) -> bool:
    index = client.get_model_repository_index().models
    return any(model.state not in ("", "UNAVAILABLE") for model in index)


def _first_request(admin: Admin, connect: Callable[[], Client], inputs: Tensors) -> Cold:
    admin.wait(admin.ask(f"/v1/models/{COLD}:unload"), PATIENCE_S)
    time.sleep(REST_S)
    before = len(_loads(admin))
    with closing(connect()) as client:
        wait_s = client.infer(COLD, inputs).seconds
    must(wait_until(lambda: len(_loads(admin)) > before, PATIENCE_S), "record of the load")
    detail = _loads(admin)[-1]["detail"]
    parts_s = {name: seconds for name, seconds in detail.items() if name.endswith("_s")}
    return Cold(wait_s=wait_s, parts_s=parts_s)


def _loads(admin: Admin) -> Sequence[Mapping[str, Any]]:
    """Records of the model's loads on the serving server, oldest first."""
    entries = admin.audit(model=COLD, event=EventName.MODEL_LOADED)
    return [entry for entry in entries if entry["server"] == Server.SERVING]


PHASES = {
    "read_s": "files read ahead",
    "load_s": "Triton's load",
    "warm_up_s": "warmed until steady",
    "verify_s": "probed",
}


def _print_cold(seen: Mapping[str, Sequence[Cold]]) -> None:
    bare = seen[DIRECT]
    print(
        f"First requests to {COLD}, {len(bare)} rounds, ms: p50 (max). By hand are a gRPC load "
        "into a Triton of its own, and one inference.\n"
    )
    rows = {"by hand": bare, "held, over HTTP": seen[HTTP], "held, over gRPC": seen[GRPC]}
    columns = ["first request", "in all", ADDED_COLD, ADDED_SHARE, "goal"]
    print_row(*columns)
    print_row(*["---"] * len(columns))
    for name, found in rows.items():
        if found is bare:
            print_row(name, _p50_max([each.wait_s for each in bare]), "", "", "")
            continue
        pairs = list(zip(found, bare, strict=True))
        added_s = [each.wait_s - reference.wait_s for each, reference in pairs]
        shares = [100 * (e.wait_s / reference.wait_s - 1) for e, reference in pairs]
        figures = {ADDED_COLD: 1e3 * median(added_s), ADDED_SHARE: median(shares)}
        met = any(goal.is_met(figures) for goal in COLD_GOALS)
        goals = " or ".join(f"{goal.figure} ≤ {goal.limit:g}" for goal in COLD_GOALS)
        print_row(
            name,
            _p50_max([each.wait_s for each in found]),
            _p50_max(added_s),
            f"{median(shares):.1f} ({max(shares):.1f})",
            f"{goals}: {'met' if met else 'missed'}",
        )
    print("\nWhere the time goes, ms: p50 (max).\n")
    print_row("first request", *PHASES.values(), "everything else")
    print_row(*["---"] * (len(PHASES) + 2))
    for name, found in rows.items():
        parts = [[each.parts_s.get(phase, 0.0) for each in found] for phase in PHASES]
        rest = [each.wait_s - sum(each.parts_s.get(p, 0.0) for p in PHASES) for each in found]
        print_row(name, *map(_p50_max, parts), _p50_max(rest))
    print()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    applied_s: Sequence[float]
    seen_s: Sequence[float]
    requests: int
    failed: Sequence[str]


async def _flip(setup: Setup, rounds: int) -> Flips:
    """In each round clients connect anew, so that their record stays short."""
    clients: dict[str, Callable[[], Client]] = {
        **{f"http-{n}": partial(HttpClient, setup.port(GATEWAY, HTTP)) for n in (1, 2)},
        **{
            f"grpc-{n}": partial(GrpcClient, f"127.0.0.1:{setup.port(GATEWAY, GRPC)}")
            for n in (1, 2)
        },
    }
    applied_s, seen_s, failed, requests, version = [], [], [], 0, 1
    async with setup.gateway() as gateway:
        await gateway.apply(setup.routes([TINY], **{TINY: Split(weights={version: 100})}))
        for number in range(1, rounds + 1):
            tell(f"routes, round {number} of {rounds}")
            with Traffic(clients, TINY, ONES) as traffic:
                await _answering(traffic, version, time.monotonic())
                for _ in range(FLIPS):
                    version = 3 - version
                    split = Split(weights={version: 100})
                    began_s = time.monotonic()
                    await gateway.apply(setup.routes([TINY], **{TINY: split}))
                    applied_s.append(time.monotonic() - began_s)
                    seen_s.append(await _answering(traffic, version, began_s) - began_s)
                    await asyncio.sleep(FLIP_EVERY_S)
            failed += traffic.failed
            requests += len(traffic.seen)
    return Flips(applied_s=applied_s, seen_s=seen_s, requests=requests, failed=failed)


async def _answering(traffic: Traffic, version: int, since_s: float) -> float:
    """When the last answer of another version came."""
    return await asyncio.to_thread(
        traffic.wait_for, version, since_s=since_s, timeout_s=FLIP_TIMEOUT_S
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Grown:
    """`late` counts changes that Envoy did not confirm, and their times are those of giving up.

    `failed` and `longest_s` are of hot requests; the bytes are Envoy's before and after.
    """

    first_s: float
    changes_s: Sequence[float]
    spent_s: Sequence[float]
    late: int
    failed: int
    longest_s: float
    before_bytes: int
    after_bytes: int


async def _grow(setup: Setup, count: int, rounds: int) -> Grown:
    envoy = psutil.Process(setup.envoy.pid)
    before_bytes = envoy.memory_info().rss
    names = [TINY, *(name_of(number) for number in range(1, count + rounds))]
    changes_s, spent_s = [], []
    client = {GRPC: partial(GrpcClient, f"127.0.0.1:{setup.port(GATEWAY, GRPC)}")}
    async with setup.gateway() as gateway:
        began_s = time.monotonic()
        late = int(not await _confirmed(gateway, setup.routes(names[:count])))
        first_s = time.monotonic() - began_s
        with Traffic(client, TINY, ONES, pause_s=HOT_EVERY_S) as traffic:
            for loaded in range(count + 1, count + rounds + 1):
                began_s, before_s = time.monotonic(), cpu_s(envoy)
                late += not await _confirmed(gateway, setup.routes(names[:loaded]))
                changes_s.append(time.monotonic() - began_s)
                spent_s.append(cpu_s(envoy) - before_s)
    return Grown(
        first_s=first_s,
        changes_s=changes_s,
        spent_s=spent_s,
        late=late,
        failed=len(traffic.failed),
        longest_s=traffic.longest_s,
        before_bytes=before_bytes,
        after_bytes=envoy.memory_info().rss,
    )


async def _confirmed(gateway: EnvoyGateway, routes: Routes) -> bool:
    try:
        await gateway.apply(routes)
    except GatewayError as error:
        tell(f"not in force: {error}")
        return False
    return True


def _p50_max(seconds: Sequence[float]) -> str:
    """In milliseconds."""
    return f"{1e3 * median(seconds):.0f} ({1e3 * max(seconds):.0f})"


if __name__ == "__main__":
    main()
