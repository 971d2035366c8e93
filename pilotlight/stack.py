"""Embedded Tritons, a sidecar and Envoy, started, kept alive and stopped together."""

import secrets
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from contract.files import reason_of
from contract.lock import Held, hold
from embedded.envoy import EnvoyServer, validate
from embedded.ports import free_ports, taken_ports
from embedded.process import Process, wait_until
from embedded.provision import Installation
from embedded.supervisor import Supervisor
from embedded.triton import TritonServer
from pilotlight.admin import Admin
from pilotlight.own_settings import OwnSettings
from sidecar.compose.gateway import prepare_gateway
from sidecar.settings import Settings, load_settings

START_TIMEOUT_S = 60.0
WORKERS = 2
"""Threads of Envoy; each serves some ten thousand requests per second."""
SHOWN_LINES = 5
LOCK = "up.lock"


class StackDidNotStart(Exception):
    """Its folder or a port is taken, or its sidecar does not answer; says what the log says."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Of each Triton HTTP, gRPC and metrics; of the gateway HTTP, gRPC and admin."""

    serving: tuple[int, int, int]
    canary: tuple[int, int, int]
    gateway: tuple[int, int, int]
    activator: tuple[int, int]
    api: int

    @classmethod
    def usual(cls) -> Self:
        """Clients find the gateway where Triton would be."""
        return cls(
            serving=(8200, 8201, 8202),
            canary=(8100, 8101, 8102),
            gateway=(8000, 8001, 9901),
            activator=(8090, 8091),
            api=8080,
        )

    @classmethod
    def free(cls) -> Self:
        ports = iter(free_ports(12))

        def three() -> tuple[int, int, int]:
            return next(ports), next(ports), next(ports)

        return cls(
            serving=three(),
            canary=three(),
            gateway=three(),
            activator=(next(ports), next(ports)),
            api=next(ports),
        )

    @property
    def all(self) -> tuple[int, ...]:
        return (*self.serving, *self.canary, *self.gateway, *self.activator, self.api)


@contextmanager
def alone_in(home: Path) -> Iterator[None]:
    """Hold the folder of a stack: two would take each other's stages, settings and state.

    Raises:
        StackDidNotStart: another process holds it, or it cannot be written.
    """
    with ExitStack() as held:
        try:
            home.mkdir(parents=True, exist_ok=True)
            held.enter_context(hold(home / LOCK))
        except Held as holder:
            raise StackDidNotStart(
                f"{home} is the folder of another `pilotlight up`, {holder}; stop that one, or "
                "give this one a folder and ports of its own: `--home FOLDER --ports free`"
            ) from None
        except OSError as error:
            raise StackDidNotStart(
                f"{home} cannot be written: {reason_of(error)}; give a folder where this user may "
                "write: `--home FOLDER`"
            ) from error
        yield


class Stack:
    """Everything lives in `home`: stages, state, settings, logs, the servers' admin key.

    Without `envoy`, its binary, there is no gateway. Without a canary, `canary` is the serving
    server. The sidecar's settings are `own`, and beside them what is decided here.

    Raises:
        StackDidNotStart: a port is taken; nothing is written then.
        InvalidSettings: `own` are impossible, or say what is decided here.
    """

    def __init__(
        self,
        installation: Installation,
        *,
        home: Path,
        store: Path,
        ports: Ports,
        on_event: Callable[[str], None],
        soak_s: float | None = None,
        own: OwnSettings | None = None,
        envoy: Path | None = None,
        with_canary: bool = True,
    ) -> None:
        if taken := taken_ports(ports.all):
            raise StackDidNotStart(
                f"port {', '.join(map(str, taken))} of 127.0.0.1 is taken by another process; "
                "stop what listens there, or use `pilotlight up --ports free`"
            )
        self._home = home
        self.url = f"http://127.0.0.1:{ports.api}"
        self.logs = home / "logs"
        home.mkdir(parents=True, exist_ok=True)
        key_file = home / "admin.key"
        key = _kept_key(key_file)
        self.serving = self._triton(installation, "serving", ports.serving, key)
        self.canary = self.serving
        if with_canary:
            self.canary = self._triton(installation, "canary", ports.canary, key)
        self._tritons = list(dict.fromkeys((self.serving, self.canary)))
        settings = home / "settings.yaml"
        decided = self._decided(store, ports, key_file, with_gateway=envoy is not None)
        if soak_s is not None:
            decided["soak_s"] = soak_s
        _write(settings, (own or OwnSettings(path=settings)).beside(decided))
        # -P: a folder here that is named like a package of ours must not shadow it.
        pilotlight = [sys.executable, "-P", "-m", "pilotlight"]
        self.sidecar = Process(
            name="sidecar",
            command=[*pilotlight, "serve", "--settings", str(settings)],
            log=self.logs / "sidecar.log",
        )
        log = self.sidecar.log
        self._log_start = log.stat().st_size if log.exists() else 0
        self.gateway = None if envoy is None else self._gateway(envoy, settings, ports)
        gateways = [] if self.gateway is None else [self.gateway]
        self._supervisor = Supervisor([*self._tritons, self.sidecar, *gateways], on_event)

    def __enter__(self) -> Self:
        """Start everything and wait until it answers; readiness comes later.

        Raises:
            ServerDidNotStart: a Triton did not come up.
            StackDidNotStart: the sidecar did not.
        """
        self._supervisor.start()
        try:
            for server in self._tritons:
                server.wait_live(START_TIMEOUT_S)
            self._wait_for_sidecar()
            if self.gateway is not None:
                self.gateway.wait_live(START_TIMEOUT_S)
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

    @property
    def http_address(self) -> str:
        """Where clients connect: the gateway, or Triton where there is none."""
        port = self.serving.http_port if self.gateway is None else self.gateway.ports[0]
        return f"127.0.0.1:{port}"

    @property
    def grpc_address(self) -> str:
        port = self.serving.grpc_port if self.gateway is None else self.gateway.ports[1]
        return f"127.0.0.1:{port}"

    def _wait_for_sidecar(self) -> None:
        """One that ends by itself has said why, and would say it again."""
        with Admin(self.url) as admin:
            wait_until(lambda: self._has_refused() or admin.is_reachable(), START_TIMEOUT_S)
            if admin.is_reachable():
                return
        ended = f"does not answer at {self.url} after {START_TIMEOUT_S:g} s"
        if self._has_refused():
            ended = f"ended with {self.sidecar.returncode}"
        log = self.sidecar.log
        lines = log.read_bytes()[self._log_start :].decode(errors="replace").splitlines()
        shown = "\n  ".join(lines[-SHOWN_LINES:])
        raise StackDidNotStart(f"the sidecar {ended}; last lines of {log}:\n  {shown}")

    def _has_refused(self) -> bool:
        """Not where a signal has ended it, which is negative."""
        return (self.sidecar.returncode or 0) > 0

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
            completes_configs=False,
        )

    def _gateway(self, envoy: Path, settings: Path, ports: Ports) -> EnvoyServer:
        """With no route of an earlier run, whose servers were elsewhere."""
        prepare_gateway(load_settings(settings))
        bootstrap = self._home / "gateway" / "bootstrap.json"
        validate(envoy, bootstrap)
        http_port, grpc_port, admin_port = ports.gateway
        return EnvoyServer(
            binary=envoy,
            bootstrap=bootstrap,
            log=self.logs / "gateway.log",
            ports=(http_port, grpc_port),
            admin_port=admin_port,
            concurrency=WORKERS,
        )

    def _decided(
        self, store: Path, ports: Ports, key_file: Path, *, with_gateway: bool
    ) -> dict[str, Any]:
        """Keys of the sidecar's settings that say where everything is; paths are absolute."""
        servers = {
            server.name: {
                "grpc": server.grpc_address,
                "http": f"127.0.0.1:{server.http_port}",
                "stage": str(server.repository),
                "admin_key_file": str(key_file),
            }
            for server in self._tritons
        }
        decided: dict[str, Any] = {
            "store": str(store.absolute()),
            "state": str(self._home / "state.sqlite"),
            "servers": servers,
            "api": {"host": "127.0.0.1", "port": ports.api},
        }
        if with_gateway:
            decided["gateway"] = {
                "folder": str(self._home / "gateway"),
                **_addresses(("http", "grpc", "admin"), ports.gateway),
                "activator": _addresses(("http", "grpc"), ports.activator),
            }
        return decided


def _kept_key(file: Path) -> str:
    """The secret in a file, which is written once, for the user's eyes only."""
    file.touch(mode=0o600)
    key = file.read_text().strip()
    if not key:
        key = secrets.token_urlsafe(24)
        file.write_text(key)
    return key


def _write(path: Path, settings: Settings) -> None:
    keys = settings.model_dump(mode="json", exclude_defaults=True)
    path.write_text(yaml.safe_dump(keys, sort_keys=False))


def _addresses(names: Sequence[str], ports: Sequence[int]) -> dict[str, str]:
    return {name: f"127.0.0.1:{port}" for name, port in zip(names, ports, strict=True)}
