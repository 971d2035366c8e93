"""What releases cost: `python -m bench.release [cycles|rollback|first|share]... [--cycles N]`.

Prints Markdown for `RESULTS.md`. Every part repeats a release and its rollback, over REST, on real
servers; these share the machine with who asks. All but `cycles` build the example's versions first,
unless they are there.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import astuple, dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console

from bench.fleet import manifest_of
from bench.report import MIB, PATIENCE_S, machine, must, new_home, print_row, tell
from contract.intent import Intent, Tier
from contract.layout import Store
from contract.manifest import record_files
from contract.samples import GoldenSample, Tensors, warmup_bytes, write_golden
from embedded.process import wait_until
from embedded.provision import provision, provision_envoy
from pilotlight.admin import Admin
from pilotlight.demo.clients import Answer, Client, GrpcClient, HttpClient, Seen, Traffic
from pilotlight.demo.shelf import GOOD, Shelf, build_example
from pilotlight.paths import EMBEDDED, ENVOY
from pilotlight.stack import Ports, Stack
from sidecar.core.checks import EVERY_S
from sidecar.core.events import EventName
from sidecar.core.fleet import CheckKind, Server
from sidecar.core.release import ON_CANARY
from sidecar.core.release import ReleaseState as S

BASE, VERSION = 1, 2

ECHO = "echo"
"""A process per version, as Triton's Python backend has it, and next to no inference."""
ECHO_MODEL = """
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("y", pb_utils.get_input_tensor_by_name(each, "x").as_numpy())]
            )
            for each in requests
        ]
"""
ECHO_CONFIG = f"""name: "{ECHO}"
backend: "python"
max_batch_size: 32
input {{ name: "x" data_type: TYPE_FP32 dims: [16] }}
output {{ name: "y" data_type: TYPE_FP32 dims: [16] }}
version_policy {{ latest {{ num_versions: 1 }} }}
instance_group {{ kind: KIND_CPU count: 1 }}
model_warmup {{
  name: "one"
  batch_size: 1
  inputs {{
    key: "x"
    value {{ data_type: TYPE_FP32 dims: [16] input_data_file: "x.bin" }}
  }}
}}
"""
ECHO_BYTES = 128 * MIB
"""More than its process holds."""
ONES: Tensors = {"x": np.ones((1, 16), np.float32)}

SWITCH: Mapping[str, Any] = {"outputs": "any", "latency_margin": None, "soak_s": 3600.0}
"""Everything but the comparison, and a soak that only a rollback ends."""
CLIENTS = 2
"""Of each protocol and way."""
PAUSE_S, QUICK_PAUSE_S = 0.02, 0.002
SLEEP_S, NOBODY = 0.001, "nobody: a sleep of 1 ms"
CYCLES_IN_ROUND = 5
"""Clients connect anew in each round, so that their record stays short."""
GONE_S, QUIET_S = 1.5, 1.0
"""A process of the Python backend takes more than a second to end; what follows counts as quiet."""

IDLE, LOADING, UNLOADING = "nothing", "two other models load", "two other models unload"
ACTIONS = {LOADING: "load", UNLOADING: "unload"}
SELDOM = 5
"""So many rollbacks while others load, for one of each other kind."""
UNDER_WAY_S = 0.1
"""What was asked for has begun by then."""

RELEASED = "short_form"
OTHERS = ("long_form", "session")
"""Of the example; each load starts an interpreter."""
FIRST_REQUESTS, UNTIL_STEADY = 4, 400
SOAK_S = 2.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--cycles", type=int, help="of each part; 5 are a quick look")
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    if unknown := set(parts) - PARTS.keys():
        parser.error(f"no such part: {', '.join(unknown)}")
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine()}\n")
    for part in parts:
        bench, cycles = PARTS[part]
        bench(arguments.cycles or cycles)


def bench_cycles(cycles: int) -> None:
    """Promotion and rollback again and again, while clients ask at a steady pace."""
    latencies: dict[str, Windows] = {}
    took_s: list[float] = []
    requests, failed = 0, Counter[str]()
    with _echo_stack() as setup:
        while len(took_s) < cycles:
            tell(f"cycles: {len(took_s)} of {cycles} done, {failed.total()} failed requests")
            with setup.traffics() as traffics:
                spans = [_quiet()]
                for _ in range(min(CYCLES_IN_ROUND, cycles - len(took_s))):
                    began_s = time.monotonic()
                    spans.append(_cycle(setup))
                    took_s.append(time.monotonic() - began_s)
            for way, traffic in traffics.items():
                latencies.setdefault(way, Windows()).add(traffic.seen, spans)
                requests += len(traffic.seen) if way != NOBODY else 0
                failed.update(traffic.failed)
    clients = CLIENTS * (len(latencies) - 1)
    print(
        f"{cycles:,} cycles of {ECHO}, {median(took_s):.1f} s each, under {clients} clients that "
        f"ask every {1e3 * PAUSE_S:g} ms: {requests:,} requests, {failed.total()} failed (goal "
        "0).\n"
    )
    for reason, times in failed.most_common():
        print(f"{times} x {reason}\n")
    columns = ["clients; ms: p50 (p99)", *WINDOWS, "promotion / quiet", "goal of p99"]
    print_row(*columns)
    print_row(*["---"] * len(columns))
    for way, windows in latencies.items():
        ratio = windows.ratio(99)
        print_row(
            way,
            *(f"{windows.ms(name, 50):.2f} ({windows.ms(name, 99):.2f})" for name in WINDOWS),
            f"{windows.ratio(50):.2f} ({ratio:.2f})",
            "" if way == NOBODY else _goal(ratio, 1.2),
        )
    print()


def bench_rollback(cycles: int) -> None:
    """In the soak, while the serving server has other things to do."""
    seldom = max(1, cycles // SELDOM)
    order = [IDLE] * seldom + [LOADING] * cycles + [UNLOADING] * seldom
    took_s: dict[str, list[float]] = {IDLE: [], LOADING: [], UNLOADING: []}
    under_way = 0
    with _echo_stack(partial(_shelf, models=OTHERS)) as setup:
        setup.have_others("load")
        setup.wait_at_rest()
        for number, meanwhile in enumerate(order, 1):
            tell(f"rollback {number} of {len(order)}: {meanwhile}")
            setup.have_others("load" if meanwhile == UNLOADING else "unload")
            release = setup.release(ECHO, SWITCH)
            _until(setup.admin, release, S.SOAKING)
            with setup.traffic() as traffic:
                traffic.wait_for(VERSION, since_s=time.monotonic(), timeout_s=PATIENCE_S)
                begun = [] if meanwhile == IDLE else setup.ask_others(ACTIONS[meanwhile])
                time.sleep(UNDER_WAY_S)
                asked_s = time.monotonic()
                setup.admin.ask(f"/v1/models/{ECHO}:rollback")
                ended_s = traffic.wait_for(BASE, since_s=asked_s, timeout_s=PATIENCE_S)
                took_s[meanwhile].append(ended_s - asked_s)
                under_way += any(not setup.admin.get(each["location"])["done"] for each in begun)
            _until(setup.admin, release, S.ROLLED_BACK)
    print(
        f"Rollbacks of {ECHO} in the soak: ms from the REST call to the last answer of the new "
        f"version. The others are {' and '.join(OTHERS)}; they were still at it at the end of "
        f"{under_way} of {cycles + seldom} rollbacks.\n"
    )
    columns = ["meanwhile", "rollbacks", "p50", "p99", "max", "goal of p99"]
    print_row(*columns)
    print_row(*["---"] * len(columns))
    for meanwhile, times_s in took_s.items():
        p50, p99, most = (1e3 * float(np.percentile(times_s, each)) for each in (50, 99, 100))
        goal = _goal(p99, 50) if meanwhile == LOADING else ""
        print_row(meanwhile, len(times_s), f"{p50:.0f}", f"{p99:.0f}", f"{most:.0f}", goal)
    print()


def bench_first(cycles: int) -> None:
    """The first requests that a client over HTTP has answered by the new version."""
    firsts, before, steady = [], [], []
    with _example_stack() as setup:
        inputs = setup.request
        with closing(setup.http()) as client:
            for number in range(1, cycles + 1):
                tell(f"first, release {number} of {cycles}")
                setup.release(RELEASED, SWITCH)
                old_ms, new_ms = _over_the_switch(client, inputs)
                before.append(median(old_ms[-20:]))
                firsts.append(new_ms[:FIRST_REQUESTS])
                settled_ms = [1e3 * _answer(client, inputs).seconds for _ in range(UNTIL_STEADY)]
                steady.append(median(settled_ms[-UNTIL_STEADY // 2 :]))
                setup.take_back()
    print(
        f"First requests to a new version of {RELEASED}, over HTTP every {1e3 * PAUSE_S:g} ms; "
        f"medians of {cycles} releases.\n"
    )
    print_row("request", "ms", "of the steady state", "goal")
    print_row(*["---"] * 4)
    print_row("on the old version, just before", f"{median(before):.2f}", "", "")
    for place in range(FIRST_REQUESTS):
        ratio = median(
            found[place] / settled for found, settled in zip(firsts, steady, strict=True)
        )
        goal = "" if place else _goal(ratio, 1.1)
        ms = median(found[place] for found in firsts)
        print_row(f"number {place + 1} on the new one", f"{ms:.2f}", f"{ratio:.2f}", goal)
    print_row("steady state of the new one", f"{median(steady):.2f}", "", "")
    print()


def bench_share(cycles: int) -> None:
    """Where the time of a release goes that proves everything."""
    splits: list[Mapping[str, Split]] = []
    with _example_stack() as setup:
        for number in range(1, cycles + 1):
            tell(f"share, release {number} of {cycles}")
            release = setup.release(RELEASED, {"soak_s": SOAK_S})
            splits.append(_split(setup.admin, _until(setup.admin, release, S.DONE)))
            setup.take_back()
    print(
        f"A release of {RELEASED} with the default strategy and a soak of {SOAK_S:g} s; seconds, "
        f"medians of {cycles}.\n"
    )
    print_row("state", *PARTS_OF_TIME)
    print_row(*["---"] * (1 + len(PARTS_OF_TIME)))
    for state in splits[0]:
        print_row(state, *_medians([split[state] for split in splits]))
    totals = [_sum(list(split.values())) for split in splits]
    print_row("all", *_medians(totals))
    ours_s = median(total.ours_s for total in totals)
    print(f"\nOurs in all {ours_s:.2f} s: goal {_goal(ours_s, 1.0)}.\n")


PARTS: Mapping[str, tuple[Callable[[int], None], int]] = {
    "cycles": (bench_cycles, 1_000),
    "rollback": (bench_rollback, 50),
    "first": (bench_first, 10),
    "share": (bench_share, 3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A running stack; `request` is one for the example's released model."""

    stack: Stack
    admin: Admin
    request: Tensors

    def release(self, model: str, strategy: Mapping[str, Any]) -> str:
        """Where the release is."""
        body = {"version": VERSION, "strategy": dict(strategy)}
        return str(self.admin.ask(f"/v1/models/{model}/releases", body)["release"])

    def wait_at_rest(self) -> None:
        """Until what is hot serves, and no release goes on."""

        def is_at_rest() -> bool:
            is_ready: bool = self.admin.readiness()["ready"]
            return is_ready and not any(self.admin.releases(active="true"))

        must(wait_until(is_at_rest, PATIENCE_S), "the end of all releases")

    def take_back(self) -> None:
        """Roll the example's release back, and wait until the new version's process has ended."""
        self.admin.wait(self.admin.ask(f"/v1/models/{RELEASED}:rollback"), PATIENCE_S)
        time.sleep(GONE_S)

    def ask_others(self, action: str) -> list[dict[str, Any]]:
        return [self.admin.ask(f"/v1/models/{model}:{action}") for model in OTHERS]

    def have_others(self, action: str) -> None:
        """Returns when it is done."""
        for operation in self.ask_others(action):
            self.admin.wait(operation, PATIENCE_S)

    def http(self) -> Client:
        return HttpClient(self.stack.serving.http_port)

    @property
    def ways(self) -> Mapping[str, Callable[[], Client]]:
        """To Triton itself, and through the gateway."""
        gateway_port = int(self.stack.http_address.rpartition(":")[2])
        return {
            "HTTP, Triton itself": self.http,
            "gRPC, Triton itself": partial(GrpcClient, self.stack.serving.grpc_address),
            "HTTP, gateway": partial(HttpClient, gateway_port),
            "gRPC, gateway": partial(GrpcClient, self.stack.grpc_address),
        }

    @contextmanager
    def traffics(self) -> Iterator[Mapping[str, Traffic]]:
        """Some clients each way, and as many that ask nobody."""
        traffics = {
            way: Traffic(
                {f"{way} {number}": connect for number in range(CLIENTS)},
                ECHO,
                ONES,
                pause_s=PAUSE_S,
            )
            for way, connect in {**self.ways, NOBODY: Sleeper}.items()
        }
        with ExitStack() as stack:
            for traffic in traffics.values():
                stack.enter_context(traffic)
            yield traffics

    def traffic(self) -> Traffic:
        """One client each way."""
        return Traffic(self.ways, ECHO, ONES, pause_s=QUICK_PAUSE_S)


class Sleeper:
    """Asks nobody: how late it wakes up is what the machine adds to every latency."""

    def infer(self, model: str, inputs: Tensors) -> Answer:
        began_s = time.perf_counter()
        time.sleep(SLEEP_S)
        return Answer(0, {}, time.perf_counter() - began_s, "")

    def close(self) -> None:
        """It has no connection."""


@contextmanager
def _echo_stack(shelf_of: Callable[[Path], Shelf] | None = None) -> Iterator[Setup]:
    """With two versions of `ECHO`, of which the first serves, and what is on a shelf."""
    with new_home() as home:
        store = Store(home / "store") if shelf_of is None else shelf_of(home / "store").store
        _publish_echo(store, BASE)
        with _started(home, store, ONES) as setup:
            _publish_echo(store, VERSION)
            yield setup


@contextmanager
def _example_stack() -> Iterator[Setup]:
    with new_home() as home:
        shelf = _shelf(home / "store", models=(RELEASED,))
        with _started(home, shelf.store, shelf.request(RELEASED).inputs) as setup:
            shelf.publish(RELEASED, GOOD)
            yield setup


def _shelf(root: Path, *, models: Sequence[str]) -> Shelf:
    return Shelf(build_example(Console(stderr=True)), root, models)


@contextmanager
def _started(home: Path, store: Store, request: Tensors) -> Iterator[Setup]:
    """What is hot serves."""
    stack = Stack(
        provision(EMBEDDED, tell),
        home=home / "stack",
        store=store.root,
        ports=Ports.free(),
        soak_s=1.0,
        on_event=tell,
        envoy=provision_envoy(ENVOY, tell),
    )
    with stack, Admin(stack.url) as admin:
        setup = Setup(stack=stack, admin=admin, request=request)
        setup.wait_at_rest()
        yield setup


def _publish_echo(store: Store, version: int) -> None:
    """Its manifest comes last, and makes it complete."""
    folder = store.version(ECHO, version)
    folder.path.mkdir(parents=True)
    store.intent(ECHO).write_text(Intent(tier=Tier.HOT).model_dump_json())
    (folder.path / "model.py").write_text(ECHO_MODEL)
    folder.warmup.mkdir()
    (folder.warmup / "x.bin").write_bytes(warmup_bytes(ONES["x"][0]))
    folder.config.write_text(ECHO_CONFIG)
    write_golden(folder.golden, [GoldenSample(ONES, {"y": ONES["x"]})])
    like = manifest_of(ECHO, held_bytes=ECHO_BYTES)
    written = like.model_copy(
        update={
            "version": version,
            "files": record_files(folder.path),
            "cost": replace(like.cost, shapes=()),
        }
    )
    folder.manifest.write_text(written.model_dump_json())


def _until(admin: Admin, release: str, state: S) -> dict[str, Any]:
    """The release as soon as it is in a state."""
    for found in admin.follow(release):
        if found["state"] == state:
            return found
        if not found["active"]:
            break
    sys.exit(f"release is {found['state']}, not {state}: {found['reason']}")


QUIET, PROVING, PROMOTION, ROLLBACK = "quiet", "proving on canary", "promotion", "rollback"
WINDOWS = (QUIET, PROVING, PROMOTION, ROLLBACK)
Spans = Mapping[str, tuple[float, float]]
"""From when to when (monotonic), by window."""


def _quiet() -> Spans:
    time.sleep(GONE_S)
    began_s = time.monotonic()
    time.sleep(QUIET_S)
    return {QUIET: (began_s, time.monotonic())}


def _cycle(setup: Setup) -> Spans:
    """A whole release but its comparison, rolled back as soon as the new version has traffic."""
    release = setup.release(ECHO, SWITCH)
    _until(setup.admin, release, S.SOAKING)
    setup.admin.ask(f"/v1/models/{ECHO}:rollback")
    steps = _until(setup.admin, release, S.ROLLED_BACK)["steps"]
    ahead_s = time.time() - time.monotonic()
    at_s = {step["state"]: _seconds(step["at"]) - ahead_s for step in steps}
    return {
        PROVING: (at_s[S.ADMITTED], at_s[S.PROMOTING]),
        PROMOTION: (at_s[S.PROMOTING], at_s[S.SOAKING]),
        ROLLBACK: (at_s[S.ROLLING_BACK], at_s[S.ROLLED_BACK]),
    }


@dataclass(frozen=True, slots=True)
class Windows:
    """Latencies of the requests that were under way in each window, seconds."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in WINDOWS})

    def add(self, seen: Sequence[Seen], spans: Sequence[Spans]) -> None:
        for name, (began_s, ended_s) in (pair for each in spans for pair in each.items()):
            self.seconds[name] += [
                each.seconds
                for each in seen
                if each.at_s >= began_s and each.at_s - each.seconds <= ended_s
            ]

    def ms(self, name: str, percent: int) -> float:
        return 1e3 * float(np.percentile(self.seconds[name], percent))

    def ratio(self, percent: int) -> float:
        return self.ms(PROMOTION, percent) / self.ms(QUIET, percent)


def _over_the_switch(client: Client, inputs: Tensors) -> tuple[list[float], list[float]]:
    """Latencies until the new version has answered a few times: the old one's and its own, ms."""
    found: dict[int, list[float]] = {BASE: [], VERSION: []}
    while len(found[VERSION]) < FIRST_REQUESTS:
        answer = _answer(client, inputs)
        found[answer.version].append(1e3 * answer.seconds)
    return found[BASE], found[VERSION]


def _answer(client: Client, inputs: Tensors) -> Answer:
    time.sleep(PAUSE_S)
    return client.infer(RELEASED, inputs)


PARTS_OF_TIME = ("in all", "Triton loads", "Triton unloads", "requests", "rests", "soak", "ours")


@dataclass(frozen=True, slots=True)
class Split:
    """Seconds of a state. `requests_s` are those that measure and compare, `rest_s` between."""

    in_all_s: float
    load_s: float
    unload_s: float
    requests_s: float
    rest_s: float
    soak_s: float

    @property
    def ours_s(self) -> float:
        others_s = (self.load_s, self.unload_s, self.requests_s, self.rest_s, self.soak_s)
        return self.in_all_s - sum(others_s)


def _split(admin: Admin, release: Mapping[str, Any]) -> dict[str, Split]:
    """By state, in their order."""
    trial = admin.get(f"{release['location']}/evidence")["compare"]
    events = list(admin.audit(model=release["model"], since=release["steps"][0]["at"]))
    return {
        step["state"]: _split_of(step, after["at"], events, trial)
        for step, after in pairwise(release["steps"])
    }


def _split_of(
    step: Mapping[str, Any],
    until: str,
    events: Sequence[Mapping[str, Any]],
    trial: Mapping[str, Any],
) -> Split:
    """What ended in the state, on the server that it is about; the other one delays nobody."""
    state = step["state"]
    server = Server.CANARY if state in ON_CANARY else Server.SERVING
    here = [each for each in events if step["at"] < each["at"] <= until]
    loads = [
        each["detail"]
        for each in here
        if each["event"] == EventName.MODEL_LOADED and each["server"] == server
    ]
    unloads_s = [
        min(each["seconds"], _seconds(each["at"]) - _seconds(step["at"]))
        for each in here
        if each["event"] == EventName.MODEL_UNLOADED and each["server"] == server
    ]
    checks_s = [
        each["seconds"]
        for each in here
        if each["event"] == EventName.CHECK_PASSED and each["detail"]["check"] != CheckKind.FILES
    ]
    compared_s = rest_s = 0.0
    if state == S.COMPARING:
        compared_s = trial["watched_s"]
        rest_s = EVERY_S[CheckKind.COMPARE] * (trial["rounds"] - 1)
    return Split(
        in_all_s=step["seconds"],
        load_s=sum(load["load_s"] for load in loads),
        unload_s=sum(unloads_s),
        requests_s=sum(
            (*checks_s, compared_s, *(load["warm_up_s"] + load["verify_s"] for load in loads))
        ),
        rest_s=rest_s,
        soak_s=SOAK_S if state == S.SOAKING else 0.0,
    )


def _sum(splits: Sequence[Split]) -> Split:
    return Split(*map(sum, zip(*map(astuple, splits), strict=True)))


def _medians(splits: Sequence[Split]) -> list[str]:
    columns = zip(*((*astuple(each), each.ours_s) for each in splits), strict=True)
    return [f"{median(column):.2f}" for column in columns]


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def _goal(seen: float, limit: float) -> str:
    return f"≤ {limit:g}: {'met' if seen <= limit else 'missed'}"


if __name__ == "__main__":
    main()
