"""What builds cost, and what they give: `python -m bench.generator [--only PART]...`.

Prints Markdown for `RESULTS.md`. Whoever is compared runs next to the others, in turns, on the
same models and the same machine. Model Navigator has an environment of its own below
`.pilotlight/bench`; the first run installs it.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import yaml
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from bench.navigating import NavigatorMissing, navigator
from bench.report import MIB, machine, new_home, print_row, tell
from contract.config import format_config, parse_config
from contract.dtypes import datatype_of
from contract.layout import ONNX_MODEL, Store
from contract.manifest import read_manifest
from contract.samples import Tensors, read_golden
from embedded.ports import free_ports
from embedded.provision import provision
from embedded.triton import TritonServer
from generator.fingerprint import fingerprint, hash_named
from generator.hashes import Hashes
from generator.recipe import load_recipe
from pilotlight.paths import EMBEDDED, EXAMPLE, WORK

RECIPE = EXAMPLE / "models.yaml"
BUILT, NAVIGATED = WORK / "bench/example", WORK / "bench/navigated"
GRID, MANY = 50, 200
JOBS = (1, 2)
INSTANCES = (1, 3)
READ_AHEAD = "ours, files read before"
LIVE_TIMEOUT_S = 30.0
UNTIL_STEADY = 60
STEADY = 20
"""Requests, the last of which count as steady."""

GRID_SOURCE = '''
"""Small models of six kinds, in several sizes."""

import torch
from torch import nn


class Tables(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.table = nn.EmbeddingBag(1000, size)
        self.top = nn.Sequential(nn.Linear(size, 2 * size), nn.ReLU(), nn.Linear(2 * size, 2))

    def forward(self, ids):
        return self.top(self.table(ids))


class Encoder(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.table = nn.Embedding(1000, size)
        self.mix = nn.Linear(size, size)
        self.top = nn.Linear(size, 2)

    def forward(self, ids):
        states = self.table(ids)
        mixed = torch.softmax(states @ self.mix(states).transpose(1, 2), -1) @ states
        return self.top(mixed.mean(1))


class Memory(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.table = nn.Embedding(1000, size)
        self.memory = nn.GRU(size, size, batch_first=True)
        self.top = nn.Linear(size, 2)

    def forward(self, ids):
        return self.top(self.memory(self.table(ids))[0][:, -1])


KINDS = {"tables": Tables, "encoder": Encoder, "memory": Memory}


def create(kind, size):
    return KINDS[kind](size).eval()
'''
KINDS = ("tables", "encoder", "memory")


@dataclass(frozen=True, slots=True)
class Spent:
    """By a command and its children."""

    wall_s: float
    cpu_s: float

    def __add__(self, other: "Spent") -> "Spent":
        return Spent(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)


NOTHING = Spent(0.0, 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, help="a part; several times")
    parser.add_argument("--rounds", type=int, default=3, help="of what is compared")
    told = parser.parse_args()
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine()}\n")
    for part in told.only or PARTS:
        PARTS[part](told.rounds)


def bench_build(rounds: int) -> None:
    """The example's five models."""
    names = [model.name for model in load_recipe(RECIPE).models]
    ways: dict[str, Callable[[Path], Spent]] = {
        "`pilotlight build`, 2 jobs": lambda out: _build(RECIPE, out, jobs=2),
        "`pilotlight build`, 1 job": lambda out: _build(RECIPE, out, jobs=1),
        "torch.onnx.export, a process each": lambda out: _alone_each(RECIPE, out, names),
        "torch.onnx.export, one process": lambda out: _alone(RECIPE, out, names),
    }
    given: set[str] = set()
    try:
        python = navigator()

        def navigate(out: Path) -> Spent:
            spent = _navigate(python, out)
            given.update(path.name for path in (out / "repository").iterdir())
            return spent

        ways["Model Navigator, ONNX on the CPU"] = navigate
    except NavigatorMissing as missing:
        print(f"Model Navigator cannot be installed here: {missing}\n")
    _compare("The example's five models", ways, rounds)
    if given:
        print(f"Model Navigator gave {', '.join(sorted(given))}, of {len(names)} models.\n")


def bench_grid(rounds: int) -> None:
    """Fifty small models."""
    with new_home() as home:
        recipe = _write_grid(home / "recipe", GRID)
        names = [model.name for model in load_recipe(recipe).models]
        ways: dict[str, Callable[[Path], Spent]] = {
            **{
                f"`pilotlight build`, {jobs} job{'s' * (jobs > 1)}": (
                    lambda out, jobs=jobs: _build(recipe, out, jobs=jobs)
                )
                for jobs in JOBS
            },
            "torch.onnx.export, a process each": lambda out: _alone_each(recipe, out, names),
            "torch.onnx.export, one process": lambda out: _alone(recipe, out, names),
        }
        _compare(f"{GRID} small models", ways, min(rounds, 1))


def bench_again(rounds: int) -> None:
    """A build when nothing has changed, next to the build before it."""
    print("Nothing changed: the whole command `pilotlight build`, medians of 5.\n")
    columns = ["models", "built, s (CPU)", "built again, s (CPU)", "ratio (CPU)", "goal"]
    _print_head(columns)
    with new_home() as home:
        store = home / "store"
        first = _build(RECIPE, store, jobs=2)
        again = _typical([_build(RECIPE, store, jobs=2) for _ in range(5)])
        ratio = first.wall_s / again.wall_s
        count = len(load_recipe(RECIPE).models)
        ratios = f"{ratio:.0f} ({first.cpu_s / again.cpu_s:.0f})"
        print_row(count, _said(first), _said(again), ratios, _goal(ratio, 100))
    with new_home() as home:
        recipe, store = _publish_many(home)
        again = _typical([_build(recipe, store, jobs=2) for _ in range(5)])
        goal = _goal(again.wall_s, 2.0, most=True)
        print_row(MANY, "", _said(again), "", f"under 2 s: {goal}")
    print()


def bench_load(rounds: int) -> None:
    """Sessions of ONNX Runtime in one process, weights outside of the model file or in it."""
    print(
        "Sessions in one process, as instances of Triton are: seconds of the first, private MB of "
        f"all; medians of {rounds} fresh processes each, files cached.\n"
    )
    columns = ["model", "weights, MB"]
    columns += [f"{where}, {what}" for where in ("own file", "embedded") for what in _HELD]
    _print_head([*columns, "own file, private of 3 / 1"])
    store = _example()
    with new_home() as home:
        for model in store.models():
            file = store.version(model, 1).path / ONNX_MODEL
            embedded = home / model / ONNX_MODEL
            embedded.parent.mkdir()
            _run(["bench.exporting", "embed", str(file), str(embedded)])
            held: dict[tuple[Path, int], list[dict[str, float]]] = {}
            for _ in range(rounds):
                for path in (file, embedded):
                    for count in INSTANCES:
                        held.setdefault((path, count), []).append(_hold(path, count))
            found = {
                key: {name: median(each[name] for each in several) for name in several[0]}
                for key, several in held.items()
            }
            cells = [
                cell
                for path in (file, embedded)
                for cell in (
                    f"{found[path, 1]['first_s']:.3f}",
                    *(f"{found[path, n]['private_bytes'] / MIB:.1f}" for n in INSTANCES),
                )
            ]
            one, three = (found[file, count]["private_bytes"] for count in INSTANCES)
            size = embedded.stat().st_size / MIB
            print_row(model, f"{size:.1f}", *cells, f"{three / max(one, 1):.1f}")
    print()


_HELD = ("1: s", *(f"{count}: MB" for count in INSTANCES))


def bench_first(rounds: int) -> None:
    """The first request to a fresh model on the embedded Triton."""
    store = _example()
    with new_home() as home:
        configs = {
            "ours": store.root,
            READ_AHEAD: store.root,
            "no warm-up": _without_warmup(store, home / "bare"),
        }
        try:
            configs["Model Navigator's"] = _navigated(navigator())
        except NavigatorMissing as missing:
            tell(f"Model Navigator is left out: {missing}")
        firsts = _first_requests(configs, store, rounds, home)
    print(
        "First requests on the embedded Triton, over gRPC, at the largest and at the smallest "
        f"golden sample: ms of the first, and of the steady state (median of the last {STEADY} of "
        f"{UNTIL_STEADY}); medians of {rounds} loads each into a fresh server.\n"
    )
    _print_head(["model", "sample", *(f"{name}: first / steady" for name in configs), "goal"])
    for (model, sample), found in firsts.items():
        ratios = {name: median(first / steady for first, steady in found[name]) for name in found}
        cells = [
            f"{median(first for first, _ in found[name]):.2f} / "
            f"{median(steady for _, steady in found[name]):.2f} = {ratios[name]:.2f}"
            if name in found
            else "does not load"
            for name in configs
        ]
        print_row(model, sample, *cells, _goal(ratios["ours"], 1.1, most=True))
    print()


PARTS: Mapping[str, Callable[[int], None]] = {
    "build": bench_build,
    "grid": bench_grid,
    "again": bench_again,
    "load": bench_load,
    "first": bench_first,
}


def _compare(what: str, ways: Mapping[str, Callable[[Path], Spent]], rounds: int) -> None:
    """Print a table: each way once in a round, in another order each time."""
    found: dict[str, list[Spent]] = {way: [] for way in ways}
    failed: dict[str, str] = {}
    for round_ in range(rounds):
        order = list(ways)[round_ % len(ways) :] + list(ways)[: round_ % len(ways)]
        for way in order:
            tell(f"{what}, round {round_ + 1} of {rounds}: {way}")
            with new_home() as home:
                try:
                    found[way].append(ways[way](home / "out"))
                    tell(f"  {_said(found[way][-1])} s (CPU)")
                except subprocess.CalledProcessError as error:
                    failed[way] = str(error)
    typical = {way: _typical(spent) for way, spent in found.items() if spent}
    base = next(spent for way, spent in typical.items() if way.endswith("a process each"))
    print(f"{what}: medians of {rounds} rounds.\n")
    _print_head(["", "s", "CPU s", "s / torch.onnx.export, a process each", "CPU s, likewise"])
    for way, spent in typical.items():
        wall, cpu = spent.wall_s / base.wall_s, spent.cpu_s / base.cpu_s
        print_row(way, f"{spent.wall_s:.1f}", f"{spent.cpu_s:.1f}", f"{wall:.2f}", f"{cpu:.2f}")
    for way, why in failed.items():
        print(f"\n{way} failed: {why}")
    print()


@cache
def _example() -> Store:
    """The example's models, built once in a run."""
    shutil.rmtree(BUILT, ignore_errors=True)
    _build(RECIPE, BUILT, jobs=2)
    return Store(BUILT)


def _navigated(python: Path) -> Path:
    """The same models by Model Navigator."""
    shutil.rmtree(NAVIGATED, ignore_errors=True)
    _navigate(python, NAVIGATED)
    return NAVIGATED / "repository"


def _build(recipe: Path, store: Path, *, jobs: int) -> Spent:
    command = ["build", str(recipe), "--store", str(store), "--jobs", str(jobs)]
    return _run(["pilotlight", *command])


def _alone(recipe: Path, out: Path, names: Sequence[str]) -> Spent:
    return _run(["bench.exporting", "alone", str(recipe), str(out), *names])


def _alone_each(recipe: Path, out: Path, names: Sequence[str]) -> Spent:
    return sum((_alone(recipe, out, [name]) for name in names), NOTHING)


def _navigate(python: Path, out: Path) -> Spent:
    script = Path(__file__).with_name("navigating.py")
    return _measured([str(python), str(script), str(RECIPE), str(out)])


def _run(module: Sequence[str]) -> Spent:
    return _measured([sys.executable, "-m", *module])


def _measured(command: Sequence[str]) -> Spent:
    """Run it to its end.

    Raises:
        CalledProcessError: it failed.
    """
    began_s = time.monotonic()
    with new_home() as home, (home / "said").open("w+b") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            tell(said.read().decode(errors="replace")[-2000:])
            raise subprocess.CalledProcessError(process.returncode, command)
    return Spent(time.monotonic() - began_s, usage.ru_utime + usage.ru_stime)


def _hold(file: Path, instances: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.exporting", "hold", str(file), str(instances)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def _write_grid(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    (folder / "grid.py").write_text(GRID_SOURCE)
    models = [
        {
            "name": f"{KINDS[index % len(KINDS)]}_{index}",
            "source": "grid:create",
            "args": {"kind": KINDS[index % len(KINDS)], "size": 8 + index},
            "inputs": [{"name": "ids", "dtype": "INT64", "shape": ["seq"], "range": [0, 1000]}],
            "dims": {"seq": {"min": 1, "opt": 8, "max": 32}},
            "outputs": ["score"],
            "max_batch_size": 8,
        }
        for index in range(count)
    ]
    path = folder / "models.yaml"
    path.write_text(yaml.safe_dump({"triton": "24.10", "target": "cpu", "models": models}))
    return path


def _publish_many(home: Path) -> tuple[Path, Path]:
    """A recipe and a store in which all its models are current: one built, the others copies."""
    path = _write_grid(home / "recipe", MANY)
    recipe, folder, store = load_recipe(path), path.parent, Store(home / "store")
    whole = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump(whole | {"models": whole["models"][:1]}))
    _build(path, store.root, jobs=1)
    path.write_text(yaml.safe_dump(whole))
    built = read_manifest(store.version(recipe.models[0].name, 1).manifest)
    hashes = Hashes.beside(folder)
    for model in recipe.models[1:]:
        files = store.version(model.name, 1)
        shutil.copytree(store.model(built.model), store.model(model.name), symlinks=True)
        copied = built.model_copy(
            update={
                "model": model.name,
                "fingerprint": fingerprint(
                    model, recipe, built.sources | hash_named(model, folder, hashes)
                ),
            }
        )
        files.manifest.write_text(copied.model_dump_json())
    return path, store.root


def _without_warmup(store: Store, root: Path) -> Path:
    shutil.copytree(store.root, root, symlinks=True)
    for model in store.models():
        path = root / model / "1" / "config.pbtxt"
        config = parse_config(path.read_text(), str(path))
        config.ClearField("model_warmup")
        path.write_text(format_config(config))
    return root


def _first_requests(
    configs: Mapping[str, Path], store: Store, rounds: int, home: Path
) -> dict[tuple[str, str], dict[str, list[tuple[float, float]]]]:
    """First and steady request in ms, by model and sample, then by config."""
    found: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = {}
    samples = {
        model: sorted(
            (sample.inputs for sample in read_golden(store.version(model, 1).golden)),
            key=_elements,
        )
        for model in store.models()
    }
    for model, (smallest, *_, largest) in samples.items():
        ends = {"smallest": smallest, "largest": largest}
        other = next(name for name in samples if name != model)
        before = other, samples[other][0]
        for round_ in range(rounds):
            for size, inputs in ends.items():
                for name, root in _turned(configs, round_):
                    tell(f"first request: {model}, {size}, {name}, round {round_ + 1} of {rounds}")
                    if name == READ_AHEAD:
                        _read(root / model / "1")
                    times_ms = _requests(root, model, inputs, home, before=before)
                    if times_ms:
                        pair = times_ms[0], median(times_ms[-STEADY:])
                        found.setdefault((model, size), {}).setdefault(name, []).append(pair)
    return found


def _read(folder: Path) -> None:
    """As a sidecar does before a load: weights that are mapped are read when they are touched."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def _turned(configs: Mapping[str, Path], by: int) -> Iterator[tuple[str, Path]]:
    items = list(configs.items())
    yield from items[by % len(items) :] + items[: by % len(items)]


def _elements(inputs: Tensors) -> int:
    return sum(array.size for array in inputs.values())


def _requests(
    root: Path, model: str, inputs: Tensors, home: Path, *, before: tuple[str, Tensors]
) -> list[float]:
    """What requests to a model take that was just loaded, in ms; none where it does not load.

    A request `before`, to another model, has the connection and the server's own first time.
    """
    http, grpc, metrics = free_ports(3)
    server = TritonServer(
        installation=provision(EMBEDDED, tell),
        name="bench",
        repository=root,
        log=home / "triton.log",
        http_port=http,
        grpc_port=grpc,
        metrics_port=metrics,
        completes_configs=False,
    )
    server.start()
    try:
        server.wait_live(LIVE_TIMEOUT_S)
        with InferenceServerClient(server.grpc_address) as client:
            try:
                for name in (before[0], model):
                    client.load_model(name)
                client.infer(before[0], [_input(*each) for each in before[1].items()])
            except InferenceServerException as error:
                tell(f"{model} does not load: {error}")
                return []
            given = [_input(name, array) for name, array in inputs.items()]
            times_ms = []
            for _ in range(UNTIL_STEADY):
                began_s = time.perf_counter()
                client.infer(model, given)
                times_ms.append(1e3 * (time.perf_counter() - began_s))
            return times_ms
    finally:
        server.kill()
        server.stop()


def _input(name: str, array: Any) -> InferInput:
    given = InferInput(name, array.shape, datatype_of(array))
    given.set_data_from_numpy(np.ascontiguousarray(array))
    return given


def _typical(spent: Sequence[Spent]) -> Spent:
    return Spent(median(each.wall_s for each in spent), median(each.cpu_s for each in spent))


def _said(spent: Spent) -> str:
    return f"{spent.wall_s:.2f} ({spent.cpu_s:.2f})"


def _goal(found: float, wanted: float, *, most: bool = False) -> str:
    met = found <= wanted if most else found >= wanted
    return f"{'at most' if most else 'at least'} {wanted:g}: {'met' if met else 'missed'}"


def _print_head(columns: Sequence[str]) -> None:
    print_row(*columns)
    print_row(*["---"] * len(columns))


if __name__ == "__main__":
    main()
