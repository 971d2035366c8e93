"""Both protocols on their ports, in the loop of the sidecar."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from types import TracebackType

import grpc
import uvicorn

from contract.files import reason_of
from sidecar.activator.grpc import GrpcDoor
from sidecar.activator.holding import Holding
from sidecar.activator.http import HttpDoor
from sidecar.activator.samples import Samples
from sidecar.errors import InvalidSettings
from sidecar.runtime.hold import Hold

Address = tuple[str, int]

# A herd of first requests connects at once.
BACKLOG = 2048
# Longer than Envoy keeps an idle connection (1 h): it never sends on one that just closes.
KEEP_ALIVE_S = 2 * 3600
# For answers that are under way when the sidecar is stopped.
GRACE_S = 2
_GRPC_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    # Without it a taken port is shared, and each server gets a part of the calls.
    ("grpc.so_reuseport", 0),
)


class Activator(AbstractAsyncContextManager["Activator"]):
    """Listens while it is entered; `http` and `grpc` are then the addresses that it got."""

    def __init__(self, hold: Hold, samples: Samples, *, http: Address, grpc: Address) -> None:
        """Port 0 means any that is free."""
        self.http = http
        self.grpc = grpc
        self._holding = Holding(hold)
        self._samples = samples
        self._at_end = AsyncExitStack()

    async def __aenter__(self) -> "Activator":
        """Raises InvalidSettings when a port is taken."""
        async with AsyncExitStack() as stack:
            self.http = await _serve_http(HttpDoor(self._holding, self._samples), self.http, stack)
            self.grpc = await _serve_grpc(GrpcDoor(self._holding, self._samples), self.grpc, stack)
            # The first to be called: the servers wait for what is held.
            stack.callback(self._holding.close)
            self._at_end = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._at_end.aclose()


async def _serve_http(door: HttpDoor, address: Address, stack: AsyncExitStack) -> Address:
    try:
        listener = stack.enter_context(socket.create_server(address, backlog=BACKLOG))
    except OSError as error:
        raise _cannot_listen("http", address, reason_of(error)) from error
    # Head and body are two writes: on a used connection the second would wait 40 ms for an ACK.
    # asyncio only does this for sockets that it made itself.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        door,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S,
    )
    server = HttpServer(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))

    async def stop() -> None:
        server.should_exit = True
        await serving

    stack.push_async_callback(stop)
    host, port = listener.getsockname()[:2]
    return host, port


async def _serve_grpc(door: GrpcDoor, address: Address, stack: AsyncExitStack) -> Address:
    host, port = address
    server = grpc.aio.server(options=_GRPC_OPTIONS)
    server.add_generic_rpc_handlers((door.handler(),))
    try:
        port = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise _cannot_listen("grpc", address, str(error)) from error
    await server.start()
    stack.push_async_callback(server.stop, GRACE_S)
    return host, port


class HttpServer(uvicorn.Server):
    """Leaves signals to the sidecar's API."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _cannot_listen(protocol: str, address: Address, reason: str) -> InvalidSettings:
    host, port = address
    return InvalidSettings(
        f"the activator cannot listen on {host}:{port}: {reason}; stop what listens there, or "
        f"choose another gateway.activator.{protocol}: no model is loaded on demand until then"
    )
