"""A whole stack on real servers: two Tritons, a sidecar, the example's models."""

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from contract.layout import Store
from contract.samples import Tensors
from embedded.process import Process, wait_until
from embedded.provision import Installation
from pilotlight.admin import Admin
from pilotlight.demo.clients import Client, GrpcClient, HttpClient, RequestFailed, Traffic
from pilotlight.demo.shelf import Shelf
from pilotlight.stack import Ports, Stack
from sidecar.adapters.sqlite_state import SqliteState
from sidecar.runtime.records import Records

START_TIMEOUT_S = 60.0
WITHIN_S = 120.0
"""For whatever takes a moment; the machine may be busy. A comparison may take a minute."""
SOAK_S = 0.5


class Running:
    """A started stack with what tests ask of it."""

    def __init__(self, stack: Stack, shelf: Shelf, admin: Admin) -> None:
        self.stack = stack
        self.shelf = shelf
        self.admin = admin
        self.request: Tensors = shelf.golden("short_form")[0].inputs

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            return bool(self.admin.readiness()["ready"])

        assert wait_until(ready, START_TIMEOUT_S), self.admin.readiness()

    def traffic(self) -> Traffic:
        clients: dict[str, Callable[[], Client]] = {
            "grpc": lambda: GrpcClient(self.stack.serving.grpc_address),
            "http": lambda: HttpClient(self.stack.serving.http_port),
        }
        return Traffic(clients, "short_form", self.request)

    def meets(self, traffic: Traffic, version: int) -> None:
        """Return when clients have been answered by this version."""
        assert wait_until(lambda: traffic.by_version[version] > 0, WITHIN_S), traffic.by_version

    def answering_version(self) -> int:
        client = GrpcClient(self.stack.serving.grpc_address)
        try:
            return client.infer("short_form", self.request).version
        finally:
            client.close()

    def recovers(self) -> None:
        """Return when the sidecar has recorded that it became unready, and ready again."""

        def has_recovered() -> bool:
            told = [entry["event"] for entry in self.admin.audit()]
            lost = told.index("became_unready") if "became_unready" in told else len(told)
            return "became_ready" in told[lost:]

        assert wait_until(has_recovered, WITHIN_S), self.admin.readiness()

    def first_answer(self) -> int:
        """Its version; a server that was killed takes a moment until it answers at all."""
        found: list[int] = []

        def answers() -> bool:
            with suppress(RequestFailed):
                found.append(self.answering_version())
            return bool(found)

        assert wait_until(answers, WITHIN_S)
        return found[0]

    def release(self, version: int, **strategy: object) -> dict[str, object]:
        """Ask for a release of short_form; returns the operation."""
        body = {"version": version, "strategy": strategy}
        return self.admin.ask("/v1/models/short_form/releases", body)

    def wait_for_state(self, operation: dict[str, object], state: str) -> None:
        path = str(operation["release"])

        def reached() -> bool:
            steps = self.admin.release(path)["steps"]
            return state in [step["state"] for step in steps]

        assert wait_until(reached, WITHIN_S), self.admin.release(path)


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A suite in the background was started with ctrl-C ignored, and would pass that on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def shelf(example_store: Path, tmp_path: Path) -> Shelf:
    """One hot model and one cold one; the fewer there are, the sooner a stack is ready."""
    return Shelf(Store(example_store), tmp_path / "store", ("short_form", "session"))


@pytest.fixture
def start_stack(
    installation: Installation, shelf: Shelf, tmp_path: Path
) -> Iterator[Callable[..., Running]]:
    with ExitStack() as cleanup:

        def start(soak_s: float = SOAK_S, *, proven: bool = True) -> Running:
            """`proven`: as after a restart, when nothing has to pass canary again."""
            home = tmp_path / "home"
            stack = Stack(
                installation,
                home=home,
                store=shelf.store.root,
                ports=Ports.free(),
                soak_s=soak_s,
                on_event=lambda _: None,
            )
            if proven:
                asyncio.run(all_served_before(shelf.store, home / "state.sqlite"))
            cleanup.enter_context(stack)
            for server in (stack.serving, stack.canary):
                # Else Triton takes three seconds to end, and no test looks at how.
                cleanup.callback(server.kill)
            return Running(stack, shelf, cleanup.enter_context(Admin(stack.url)))

        yield start


async def all_served_before(store: Store, state: Path) -> None:
    """Record every model's newest version as proven in an earlier life."""
    sqlite = SqliteState(state)
    for name in store.models():
        await Records(sqlite).set_serving(name, max(store.versions(name)))
    await sqlite.close()


@pytest.fixture
def running(start_stack: Callable[..., Running]) -> Running:
    """Started, and its hot models are ready."""
    started = start_stack()
    started.wait_until_ready()
    return started


@contextmanager
def without_sidecar(stack: Stack) -> Iterator[None]:
    """It is killed, and each start of it fails until the end."""
    settings = stack.logs.parent / "settings.yaml"
    hidden = settings.with_name("hidden.yaml")
    settings.rename(hidden)
    stack.sidecar.kill()
    try:
        yield
    finally:
        hidden.rename(settings)


@contextmanager
def sidecar_of(settings: Path, folder: Path) -> Iterator[str]:
    """A sidecar alone; gives its URL, which its first log line tells."""
    log = folder / "sidecar.log"
    command = [sys.executable, "-m", "pilotlight", "serve", "--settings", str(settings)]
    process = Process(name="sidecar", command=command, log=log)
    process.start()

    def started() -> list[str]:
        return [line for line in log.read_text().splitlines() if "sidecar_started" in line]

    try:
        assert wait_until(lambda: bool(started()), START_TIMEOUT_S), log.read_text()
        yield json.loads(started()[0])["api"]
    finally:
        process.stop()
