"""A small Triton in explicit mode, in memory, on a real stage folder.

It does what TRITON was seen to do (`tests/contract/test_model_server.py` runs on both) and
refuses use that would endanger a real one: whatever it refused is in `violations`.

A version's `model.onnx` may be JSON (`tests.builders.publish`): y = scale x, or an error at
load. It may also say: `takes_s` by batch size, `nan_from` which batch size on, the bytes that it
`leaks` with each request, and that it `tells_failures`, as backends in C++ do. Any other version
answers its own golden samples.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from contract.config import ModelConfig, parse_config
from contract.errors import ContractError
from contract.layout import CONFIG, ONNX_MODEL, VersionFolder
from contract.samples import GoldenSample, Tensors, read_golden
from contract.warmup import warmup_requests
from sidecar.core.fleet import About, VersionState
from sidecar.core.memory import CPU, Device, Reading
from sidecar.core.trial import Served
from sidecar.errors import NotExplicit, Refused, ServerLost
from tests.fakes.faults import Fault, parse_fault
from tests.fakes.meter import ENDLESS, Copy, FakeMeter

REST_AFTER_LOAD_S = 0.05
# Clocks of different loops round differently.
_ROUNDING_S = 1e-6

Compute = Callable[[Tensors], Tensors]
State = VersionState
T = TypeVar("T")


class ImpossibleUse(AssertionError):
    """Whoever drives this server broke a law; a real one might have died of it."""


@dataclass(slots=True)
class _Loaded:
    """One version in memory: its bits as they were when it was loaded."""

    compute: Compute
    copy: Copy
    served: int
    behaviour: Mapping[str, Any] = field(default_factory=dict)
    executions: int = 0
    failed: int = 0

    async def answer(self, inputs: Tensors) -> Tensors:
        self.executions += 1
        takes_s = self.behaviour.get("takes_s", {}).get(str(len(inputs.get("x", ()))))
        if takes_s:
            await asyncio.sleep(takes_s)
        self.copy.bytes += self.behaviour.get("leaks", 0)
        try:
            outputs = self.compute(inputs)
        except Refused:
            told = self.behaviour.get("tells_failures", False)
            self.failed += told
            self.served += not told
            raise
        self.served += 1
        return outputs


@dataclass(slots=True)
class _Model:
    states: dict[int, State] = field(default_factory=dict)
    loaded: dict[int, _Loaded] = field(default_factory=dict)
    config: ModelConfig = None
    seen_ns: int = -1
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def ready(self) -> frozenset[int]:
        return frozenset(v for v, state in self.states.items() if state is State.READY)


class FakeTriton:
    """A `ports.ModelServer`. `kill` and `restart` it as often as you like.

    `history` holds the READY versions of a model after each change, `calls` what was asked.
    `on_serving` makes it refuse to be left without a version that it served. Without
    `sees_the_store` the links that lead there lead nowhere, as in a container that lacks the mount.
    No load ends until `may_end_loads` is set.
    """

    def __init__(
        self,
        repository: Path,
        *,
        name: str = "triton",
        explicit: bool = True,
        faults: Iterable[str] = (),
        load_s: float = 0.01,
        unload_s: float = 0.01,
        infer_s: float = 0.0,
        memory: FakeMeter | None = None,
    ) -> None:
        """Loads that `memory` has no room for are refused as ONNX Runtime would."""
        self._repository = repository
        self._name = name
        self._explicit = explicit
        self._faults = [parse_fault(line) for line in faults]
        self.load_s = load_s
        self.unload_s = unload_s
        self.infer_s = infer_s
        self._memory = memory or FakeMeter()
        self._models: dict[str, _Model] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._called: set[str] = set()
        self._last_load_s = float("-inf")
        self._alive = True
        self._died = asyncio.Event()
        self.may_end_loads = asyncio.Event()
        self.may_end_loads.set()
        self.calls: list[str] = []
        self.history: list[tuple[str, frozenset[int]]] = []
        self.violations: list[str] = []
        self.knows_its_driver = True
        self.about = About(version="2.51.0", is_ready=True)
        self.sees_the_store = True

    def add_faults(self, *lines: str) -> None:
        self._faults += [parse_fault(line) for line in lines]

    def kill(self) -> None:
        """As SIGKILL would: nothing is finished, nothing is remembered."""
        self._alive = False
        self._died.set()
        for task in self._tasks:
            task.cancel()
        self._models = {}
        self._memory.free_all(self._name)

    def restart(self) -> None:
        if self._alive:
            raise ImpossibleUse(f"{self._name} runs already")
        self._alive, self._died = True, asyncio.Event()
        self._last_load_s = float("-inf")

    @property
    def is_alive(self) -> bool:
        return self._alive

    def driver_died(self) -> None:
        """Forget what its driver had in flight; the next driver knows nothing of it."""
        self._called.clear()
        self.knows_its_driver = False

    def ready(self, model: str) -> frozenset[int]:
        return self._models[model].ready if model in self._models else frozenset()

    def executions(self, model: str, version: int) -> int:
        """Inferences since the version was loaded, warm-up included; a reload starts anew."""
        return self._models[model].loaded[version].executions

    def held_bytes(self) -> dict[str, int]:
        """By model, its loaded versions together."""
        return {
            name: sum(loaded.copy.bytes for loaded in model.loaded.values())
            for name, model in self._models.items()
            if model.loaded
        }

    async def check(self) -> About:
        return await self._answered("check", None, None, self._check())

    async def index(self) -> Mapping[str, Mapping[int, State]]:
        return await self._answered("index", None, None, self._index())

    async def load(self, model: str, *, timeout_s: float) -> None:
        await self._exclusively(
            model, self._answered("load", model, None, self._load(model), timeout_s)
        )

    async def unload(self, model: str) -> None:
        await self._exclusively(model, self._answered("unload", model, None, self._unload(model)))

    async def infer(
        self, model: str, version: int, inputs: Tensors, *, timeout_s: float
    ) -> Tensors:
        work = self._infer(model, version, inputs)
        return await self._answered("infer", model, version, work, timeout_s)

    async def requests_served(self) -> Mapping[str, Mapping[int, int]]:
        return await self._answered("stats", None, None, self._requests_served())

    async def served(self, model: str) -> Mapping[int, Served]:
        return await self._answered("stats", model, None, self._served(model))

    async def _exclusively(self, model: str, call: Coroutine[Any, Any, None]) -> None:
        if model in self._called:
            call.close()
            self._refuse(f"a second load or unload of {model} while one is in flight")
        self._called.add(model)
        try:
            await call
        finally:
            self._called.discard(model)

    async def _answered(
        self,
        call: str,
        model: str | None,
        version: int | None,
        work: Coroutine[Any, Any, T],
        timeout_s: float = 10.0,
    ) -> T:
        """Do `work` in the server: it goes on when the client gives up."""
        self.calls.append(" ".join(str(part) for part in (call, model, version) if part))
        fault = self._take_fault(call, model, version)
        if fault is not None and fault.what == "kill":
            self.kill()
        if not self._alive or (fault is not None and fault.what == "lost"):
            work.close()
            raise ServerLost(f"no answer from {self._name} server: UNAVAILABLE connection refused")
        if fault is not None and fault.what == "refused":
            work.close()
            raise Refused(fault.text)
        if fault is not None and fault.what == "ignored":
            work.close()
            work = _nothing()
        task = asyncio.create_task(self._delayed(work, fault))
        # Killed before it began, it would complain that nobody awaited it.
        task.add_done_callback(lambda _: work.close())
        self._keep(task)
        died = asyncio.create_task(self._died.wait())
        try:
            await asyncio.wait({task, died}, timeout=timeout_s, return_when="FIRST_COMPLETED")
        finally:
            died.cancel()
        if not self._alive or task.cancelled():
            raise ServerLost(f"no answer from {self._name} server: UNAVAILABLE socket closed")
        if not task.done():
            raise ServerLost(f"no answer from {self._name} server: DEADLINE_EXCEEDED")
        if fault is not None and fault.what == "lost after":
            task.result()
            raise ServerLost(f"no answer from {self._name} server: UNAVAILABLE socket closed")
        return task.result()

    async def _delayed(self, work: Coroutine[Any, Any, T], fault: Fault | None) -> T:
        await asyncio.sleep(fault.seconds if fault else 0)
        return await work

    def _take_fault(self, call: str, model: str | None, version: int | None) -> Fault | None:
        for fault in self._faults:
            if fault.what != "fails" and fault.concerns(call, model, version):
                fault.times -= 1
                return fault
        return None

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)

        def ended(task: asyncio.Task[Any]) -> None:
            self._tasks.discard(task)
            if not task.cancelled():
                task.exception()

        task.add_done_callback(ended)

    def _refuse(self, what: str) -> None:
        self.violations.append(f"{self._name}: {what}")
        raise ImpossibleUse(self.violations[-1])

    async def _check(self) -> About:
        self._must_be_explicit()
        return self.about

    def _must_be_explicit(self) -> None:
        if not self._explicit:
            raise NotExplicit(
                f"{self._name} server is not in explicit mode: explicit model load / unload is "
                "not allowed if polling is enabled; start it with --model-control-mode=explicit"
            )

    async def _index(self) -> Mapping[str, Mapping[int, State]]:
        folders = self._folders() or self._folders()
        if folders is None:
            raise Refused(f"failed to stat file {self._repository}")
        return {
            folder.name: dict(self._models[folder.name].states)
            if folder.name in self._models
            else {}
            for folder in folders
            if folder.is_dir()
        }

    def _folders(self) -> list[Path] | None:
        """None where one leads nowhere; it may have gone meanwhile, so our client asks twice."""
        found = list(self._repository.iterdir())
        return found if all(map(self._sees, found)) else None

    async def _load(self, name: str) -> None:
        self._must_be_explicit()
        model = self._models.setdefault(name, _Model())
        async with model.lock:
            try:
                await self._load_alone(name, model)
            except FileNotFoundError as error:
                raise Refused(
                    f"failed to load '{name}', failed to poll from model repository"
                ) from error

    async def _load_alone(self, name: str, model: _Model) -> None:
        folder = self._repository / name
        config = self._polled(name, folder)
        newest_ns = _newest_ns(folder)
        if model.ready and newest_ns <= model.seen_ns:
            return
        wanted = _served_versions(config, folder)
        if not wanted:
            raise Refused(
                f"failed to load '{name}', at least one version must be available under the "
                f"version policy of model '{name}'"
            )
        kept = (model.ready & wanted) - self._changed(model, config, folder, wanted)
        if model.ready - wanted:
            self._dropping(f"a version of {name} was dropped")
        fresh = await self._created(name, model, config, wanted - kept)
        model.config, model.seen_ns = config, newest_ns
        for version in fresh.keys() & model.ready:
            self._memory.free(model.loaded[version].copy)
        model.loaded |= fresh
        dropped = model.ready - wanted
        model.states |= dict.fromkeys(wanted, State.READY)
        self._last_load_s = asyncio.get_running_loop().time()
        self._begin_unload(name, model, dropped)
        self._note(name)

    def _polled(self, name: str, folder: Path) -> ModelConfig:
        """Config and folder as Triton's poll sees them; why it fails is only in its log."""
        try:
            config = parse_config((folder / CONFIG).read_text(), str(folder))
            dangling = [path for path in folder.iterdir() if not self._sees(path)]
        except (OSError, ContractError):
            config, dangling = None, []
        if config is None or config.name != name or dangling:
            raise Refused(f"failed to load '{name}', failed to poll from model repository")
        if not config.version_policy.HasField("specific"):
            self._refuse(f"the config of {name} does not say which versions to serve")
        return config

    def _sees(self, path: Path) -> bool:
        return path.exists() and (self.sees_the_store or not path.is_symlink())

    def _changed(
        self, model: _Model, config: ModelConfig, folder: Path, wanted: frozenset[int]
    ) -> frozenset[int]:
        """Versions that are wanted still, but cannot be kept in place."""
        others = [
            path for path in folder.iterdir() if path.name != CONFIG and not path.name.isdigit()
        ]
        everything = model.config is None or _without_policy(config) != _without_policy(
            model.config
        )
        if everything or any(_newest_ns(path) > model.seen_ns for path in others):
            return model.ready
        return frozenset(
            v for v in model.ready & wanted if _newest_ns(folder / str(v)) > model.seen_ns
        )

    async def _created(
        self, name: str, model: _Model, config: ModelConfig, versions: frozenset[int]
    ) -> dict[int, _Loaded]:
        """All or nothing; what serves goes on serving meanwhile, and after a failure."""
        model.states |= dict.fromkeys(versions - model.ready, State.LOADING)
        copies: dict[int, Copy] = {}
        fresh: dict[int, _Loaded] = {}
        problems = []
        with ExitStack() as memory:
            for version in sorted(versions):
                loading = self._memory.loading(self._name, name, version)
                try:
                    copies[version] = memory.enter_context(loading)
                except Refused as error:
                    problems.append(_problem(version, error))
            await asyncio.sleep(self.load_s if versions else 0)
            await self.may_end_loads.wait()
            for version, copy in copies.items():
                folder = self._repository / name / str(version)
                try:
                    self._fail_if_told(name, version)
                    fresh[version] = _loaded(folder, config, copy)
                except Refused as error:
                    problems.append(_problem(version, error))
            if problems:
                failed = versions - model.ready
                model.states |= dict.fromkeys(failed, State.UNAVAILABLE)
                raise Refused(f"load failed for model '{name}': {' '.join(problems)}")
        return fresh

    def _fail_if_told(self, name: str, version: int) -> None:
        for fault in self._faults:
            if fault.what == "fails" and fault.concerns("load", name, version):
                fault.times -= 1
                raise Refused(fault.text)

    async def _unload(self, name: str) -> None:
        self._must_be_explicit()
        model = self._models.setdefault(name, _Model())
        async with model.lock:
            if model.ready:
                self._dropping(f"{name} was unloaded")
            model.seen_ns, model.config = -1, None
            self._begin_unload(name, model, model.ready)
            self._note(name)

    def _dropping(self, what: str) -> None:
        """A model that is destroyed right after another was made can kill the server."""
        rested_s = asyncio.get_running_loop().time() - self._last_load_s
        if self.knows_its_driver and rested_s < REST_AFTER_LOAD_S - _ROUNDING_S:
            self._refuse(f"{what} {rested_s * 1000:.0f} ms after a load")

    def _begin_unload(self, name: str, model: _Model, versions: Iterable[int]) -> None:
        for version in versions:
            model.states[version] = State.UNLOADING
            self._keep(asyncio.create_task(self._end_unload(name, version)))

    async def _end_unload(self, name: str, version: int) -> None:
        model = self._models[name]
        gone = model.loaded[version]
        await asyncio.sleep(self.unload_s)
        self._memory.free(gone.copy)
        if model.loaded.get(version) is gone:
            del model.loaded[version]
            model.states[version] = State.UNAVAILABLE

    def _note(self, name: str) -> None:
        self.history.append((name, self._models[name].ready))

    async def _infer(self, name: str, version: int, inputs: Tensors) -> Tensors:
        model = self._models.get(name)
        if model is None:
            raise Refused(f"Request for unknown model: '{name}' is not found")
        if version not in model.states:
            raise Refused(f"Request for unknown model: '{name}' version {version} is not found")
        if model.states[version] is not State.READY:
            raise Refused(
                f"Request for unknown model: '{name}' version {version} is not at ready state"
            )
        expected = {spec.name for spec in model.config.input}
        if len(inputs) != len(expected):
            raise Refused(
                f"expected {len(expected)} inputs but got {len(inputs)} inputs for model '{name}'"
            )
        for unexpected in sorted(inputs.keys() - expected):
            raise Refused(f"unexpected inference input '{unexpected}' for model '{name}'")
        # It is answered by what is there now, also when that is unloaded meanwhile.
        loaded = model.loaded[version]
        if self.infer_s:
            await asyncio.sleep(self.infer_s)
        return await loaded.answer(inputs)

    async def _requests_served(self) -> Mapping[str, Mapping[int, int]]:
        return {
            name: {version: model.loaded[version].served for version in sorted(model.ready)}
            for name, model in self._models.items()
            if model.ready
        }

    async def _served(self, name: str) -> Mapping[int, Served]:
        model = self._models.get(name)
        if model is None or not model.ready:
            raise Refused(f"requested model '{name}' is not available")
        return {
            version: Served(
                succeeded=model.loaded[version].served, failed=model.loaded[version].failed
            )
            for version in sorted(model.ready)
        }


class OwnMeter:
    """A `ports.MemoryMeter` of what one server itself holds, whatever device it shares."""

    def __init__(self, triton: FakeTriton, *, sees_models: bool = True) -> None:
        """Without `sees_models` these live in the server's own process."""
        self._triton = triton
        self._sees_models = sees_models

    async def read(self) -> Mapping[Device, Reading]:
        by_model = self._triton.held_bytes()
        total = sum(by_model.values())
        return {
            CPU: Reading(
                capacity_bytes=ENDLESS,
                used_bytes=total,
                server_bytes=total,
                by_model=by_model if self._sees_models else {},
            )
        }


async def _nothing() -> Any:
    return None


def _problem(version: int, error: Refused) -> str:
    return f"version {version} is at UNAVAILABLE state: {error};"


def _loaded(folder: Path, config: ModelConfig, copy: Copy) -> _Loaded:
    """Read the version and run its warm-up; raises Refused with the backend's text."""
    try:
        behaviour = json.loads((folder / ONNX_MODEL).read_bytes())
    except ValueError:
        compute = _replay(read_golden(VersionFolder(folder).golden))
        return _Loaded(compute, copy, _warm_up_requests(config))
    if behaviour["broken"]:
        raise Refused(behaviour["broken"])
    loaded = _Loaded(partial(_scaled, behaviour), copy, _warm_up_requests(config), behaviour)
    for inputs in warmup_requests(config, folder.parent / "warmup"):
        if behaviour["broken_warmup"]:
            raise Refused(behaviour["broken_warmup"])
        loaded.executions += 1
        loaded.compute(inputs)
    return loaded


def _warm_up_requests(config: ModelConfig) -> int:
    """What warm-up adds to the statistics: each row of each sample, for each instance."""
    rows = sum(sample.batch_size * max(1, sample.count) for sample in config.model_warmup)
    instances = sum(max(1, group.count) for group in config.instance_group)
    return rows * max(1, instances)


def _scaled(behaviour: dict[str, Any], inputs: Tensors) -> Tensors:
    """y = scale x, but wrong above one value, and an error at another."""
    x = inputs["x"]
    if behaviour["refuses"] is not None and behaviour["refuses"] in x:
        raise Refused(f"Internal: {behaviour['refuses']:g} is out of range")
    y = np.float32(behaviour["scale"]) * x
    if len(x) >= behaviour.get("nan_from", len(x) + 1):
        y = y * np.float32(np.nan)
    return {"y": np.where(x > behaviour["wrong_above"], np.float32(0), y)}


def _replay(samples: list[GoldenSample]) -> Compute:
    def compute(inputs: Tensors) -> Tensors:
        for sample in samples:
            if all(np.array_equal(inputs[name], value) for name, value in sample.inputs.items()):
                return sample.outputs
        raise Refused("this stand-in knows only the golden samples of the version")

    return compute


def _served_versions(config: ModelConfig, folder: Path) -> frozenset[int]:
    """A version without a folder is left out, with a word in the log only."""
    listed = config.version_policy.specific.versions
    return frozenset(version for version in listed if (folder / str(version)).is_dir())


def _without_policy(config: ModelConfig) -> str:
    plain = type(config)()
    plain.CopyFrom(config)
    plain.ClearField("version_policy")
    plain.ClearField("instance_group")
    return str(plain)


def _newest_ns(path: Path) -> int:
    """The newest of all times below `path`, links followed, as Triton takes it."""
    found = path.stat()
    own_ns = max(found.st_mtime_ns, found.st_ctime_ns)
    if not path.is_dir():
        return own_ns
    return max([own_ns, *(_newest_ns(entry) for entry in path.iterdir())])
