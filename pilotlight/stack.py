"""Two embedded Tritons and a sidecar, started, kept alive and stopped together."""

import secrets
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from embedded.ports import free_ports, taken_ports
from embedded.process import Process, wait_until
from embedded.provision import Installation
from embedded.supervisor import Supervisor
from embedded.triton import TritonServer
from pilotlight.admin import Admin

START_TIMEOUT_S = 60.0
SHOWN_LINES = 5


class SidecarDidNotStart(Exception):
    """The sidecar's port is taken, or it does not answer; says what its log says."""


@dataclass(frozen=True, slots=True)
class Ports:
    """HTTP, gRPC and metrics port of each Triton, and the sidecar's port."""

    serving: tuple[int, int, int]
    canary: tuple[int, int, int]
    api: int

    @classmethod
    def usual(cls) -> Self:
        """Triton's own defaults for `serving`."""
        return cls(serving=(8000, 8001, 8002), canary=(8100, 8101, 8102), api=8080)

    @classmethod
    def free(cls) -> Self:
        ports = free_ports(7)
        return cls(
            serving=(ports[0], ports[1], ports[2]),
            canary=(ports[3], ports[4], ports[5]),
            api=ports[6],
        )


class Stack:
    """Everything lives in `home`: stages, state, settings, logs, the servers' admin key."""

    def __init__(
        self,
        installation: Installation,
        *,
        home: Path,
        store: Path,
        ports: Ports,
        soak_s: float,
        on_event: Callable[[str], None],
    ) -> None:
        self._home = home
        self._api_port = ports.api
        self.url = f"http://127.0.0.1:{ports.api}"
        self.logs = home / "logs"
        home.mkdir(parents=True, exist_ok=True)
        key_file = home / "admin.key"
        key = secrets.token_urlsafe(24)
        key_file.touch(mode=0o600)
        key_file.write_text(key)
        self.serving = self._triton(installation, "serving", ports.serving, key)
        self.canary = self._triton(installation, "canary", ports.canary, key)
        settings = self._write_settings(store, ports, key_file, soak_s)
        self.sidecar = Process(
            name="sidecar",
            command=[sys.executable, "-m", "pilotlight", "serve", "--settings", str(settings)],
            log=self.logs / "sidecar.log",
        )
        self._supervisor = Supervisor([self.serving, self.canary, self.sidecar], on_event)

    def __enter__(self) -> Self:
        """Start everything and wait until it answers; readiness comes later.

        Raises:
            ServerDidNotStart: a Triton did not come up.
            SidecarDidNotStart: the sidecar did not.
        """
        if taken_ports((self._api_port,)):
            raise SidecarDidNotStart(
                f"port {self._api_port} of 127.0.0.1 is taken by another process; stop what "
                "listens there, or use `pilotlight up --ports free`"
            )
        self._supervisor.start()
        try:
            for server in (self.serving, self.canary):
                server.wait_live(START_TIMEOUT_S)
            self._wait_for_sidecar()
        except BaseException:
            self._supervisor.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._supervisor.stop()

    def _wait_for_sidecar(self) -> None:
        with Admin(self.url) as admin:
            if not wait_until(admin.is_reachable, START_TIMEOUT_S):
                log = self.logs / "sidecar.log"
                lines = "\n  ".join(log.read_text().splitlines()[-SHOWN_LINES:])
                raise SidecarDidNotStart(
                    f"the sidecar does not answer at {self.url} after {START_TIMEOUT_S:g} s; "
                    f"last lines of {log}:\n  {lines}"
                )

    def _triton(
        self, installation: Installation, name: str, ports: tuple[int, int, int], key: str
    ) -> TritonServer:
        stage = self._home / "stage" / name
        stage.mkdir(parents=True, exist_ok=True)
        return TritonServer(
            installation=installation,
            name=name,
            repository=stage,
            log=self.logs / f"{name}.log",
            http_port=ports[0],
            grpc_port=ports[1],
            metrics_port=ports[2],
            admin_key=key,
        )

    def _write_settings(self, store: Path, ports: Ports, key_file: Path, soak_s: float) -> Path:
        servers = {
            server.name: {
                "grpc": server.grpc_address,
                "stage": str(server.repository),
                "admin_key_file": str(key_file),
            }
            for server in (self.serving, self.canary)
        }
        settings = {
            "store": str(store),
            "state": str(self._home / "state.sqlite"),
            "servers": servers,
            "api": {"port": ports.api},
            "soak_s": soak_s,
        }
        path = self._home / "settings.yaml"
        path.write_text(yaml.safe_dump(settings, sort_keys=False))
        return path
