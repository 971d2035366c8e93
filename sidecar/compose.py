"""The one place where adapters are constructed."""

import asyncio
import fcntl
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from pathlib import Path

import structlog
import uvicorn

from contract.layout import Store
from sidecar.adapters.model_store import StoreFolder
from sidecar.adapters.sqlite_state import SqliteState
from sidecar.adapters.stage import StageFolder
from sidecar.adapters.triton_grpc import TritonGrpc
from sidecar.api.app import create_app
from sidecar.core.events import Event, EventName
from sidecar.core.policy import Policy
from sidecar.errors import InvalidSettings
from sidecar.runtime.board import Board
from sidecar.runtime.drive import Driver
from sidecar.runtime.execute import Executor
from sidecar.runtime.loop import Loop
from sidecar.runtime.prove import Prover
from sidecar.runtime.records import Records
from sidecar.runtime.telemetry import Telemetry
from sidecar.runtime.world import World
from sidecar.settings import ApiSettings, Settings, read_secret


def run(settings: Settings) -> None:
    """Run the sidecar until SIGTERM or SIGINT.

    Raises:
        InvalidSettings: a secret is missing, or another sidecar has the same state.
        StateUnavailable: the state file cannot be opened.
    """
    _configure_logging()
    with _alone(settings.state):
        asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    token = read_secret(settings.api.token_file)
    store = Store(settings.store)
    async with AsyncExitStack() as stack:
        state = SqliteState(settings.state)
        stack.push_async_callback(state.close)
        servers = {
            server: await stack.enter_async_context(
                TritonGrpc(
                    name=server.value,
                    url=section.grpc,
                    admin_key=read_secret(section.admin_key_file),
                )
            )
            for server, section in settings.servers.items()
        }
        stages = {
            server: StageFolder(section.stage, store)
            for server, section in settings.servers.items()
        }
        tiers = {name: section.tier for name, section in settings.models.items()}
        world = World(
            servers=servers,
            stages=stages,
            store=StoreFolder(store, tiers),
            records=Records(state),
            board=Board(),
            telemetry=Telemetry(state),
        )
        prover = Prover(world, query_timeout_s=settings.query_timeout_s)
        driver = Driver(world, prover, load_timeout_s=settings.load_timeout_s)
        policy = Policy(soak_s=settings.soak_s, parallel_loads=settings.parallel_loads)
        executor = Executor(world, driver, prover)
        loop = Loop(world, executor, state, policy, settings.interval_s)
        await _until_stopped(world, loop, settings, token)


async def _until_stopped(world: World, loop: Loop, settings: Settings, token: str | None) -> None:
    app = create_app(world, loop, token)
    server = _Server(uvicorn.Config(app, log_config=None, access_log=False))
    with _listen(settings.api) as listener:
        host, port = listener.getsockname()[:2]
        detail = {"api": f"http://{host}:{port}"}
        await world.telemetry.record(Event(name=EventName.SIDECAR_STARTED, detail=detail))
        looping = asyncio.create_task(loop.run())
        try:
            await server.serve(sockets=[listener])
        finally:
            looping.cancel()
            with suppress(asyncio.CancelledError):
                await looping
            await world.telemetry.record(Event(name=EventName.SIDECAR_STOPPED))


class _Server(uvicorn.Server):
    """Ends on a signal without passing it on: the loop is still to be stopped then."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        looping = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            looping.add_signal_handler(number, self._end)
        yield

    def _end(self) -> None:
        self.should_exit = True


def _listen(api: ApiSettings) -> socket.socket:
    try:
        return socket.create_server((api.host, api.port))
    except OSError as error:
        raise InvalidSettings(
            f"the API cannot listen on {api.host}:{api.port}: {error.strerror}; choose another "
            "api.port, or give --port"
        ) from error


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Two sidecars on one stage would fight over it."""
    state.parent.mkdir(parents=True, exist_ok=True)
    path = state.with_name(f"{state.name}.lock")
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise InvalidSettings(
                f"another sidecar runs with the state file {state}; stop it, or give this one "
                "a state file and stages of its own"
            ) from error
        yield


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
