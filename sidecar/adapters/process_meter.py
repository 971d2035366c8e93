"""Memory of a Triton on this machine, by its processes."""

import asyncio
import socket
from collections import Counter
from pathlib import Path

import psutil

from sidecar.adapters.machine import memory_of
from sidecar.core.memory import CPU, Device, Reading
from sidecar.errors import MeterFailed

SERVER = "tritonserver"
STUB = "triton_python_backend_stub"
_MAPPED = "::ffff:"
"""gRPC listens on IPv4 addresses through IPv6 sockets."""
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - what a listener may say, not what we bind


class ProcessMeter:
    """A `ports.MemoryMeter` of `cpu`, for a Triton that this user can look into.

    A process holds its proportional set size: what it has in memory, each page divided by the
    number of processes that map it. So mapped weights count, split among those that share them,
    and files that are only cached do not. One read takes about 1 ms per process.

    `by_model` holds the stubs of Triton's Python backend, with their children, `alone_by_model`
    their unique set sizes, the pages that no other process maps; models of other backends live
    inside the server's own process. GPUs are for `MetricsMeter`: NVML would be
    one more package and tells no more of a model than Triton's metrics.
    """

    def __init__(self, grpc: str) -> None:
        """`grpc` is the `host:port` of the server's gRPC endpoint: who listens there is meant."""
        self._grpc = grpc
        self._server: psutil.Process | None = None

    async def read(self) -> dict[Device, Reading]:
        return {CPU: await asyncio.to_thread(self._read)}

    def _read(self) -> Reading:
        try:
            if self._server is None or not _lives(self._server):
                self._server = listener(self._grpc)
            return _reading(self._server)
        except (psutil.Error, OSError) as error:
            raise MeterFailed(f"memory of the server at {self._grpc}: {error}") from error


def _reading(server: psutil.Process) -> Reading:
    memory = memory_of(server.pid)
    total = server.memory_full_info().pss
    models: dict[int, str] = {}
    by_model, alone_by_model = Counter[str](), Counter[str]()
    # Parents come before their children.
    for process in server.children(recursive=True):
        try:
            held = process.memory_full_info()
            model = _model(process.cmdline()) or models.get(process.ppid())
        except psutil.NoSuchProcess:
            continue
        total += held.pss
        if model is not None:
            models[process.pid] = model
            by_model[model] += held.pss
            alone_by_model[model] += held.uss
    return Reading(
        capacity_bytes=memory.capacity_bytes,
        used_bytes=memory.used_bytes,
        server_bytes=total,
        by_model=by_model,
        alone_by_model=alone_by_model,
    )


def _model(command: list[str]) -> str | None:
    """The model of a stub: its first argument is `<repository>/<model>/<version>/<file>`."""
    match command:
        case [program, file, *_] if Path(program).name == STUB:
            return Path(file).parents[1].name
        case _:
            return None


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def listener(grpc: str) -> psutil.Process:
    """The tritonserver that listens at an address of this machine.

    Raises:
        MeterFailed: there is none, or this user cannot see it.
    """
    host, _, port = grpc.rpartition(":")
    addresses = _EVERYWHERE | _own_addresses(host.strip("[]"))
    for connection in psutil.net_connections("tcp"):
        if connection.status != psutil.CONN_LISTEN or not connection.laddr or not connection.pid:
            continue
        at, at_port = connection.laddr
        if at_port == int(port) and at.removeprefix(_MAPPED) in addresses:
            # A stub has inherited the socket, and may be the one that is listed.
            process = psutil.Process(connection.pid)
            for each in (process, *process.parents()):
                if each.name() == SERVER and _lives(each):
                    return each
    raise MeterFailed(
        f"no {SERVER} that this user can look into listens at {grpc}; start it, run the sidecar "
        "as the same user and in the same process namespace, or give the URL of its metrics"
    )


def _own_addresses(host: str) -> set[str]:
    found = {str(each[4][0]) for each in socket.getaddrinfo(host, None)}
    own = {each.address for card in psutil.net_if_addrs().values() for each in card}
    if not found & own:
        raise MeterFailed(
            f"{host} is not this machine, so its processes cannot be measured; run the sidecar "
            "there, or give the URL of its metrics"
        )
    return found & own
