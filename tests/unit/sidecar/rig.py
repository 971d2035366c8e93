"""A whole sidecar on fake servers, in virtual time: everything but Triton, SQLite and HTTP."""

import asyncio
import functools
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import structlog

from contract.layout import Store
from sidecar.adapters.model_store import StoreFolder
from sidecar.adapters.shadow import ShadowMeter, StoreBesideShadows, TwoInOne
from sidecar.adapters.stage import StageFolder
from sidecar.core.fleet import Operation, Profile, Server
from sidecar.core.policy import Policy
from sidecar.core.release import Release
from sidecar.core.status import unready
from sidecar.ports import MemoryMeter, ModelServer, Stage, Stored
from sidecar.runtime.activate import Waiting
from sidecar.runtime.board import Board
from sidecar.runtime.check import Checker
from sidecar.runtime.collect import Collector
from sidecar.runtime.drain import Drain
from sidecar.runtime.drive import Driver
from sidecar.runtime.execute import Executor
from sidecar.runtime.held import Scales
from sidecar.runtime.hold import Hold
from sidecar.runtime.learn import Learner
from sidecar.runtime.loop import Loop
from sidecar.runtime.place import Placer
from sidecar.runtime.prove import Prover
from sidecar.runtime.records import Records
from sidecar.runtime.releases import Releases
from sidecar.runtime.replicas import Replicas
from sidecar.runtime.requests import Requests
from sidecar.runtime.route import Router
from sidecar.runtime.schedule import Schedule
from sidecar.runtime.telemetry import Telemetry
from sidecar.runtime.trials import Trier
from sidecar.runtime.warm import Warmer
from sidecar.runtime.world import World
from tests.fakes.gateway import OWN, FakeGateway
from tests.fakes.meter import FakeMeter
from tests.fakes.page_cache import FakePageCache
from tests.fakes.process import FakeProcess
from tests.fakes.recordings import FakeRecordings
from tests.fakes.state import FakeState
from tests.fakes.triton import FakeTriton, OwnMeter
from tests.fakes.virtual_time import run_virtually

POLL_S = 0.01
RESTART_S = 1.0
INFER_S = 0.001
HELD_BYTES = 2**20
SOAK_S = 5.0
DRAIN_S = 20.0
CRASHES = {"work_crashed", "cycle_crashed", "task_crashed"}
_DANGEROUS = frozenset({"load", "unload", "infer", "write", "clear", "put", "delete", "apply"})


class Points:
    """Every call that changes or proves something: a point before it, and one after it.

    At the `die_at`th the process stands still, as if it were dead; `died` is set then.
    """

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.die_at: int | None = None
        self.died = asyncio.Event()

    async def reach(self, name: str) -> None:
        if self.die_at is None:
            return
        self.reached.append(name)
        if len(self.reached) == self.die_at:
            self.died.set()
        if len(self.reached) >= self.die_at:
            await asyncio.get_running_loop().create_future()


class Mortal:
    """A port whose caller may die at any of its `Points`."""

    def __init__(self, port: object, points: Points) -> None:
        self._port = port
        self._points = points

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._port, name)
        if name not in _DANGEROUS:
            return method

        @functools.wraps(method)
        async def call(*arguments: Any, **named: Any) -> Any:
            said = " ".join([name, *(each for each in arguments if isinstance(each, str))][:2])
            await self._points.reach(f"before {said}")
            result = await method(*arguments, **named)
            await self._points.reach(f"after {said}")
            return result

        return call


class Scanned(StoreFolder):
    """Looked at anew each time, however long a busy machine took to look."""

    known = StoreFolder.scan


class ScannedBesideShadows(StoreBesideShadows):
    known = StoreBesideShadows.scan


class Sidecar:
    """One process: what it knows dies with it."""

    def __init__(self, rig: "Rig") -> None:
        state = Mortal(rig.state, rig.points)
        telemetry = Telemetry(state)  # type: ignore[arg-type]
        servers: Mapping[Server, ModelServer] = rig.tritons
        stages: Mapping[Server, Stage] = {
            server: StageFolder(rig.root / server, rig.store) for server in Server
        }
        weighs_canary: MemoryMeter = OwnMeter(rig.canary)
        if rig.is_shadowed:
            both = TwoInOne.on(rig.serving, rig.root / Server.SERVING, rig.store)
            servers, stages = both.servers, both.stages
            weighs_canary = ShadowMeter(rig.meter)
        gateway = rig.gateway and Mortal(rig.gateway, rig.points)
        self.world = World(
            servers={server: Mortal(port, rig.points) for server, port in servers.items()},  # type: ignore[misc]
            stages={server: Mortal(port, rig.points) for server, port in stages.items()},  # type: ignore[misc]
            store=(ScannedBesideShadows if rig.is_shadowed else Scanned)(rig.store, {}),
            process=FakeProcess(rig.serving),
            meter=rig.meter,
            page_cache=rig.page_cache,
            recordings=rig.recordings,
            records=Records(state),  # type: ignore[arg-type]
            board=Board(),
            waiting=Waiting(),
            router=Router(gateway, OWN, telemetry),  # type: ignore[arg-type]
            telemetry=telemetry,
            is_shadowed=rig.is_shadowed,
        )
        prover = Prover(self.world, query_timeout_s=rig.query_timeout_s)
        learner = Learner(self.world)
        warmer = Warmer(self.world, query_timeout_s=rig.query_timeout_s)
        scales = Scales(self.world, weighs_canary)
        trier = Trier(self.world, warmer, scales, query_timeout_s=rig.query_timeout_s)
        drain = Drain(self.world, longest_s=DRAIN_S)
        driver = Driver(self.world, prover, warmer, learner, drain, load_timeout_s=30.0)
        self.loop = Loop(
            self.world,
            Executor(self.world, driver, Checker(self.world, prover, trier)),
            Collector(self.world, learner),
            policy=rig.policy,
            schedule=Schedule(Profile.PRODUCTION),
            interval_s=1.0,
        )
        self.requests = Requests(self.world, self.loop.profile)
        self.releases = Releases(self.world, self.requests)
        self.replicas = Replicas({}, {}, self.world.router, telemetry, self.world.board)
        self.running = asyncio.create_task(self.loop.run())

    def hold(self, *, longest_s: float = 30.0, most: int = 100, most_per_model: int = 100) -> Hold:
        """What the activator asks."""
        placer = Placer(
            self.world.waiting,
            self.world.router,
            self.replicas,
            self.world.telemetry,
            own_free_bytes=lambda: 0,
            longest_s=longest_s,
        )
        return Hold(
            self.world.waiting,
            self.world.router,
            placer,
            self.world.telemetry.counts,
            longest_s=longest_s,
            most=most,
            most_per_model=most_per_model,
        )

    async def die(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


class Rig:
    def __init__(self, root: Path, **faults: list[str]) -> None:
        """`faults` per server: `Rig(path, canary=["infer m 2: kill"])`.

        Before `start` it may be given a `gateway`, and may do without a canary: `is_shadowed`.
        """
        self.root = root
        self.store = Store(root / "store")
        self.state = FakeState()
        self.policy = Policy(soak_s=SOAK_S, parallel_loads=4)
        self.query_timeout_s = 5.0
        self.points = Points()
        self.meter = FakeMeter(bytes_of=lambda _model, _version: HELD_BYTES)
        self.page_cache = FakePageCache()
        self.recordings = FakeRecordings()
        self.gateway: FakeGateway | None = None
        self.is_shadowed = False
        for server in Server:
            (root / server).mkdir()
        self.tritons = {
            server: FakeTriton(
                root / server,
                name=server,
                faults=faults.get(server, []),
                infer_s=INFER_S,
                memory=self.meter,
            )
            for server in Server
        }
        self.sidecar: Sidecar

    @property
    def serving(self) -> FakeTriton:
        return self.tritons[Server.SERVING]

    @property
    def canary(self) -> FakeTriton:
        return self.tritons[Server.CANARY]

    def start(self) -> None:
        self.sidecar = Sidecar(self)

    async def crash(self) -> None:
        """Kill the sidecar and start another on what it left behind."""
        await self.sidecar.die()
        self.points.die_at = None
        for triton in self.tritons.values():
            triton.driver_died()
        self.start()

    async def until(self, condition: Callable[[], bool], what: str, limit_s: float = 300) -> None:
        """Wait in virtual time."""
        try:
            async with asyncio.timeout(limit_s):
                while not condition():  # noqa: ASYNC110  (nobody sets an event)
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise AssertionError(f"not within {limit_s:g} s: {what}; {self.told()}") from None

    async def written(self, key: str, part: str) -> None:
        """Return when an object is written whose value contains `part`."""
        seen = asyncio.get_running_loop().create_future()

        def look(stored: Stored) -> None:
            if stored.key == key and part in stored.value and not seen.done():
                seen.set_result(None)

        self.state.on_put.append(look)
        await asyncio.wait_for(seen, 300)

    async def ready(self) -> None:
        await self.until(lambda: self.missing() == [], "ready")

    async def at_rest(self) -> None:
        await self.until(self.is_at_rest, "nothing is left to do")

    def is_at_rest(self) -> bool:
        """Whether the last look has found nothing to do, or going on."""
        seen, planned = self.sidecar.loop.snapshot, self.sidecar.loop.plan
        if seen is None or self.missing() or seen.busy or seen.checking:
            return False
        return (
            not (planned.notes or planned.work)
            and not any(release.is_active for release in seen.releases.values())
            and all(seen.servers[Server.CANARY].is_unloaded(model) for model in seen.models)
        )

    def missing(self) -> list[str]:
        seen = self.sidecar.loop.snapshot
        return unready(seen) if seen else ["nothing was seen yet"]

    async def ended(self, operation: Operation) -> Operation:
        """The operation when it is done."""
        key = f"archive/operation/{operation.id}"
        await self.until(lambda: key in self.state.objects, f"{operation.kind} ends")
        found = await self.sidecar.world.records.operation(operation.id)
        assert found is not None
        return found

    async def newest_release(self, model: str = "m") -> Release:
        return (await Records(self.state).releases())[model]

    async def recorded(self, model: str = "m") -> int | None:
        return (await Records(self.state).serving()).get(model)

    def loaded(self, server: Server, model: str = "m") -> list[set[int]]:
        """The sets of versions that were READY there, one after the other."""
        return [set(ready) for name, ready in self.tritons[server].history if name == model]

    def told(self, model: str | None = None) -> list[str]:
        """The names of what happened."""
        return [event.name.value for event in self.state.events if model in (None, event.model)]

    async def supervise(self) -> None:
        """Start a dead server again, as a supervisor does."""
        while True:
            await asyncio.sleep(RESTART_S)
            for triton in self.tritons.values():
                if not triton.is_alive:
                    triton.restart()


def run(
    root: Path,
    story: Callable[[Rig], Coroutine[Any, Any, None]],
    *,
    supervised: bool = True,
    may_crash: bool = False,
    **faults: list[str],
) -> None:
    """Play a story; no story may break a law of Triton's, or crash any work."""

    async def play() -> None:
        rig = Rig(root, **faults)
        supervisor = asyncio.create_task(rig.supervise()) if supervised else None
        try:
            await story(rig)
        finally:
            if supervisor:
                supervisor.cancel()
            await rig.sidecar.die()
        violations = [each for triton in rig.tritons.values() for each in triton.violations]
        assert violations == [], violations

    with structlog.testing.capture_logs() as logs:
        run_virtually(play())
    crashes = [entry for entry in logs if entry["event"] in CRASHES]
    assert may_crash or crashes == [], crashes
