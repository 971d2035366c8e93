"""The one place where adapters are constructed."""

import asyncio
import fcntl
import gc
import logging
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import TextIO

import structlog
import uvicorn
from fastapi import FastAPI

from contract.files import reason_of
from contract.layout import Store
from sidecar.activator.samples import SharedSamples
from sidecar.adapters.meters import CombinedMeter
from sidecar.adapters.metrics_meter import MetricsMeter
from sidecar.adapters.model_store import StoreFolder
from sidecar.adapters.page_cache import FilePageCache
from sidecar.adapters.process_meter import ProcessMeter
from sidecar.adapters.recordings import RecordingsFolder
from sidecar.adapters.server_process import ServerProcess
from sidecar.adapters.shadow import ShadowMeter, StoreBesideShadows, TwoInOne
from sidecar.adapters.sqlite_state import SqliteState
from sidecar.adapters.stage import StageFolder
from sidecar.adapters.triton_grpc import TritonGrpc
from sidecar.api.app import create_app
from sidecar.compose.gateway import front_of, new_router, start_activator
from sidecar.compose.keys import Keys
from sidecar.core.events import Event, EventName
from sidecar.core.fleet import Server
from sidecar.errors import InvalidSettings, StateUnavailable
from sidecar.ports import MemoryMeter, ModelServer, Stage
from sidecar.runtime.activate import Waiting
from sidecar.runtime.board import Board
from sidecar.runtime.check import Checker
from sidecar.runtime.collect import Collector
from sidecar.runtime.compare import Comparer
from sidecar.runtime.drain import Drain
from sidecar.runtime.drive import Driver
from sidecar.runtime.execute import Executor
from sidecar.runtime.fit import refuse_overflow
from sidecar.runtime.held import Scales
from sidecar.runtime.learn import Learner
from sidecar.runtime.loop import Loop
from sidecar.runtime.prove import Prover
from sidecar.runtime.record import Recorder
from sidecar.runtime.records import Records
from sidecar.runtime.schedule import Schedule
from sidecar.runtime.telemetry import Telemetry
from sidecar.runtime.trials import Trier
from sidecar.runtime.warm import Warmer
from sidecar.runtime.world import World
from sidecar.settings import ApiSettings, ServerSettings, Settings

# For answers that are under way when the sidecar is stopped.
GRACE_S = 5
# Where another sidecar drives the gateway, which routes our models.
DRAIN_S = 60.0


def run(settings: Settings) -> None:
    """Run the sidecar until SIGTERM or SIGINT.

    Raises:
        InvalidSettings: a secret is missing, another sidecar has the same state, or the hot
            models do not fit into the budget.
        StateUnavailable: the state file cannot be opened.
    """
    _configure_logging()
    with _alone(settings.state):
        asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    keys = Keys(settings)
    callers = keys.callers()
    store = Store(settings.store)
    async with AsyncExitStack() as stack:
        state = SqliteState(settings.state)
        stack.push_async_callback(state.close)
        servers: Mapping[Server, ModelServer] = {
            server: await stack.enter_async_context(
                TritonGrpc(name=server.value, url=section.grpc, admin_key=keys.servers[server])
            )
            for server, section in settings.servers.items()
        }
        stages: Mapping[Server, Stage] = {
            server: StageFolder(section.stage, store)
            for server, section in settings.servers.items()
        }
        is_shadowed = Server.CANARY not in servers
        if is_shadowed:
            serving = settings.servers[Server.SERVING]
            both = TwoInOne.on(servers[Server.SERVING], serving.stage, store)
            servers, stages = both.servers, both.stages
        overrides = {
            name: section.model_dump(exclude_unset=True)
            for name, section in settings.models.items()
        }
        telemetry = Telemetry(state, trace_to(settings.otlp_endpoint, stack))
        world = World(
            servers=servers,
            stages=stages,
            store=(StoreBesideShadows if is_shadowed else StoreFolder)(store, overrides),
            process=ServerProcess(settings.servers[Server.SERVING].grpc),
            meter=await _meter(settings.servers[Server.SERVING], stack),
            page_cache=FilePageCache(store),
            recordings=RecordingsFolder(
                settings.state.with_name(f"{settings.state.name}.recordings")
            ),
            records=Records(state),
            board=Board(),
            waiting=Waiting(),
            router=await new_router(settings, telemetry, stack),
            telemetry=telemetry,
            is_shadowed=is_shadowed,
            sees_gpus=settings.servers[Server.SERVING].metrics is not None,
        )
        prover = Prover(world, query_timeout_s=settings.query_timeout_s)
        learner = Learner(world)
        warmer = Warmer(world, query_timeout_s=settings.query_timeout_s)
        drain = Drain(
            world, longest_s=settings.gateway.longest_drain_s if settings.gateway else DRAIN_S
        )
        driver = Driver(
            world, prover, warmer, learner, drain, load_timeout_s=settings.load_timeout_s
        )
        scales = Scales(world, await _canary_meter(world, settings, stack))
        trier = Trier(world, warmer, scales, query_timeout_s=settings.query_timeout_s)
        loop = Loop(
            world,
            Executor(world, driver, Checker(world, prover, trier)),
            Collector(world, learner),
            policy=settings.as_policy(),
            schedule=Schedule(settings.policy.profile, settings.policy.schedule),
            interval_s=settings.interval_s,
        )
        await refuse_overflow(world, loop.policy, loop.profile())
        comparer = Comparer(world, lambda: loop.snapshot, query_timeout_s=settings.query_timeout_s)
        await stack.enter_async_context(comparer)
        recorder = Recorder(world, lambda: loop.snapshot)
        await stack.enter_async_context(recorder)
        if settings.gateway is not None:
            samples = SharedSamples(
                lambda: loop.snapshot,
                lambda: world.router.applied,
                comparer=comparer,
                recorder=recorder,
            )
            await start_activator(settings.gateway, world, loop, samples, stack)
        app = create_app(world, loop, state, callers, front_of(settings, comparer, recorder))
        watching = asyncio.create_task(keys.watch(app.state, world.board))
        stack.callback(watching.cancel)
        await _until_stopped(app, world, loop, settings)


async def _meter(server: ServerSettings, stack: AsyncExitStack) -> MemoryMeter:
    """What the server says of its GPUs, and what its processes here hold of the CPU's memory."""
    processes = ProcessMeter(server.grpc)
    if server.metrics is None:
        return processes
    metrics = MetricsMeter(server.metrics, gpu_uuids=server.gpu_uuids)
    await stack.enter_async_context(metrics)
    return CombinedMeter(metrics, processes) if server.is_local else metrics


async def _canary_meter(world: World, settings: Settings, stack: AsyncExitStack) -> MemoryMeter:
    if world.is_shadowed:
        return ShadowMeter(world.meter)
    return await _meter(settings.servers[Server.CANARY], stack)


def trace_to(endpoint: str | None, stack: AsyncExitStack) -> Callable[[Event, float], None] | None:
    if endpoint is None:
        return None
    try:
        from sidecar.adapters.tracing import Tracing  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise InvalidSettings(
            f"otlp_endpoint is set, but {error.name} is not installed; "
            "pip install 'pilotlight[otel]'"
        ) from error
    tracing = Tracing(endpoint)
    stack.push_async_callback(asyncio.to_thread, tracing.close)
    return tracing.record


async def _until_stopped(app: FastAPI, world: World, loop: Loop, settings: Settings) -> None:
    config = uvicorn.Config(
        app, log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_S
    )
    server = ApiServer(config, at_end=world.telemetry.close)
    with _listen(settings.api) as listener:
        host, port = listener.getsockname()[:2]
        detail = {"api": f"http://{host}:{port}"}
        await world.telemetry.record(Event(name=EventName.SIDECAR_STARTED, detail=detail))
        tasks = [asyncio.create_task(loop.run()), asyncio.create_task(_freeze(loop))]
        try:
            await server.serve(sockets=[listener])
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await world.telemetry.record(Event(name=EventName.SIDECAR_STOPPED))


async def _freeze(loop: Loop) -> None:
    """Leave what the first look brought out of garbage collections.

    Over a fleet of 10,000 models a full one stops everything for tenths of a second.
    """
    await loop.has_looked.wait()
    gc.freeze()


class ApiServer(uvicorn.Server):
    """Ends on a signal without passing it on: the loop is still to be stopped then."""

    def __init__(self, config: uvicorn.Config, at_end: Callable[[], None]) -> None:
        super().__init__(config)
        self._at_end = at_end

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        looping = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            looping.add_signal_handler(number, self.end)
        yield

    def end(self) -> None:
        self.should_exit = True
        self._at_end()


def _listen(api: ApiSettings) -> socket.socket:
    """Without Nagle's delay, which asyncio switches off only where it has made the socket itself.

    With it an answer on a used connection takes 44 ms.
    """
    try:
        listener = socket.create_server((api.host, api.port))
    except OSError as error:
        raise InvalidSettings(
            f"the API cannot listen on {api.host}:{api.port}: {reason_of(error)}; stop what "
            "listens there, choose another api.port, or give --port"
        ) from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Two sidecars on one stage would fight over it."""
    with _lock_file(state) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InvalidSettings(
                f"another sidecar runs with the state file {state}; stop it, or give this one "
                "a state file and stages of its own"
            ) from error
        yield


def _lock_file(state: Path) -> TextIO:
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        return state.with_name(f"{state.name}.lock").open("w")
    except OSError as error:
        raise StateUnavailable(
            f"{state.parent}, the folder of the state file, cannot be written: "
            f"{reason_of(error)}; mount it so that this user may write there, or give `state` "
            "another place"
        ) from error


def _configure_logging() -> None:
    """One JSON object per line; a person's terminal gets colours instead."""
    on_terminal = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer() if on_terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(message)s"
    )
