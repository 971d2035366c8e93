"""Two embedded Tritons and a sidecar, started, kept alive and stopped together."""

import secrets
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from embedded.ports import free_ports
from embedded.process import Process
from embedded.provision import Installation
from embedded.supervisor import Supervisor
from embedded.triton import TritonServer
from pilotlight.admin import Admin, AdminError

START_TIMEOUT_S = 60.0
POLL_S = 0.02


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
        deadline_s = time.monotonic() + START_TIMEOUT_S
        with Admin(self.url) as admin:
            while True:
                try:
                    admin.readiness()
                except AdminError:
                    if time.monotonic() > deadline_s:
                        raise
                    time.sleep(POLL_S)
                else:
                    return

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
