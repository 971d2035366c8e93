"""A whole stack behind its gateway: two Tritons, a sidecar, Envoy."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedded.process import wait_until
from embedded.provision import Installation
from pilotlight.admin import Admin
from pilotlight.stack import Ports, Stack
from tests.e2e.conftest import START_TIMEOUT_S, all_served_before
from tests.e2e.gateway.clients import PATIENCE_S, Crowd, crowd, over_http
from tests.e2e.gateway.models import Shelf
from tests.eventually import eventually

SOAK_S = 0.5
INTERVAL_S = 0.4
MODELS: Mapping[str, dict[str, Any]] = {
    "hot": {"tier": "hot"},
    "herd": {"is_closed": True},
    "streamed": {},
    "eight-mib": {},
    "left": {"is_closed": True},
    "abandoned": {"is_closed": True},
    "packed": {},
    "packed-stream": {},
    "versioned": {"is_closed": True},
    "described": {},
    "trickled": {},
    "counted": {},
    "counted-hot": {"tier": "hot"},
    "counted-large": {"held_mib": 200 * 1024},
    "counting": {"tier": "hot"},
    "broken": {"broken": "no weights"},
    "too-large": {"held_mib": 200 * 1024},
}


class House:
    """A running stack with what tests ask of it."""

    def __init__(self, stack: Stack, shelf: Shelf, admin: Admin) -> None:
        self.stack = stack
        self.shelf = shelf
        self.admin = admin

    @property
    def http(self) -> str:
        """URL of the gateway."""
        return f"http://{self.stack.http_address}"

    @property
    def grpc(self) -> str:
        return self.stack.grpc_address

    @property
    def triton_http(self) -> str:
        """URL of the server behind it."""
        return f"http://127.0.0.1:{self.stack.serving.http_port}"

    @property
    def triton_grpc(self) -> str:
        return self.stack.serving.grpc_address

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            return bool(self.admin.readiness()["ready"])

        assert wait_until(is_ready, START_TIMEOUT_S), self.admin.readiness()

    async def holds(self, model: str, requests: int) -> None:
        """Return when so many requests wait for a model."""

        async def are_held() -> bool:
            gateway = await asyncio.to_thread(self.admin.gateway)
            assert gateway is not None
            return bool(gateway["waiting"].get(model, 0) == requests)

        await eventually(are_held, f"{requests} requests wait for {model}")

    def undisturbed(self) -> Iterator[None]:
        """Attempts at what says nothing when Envoy takes a Triton for dead; the last one counts.

        One that is silent for half a second, as on a machine that stands still, is sent nothing.
        """
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            before = self._silences()
            yield
            if before is not None and self._silences() == before:
                return
            assert time.monotonic() < deadline_s, "a Triton is silent again and again"

    def _silences(self) -> int | None:
        """How often Envoy got no answer from a Triton; None while it takes one for dead."""
        assert self.stack.gateway is not None
        admin = f"http://127.0.0.1:{self.stack.gateway.admin_port}"
        page = over_http(admin, "/stats?filter=^cluster.serving_").body.decode()
        found = re.findall(r"^(\S+): (\d+)$", page, re.MULTILINE)

        def total(name: str) -> int:
            return sum(int(count) for each, count in found if each.endswith(name))

        is_whole = total(".membership_healthy") == total(".membership_total")
        return total(".health_check.failure") if is_whole else None

    def events(self, name: str, model: str | None = None) -> list[dict[str, Any]]:
        return list(self.admin.audit(event=name, model=model))


@contextmanager
def house(
    installation: Installation, envoy: Path | None, home: Path, shelf: Shelf, **settings: Any
) -> Iterator[House]:
    """`settings` are sections of the sidecar's, merged into those that the stack writes."""
    with ExitStack() as cleanup:
        stack = Stack(
            installation,
            home=home,
            store=shelf.store.root,
            ports=Ports.free(),
            soak_s=SOAK_S,
            on_event=lambda _: None,
            envoy=envoy,
        )
        path = home / "settings.yaml"
        written = yaml.safe_load(path.read_text())
        written["interval_s"] = INTERVAL_S
        for name, section in settings.items():
            written[name] = written.get(name, {}) | section
        path.write_text(yaml.safe_dump(written))
        asyncio.run(all_served_before(shelf.store, home / "state.sqlite"))
        cleanup.enter_context(stack)
        for server in (stack.serving, stack.canary):
            # Else Triton takes three seconds to end.
            cleanup.callback(server.kill)
        built = House(stack, shelf, cleanup.enter_context(Admin(stack.url)))
        built.wait_until_ready()
        yield built


@pytest.fixture(scope="session")
def gateway(
    installation: Installation, envoy_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """One for all tests that leave it as it is: each has models of its own, or only asks."""
    home = tmp_path_factory.mktemp("gateway")
    shelf = Shelf(home)
    for name, how in MODELS.items():
        shelf.publish(name, **how)
    with house(installation, envoy_binary, home / "home", shelf) as built:
        yield built


@pytest.fixture
async def clients(gateway: House) -> AsyncIterator[Crowd]:
    async with crowd(gateway.http, gateway.grpc) as clients:
        yield clients
