"""Small servers that stand for Tritons and the activator, and a real Envoy before them."""

import asyncio
import math
import re
import socket
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import grpc
import httpx2
import pytest
import uvicorn
from grpc import StatusCode
from tritonclient.grpc import service_pb2

from embedded.envoy import EnvoyServer, validate
from embedded.ports import free_ports
from sidecar.adapters.envoy.admin import Admin
from sidecar.adapters.envoy.gateway import EnvoyGateway, Plan
from sidecar.adapters.envoy.listeners import Edge
from sidecar.adapters.envoy.names import GRPC, HTTP
from sidecar.core.routing import Replica, Routes
from tests.eventually import eventually
from tests.fixtures.embedded import LIVE_TIMEOUT_S

SERVICE = "/inference.GRPCInferenceService"
LIVE = "/v2/health/live"
LIVE_METHOD = "ServerLive"
MIB = 2**20
KEPT_ALIVE_S = 3600
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A request as it came to a server: over gRPC `body` is all of its messages, in a row."""

    protocol: str
    path: str
    headers: Mapping[str, str]
    messages: Sequence[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Says:
    """An answer: a status for each protocol, and headers, which are trailers with gRPC."""

    status: int = 200
    code: StatusCode = StatusCode.OK
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


OK = Says()
AGAIN = Says(
    status=503,
    code=StatusCode.UNAVAILABLE,
    text="it is loaded; ask again",
    headers={"x-pilotlight-again": "1", "x-warmth": "cold"},
)
UNKNOWN = Says(status=404, code=StatusCode.NOT_FOUND, text="Request for unknown model")
"""As Triton says it."""
FINAL = Says(
    status=404,
    code=StatusCode.NOT_FOUND,
    text="no such model",
    headers={"x-envoy-ratelimited": "1"},
)
"""As the activator says it."""
Answers = Callable[[Seen], Awaitable[Says]]


async def echo(_: Seen) -> Says:
    return OK


async def hang(_: Seen) -> Says:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


def always(said: Says) -> Answers:
    async def answer(_: Seen) -> Says:
        return said

    return answer


class Upstream:
    """Answers with what it was sent, unless `answers` says otherwise, and remembers it.

    `http` and `grpc` are where it listens.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        http_port, grpc_port = free_ports(2)
        self.http, self.grpc = f"127.0.0.1:{http_port}", f"127.0.0.1:{grpc_port}"
        self.begin_anew()

    def begin_anew(self) -> None:
        self.seen: list[Seen] = []
        self.answers: Answers = echo

    @property
    def paths(self) -> list[str]:
        return [seen.path for seen in self.seen]

    def replica(self, *models: str) -> Replica:
        return Replica(name=self.name, http=self.http, grpc=self.grpc, models=frozenset(models))

    async def _answer(self, seen: Seen) -> Says:
        self.seen.append(seen)
        return await self.answers(seen)

    async def over_http(self, scope: Any, receive: Any, send: Any) -> None:
        """An ASGI application."""
        path = scope["raw_path"].decode()
        said, body = OK, await _body(receive)
        if body is None:
            return
        if path != LIVE:
            query = scope["query_string"].decode()
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            seen = Seen(
                protocol=HTTP,
                path=f"{path}?{query}" if query else path,
                headers=headers,
                messages=[body],
            )
            said = await self._answer(seen)
        sent = {"x-server": self.name, **said.headers}
        raw = [(name.encode(), value.encode()) for name, value in sent.items()]
        await send({"type": "http.response.start", "status": said.status, "headers": raw})
        await send({"type": "http.response.body", "body": said.text.encode() or body})

    def service(self, details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """Of every method; a message is answered with itself as soon as it is there."""

        async def call(messages: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
            metadata = {
                name: value if isinstance(value, str) else value.hex()
                for name, value in details.invocation_metadata
            }
            came: list[bytes] = []
            first = await anext(messages, None)
            if first is not None:
                came.append(first)
            said = OK
            if details.method != f"{SERVICE}/{LIVE_METHOD}":
                seen = Seen(protocol=GRPC, path=details.method, headers=metadata, messages=came)
                said = await self._answer(seen)
            trailers = tuple(said.headers.items())
            if said.code is not StatusCode.OK:
                await context.abort(said.code, said.text, trailers)
            await context.send_initial_metadata((("x-server", self.name),))
            context.set_trailing_metadata(trailers)
            if first is not None:
                yield first
            async for message in messages:
                came.append(message)
                yield message

        return grpc.stream_stream_rpc_method_handler(call)


async def _body(receive: Any) -> bytes | None:
    """None when the client leaves before its end."""
    parts = []
    while (message := await receive())["type"] == "http.request":
        parts.append(message["body"])
        if not message["more_body"]:
            return b"".join(parts)
    return None


@asynccontextmanager
async def running(upstream: Upstream) -> AsyncIterator[Upstream]:
    """Listening until it is left, whatever hangs."""
    listener = socket.create_server(("127.0.0.1", int(upstream.http.rpartition(":")[2])))
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        upstream.over_http,
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEPT_ALIVE_S,
        timeout_graceful_shutdown=0,
    )
    web = _Quiet(config)
    serving = asyncio.create_task(web.serve(sockets=[listener]))
    calls = grpc.aio.server(options=[("grpc.max_receive_message_length", -1)])
    calls.add_generic_rpc_handlers((_Any(upstream),))
    calls.add_insecure_port(upstream.grpc)
    await calls.start()
    try:
        yield upstream
    finally:
        web.should_exit = True
        await serving
        await calls.stop(0)


class _Quiet(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Any:
        yield


class _Any(grpc.GenericRpcHandler):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes]":
        return self._upstream.service(handler_call_details)


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """An Envoy that runs, before `activator` and `canary`."""

    gateway: EnvoyGateway
    server: EnvoyServer
    admin: Admin
    folder: Path
    http: str
    grpc: str
    activator: Upstream
    canary: Upstream

    async def route(self, *replicas: Replica, **more: Any) -> None:
        """Send requests to these replicas; `more` are further fields of `Routes`."""
        await self.gateway.apply(Routes(replicas=replicas, **more))

    async def is_live(self, *replicas: Replica) -> None:
        """Return when Envoy has found new replicas to be live, in each of its clusters."""
        addresses = {each.http for each in replicas} | {each.grpc for each in replicas}
        flags = re.compile(rf"::({'|'.join(addresses)})::health_flags::(.*)")

        async def found() -> bool:
            told = flags.findall(await self.admin._get("/clusters"))
            are_healthy = all(flag == "healthy" for _, flag in told)
            return are_healthy and {address for address, _ in told} == addresses

        await eventually(found, f"{', '.join(addresses)} are live")


_REJECTED = re.compile(r"\.update_rejected: [1-9]")


class _UntilRejected:
    """What the gateway takes for the module `time`: it stands still, and then it is over."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s


@contextmanager
def impatient() -> Iterator[None]:
    """For the first that an Envoy refuses: once it has, nobody waits for it to be taken up."""
    clock, asked = _UntilRejected(), Admin.versions

    async def versions(admin: Admin) -> Mapping[str, str]:
        if _REJECTED.search(await admin._get("/stats", filter="update_rejected")):
            clock.now_s = math.inf
        return await asked(admin)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Admin, "versions", versions)
        patch.setattr("sidecar.adapters.envoy.gateway.time", clock)
        yield


@asynccontextmanager
async def envoy_before(
    activator: Upstream, canary: Upstream, *, binary: Path, home: Path, **edge: Any
) -> AsyncIterator[Front]:
    """`edge` are further fields of `Edge`."""
    http_port, grpc_port, admin_port = free_ports(3)
    folder = home / "gateway"
    plan = Plan(
        seen_folder=str(folder),
        edge=Edge(
            **{
                "addresses": {HTTP: ("127.0.0.1", http_port), GRPC: ("127.0.0.1", grpc_port)},
                "largest_request_bytes": 64 * MIB,
                **edge,
            }
        ),
        admin=("127.0.0.1", admin_port),
        activator={HTTP: activator.http, GRPC: activator.grpc},
        canary={HTTP: canary.http, GRPC: canary.grpc},
        largest_heap_bytes=4096 * MIB,
        # The upstreams live in the test's loop: on a busy machine they stop for longer than Triton.
        hangs_after_s=10.0,
    )
    async with Admin(f"http://127.0.0.1:{admin_port}") as admin:
        gateway = EnvoyGateway(folder, plan, admin)
        await gateway.write(Routes())
        validate(binary, folder / "bootstrap.json")
        server = EnvoyServer(
            binary=binary,
            bootstrap=folder / "bootstrap.json",
            log=home / "envoy.log",
            ports=(http_port, grpc_port),
            admin_port=admin_port,
            concurrency=2,
        )
        try:
            server.start()
            # The upstreams live in this loop, and Envoy asks them whether they live.
            await asyncio.to_thread(server.wait_live, LIVE_TIMEOUT_S)
            yield Front(
                gateway=gateway,
                server=server,
                admin=admin,
                folder=folder,
                http=f"127.0.0.1:{http_port}",
                grpc=f"127.0.0.1:{grpc_port}",
                activator=activator,
                canary=canary,
            )
        finally:
            server.kill()
            server.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """What a client got: `code` is 200 or OK, for example, `server` who answered."""

    code: int | StatusCode
    body: bytes = b""
    text: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def server(self) -> str | None:
        return self.headers.get("x-server")

    @property
    def is_ok(self) -> bool:
        return self.code in (200, StatusCode.OK)

    @property
    def warmth(self) -> str | None:
        return self.headers.get("x-warmth")


PROTOCOLS = ("http", "grpc", "stream")
_FORGOTTEN = Got(code=StatusCode.INTERNAL, text="Internal error from Core")


class Client:
    """Asks for inference in the same words over all protocols of a client."""

    def __init__(self, web: httpx2.AsyncClient, channel: grpc.aio.Channel) -> None:
        self.web = web
        self.channel = channel

    async def ask(
        self,
        protocol: str,
        model: str = "m",
        *,
        version: str = "",
        raw: bytes = b"x",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> Got:
        """One of `PROTOCOLS`; a stream has one message."""
        if protocol == "http":
            of_version = f"/versions/{version}" if version else ""
            return await self.post(
                f"/v2/models/{model}{of_version}/infer", content=raw, headers=headers
            )
        message = infer_request(model, version, raw)
        if protocol == "grpc":
            return await self.call("ModelInfer", message, headers)
        return (await self.stream([message], headers))[-1]

    async def settled(self) -> None:
        """Return when what Envoy has applied holds on our connections too.

        A worker that was stopped in the middle of its work finishes that before it takes up what
        was applied: another message on the connection that it reads may yet go the old way. It
        has taken all up before it sends on what a server answers.
        """
        await asyncio.gather(self.web.get(LIVE), self.call(LIVE_METHOD, b""))

    async def post(self, path: str, **more: Any) -> Got:
        answer = await self.web.post(path, **more)
        return Got(
            code=answer.status_code,
            body=answer.content,
            text=answer.text,
            headers=dict(answer.headers),
        )

    async def call(
        self,
        method: str,
        message: bytes,
        headers: Mapping[str, str] = MappingProxyType({}),
        **more: Any,
    ) -> Got:
        method_of: Any = self.channel.unary_unary(f"{SERVICE}/{method}")
        call = method_of(message, metadata=tuple(headers.items()), **more)
        return await _got(call, call)

    async def stream(
        self, messages: Iterable[bytes], headers: Mapping[str, str] = MappingProxyType({})
    ) -> list[Got]:
        """One answer after the other; the last one only tells how it ended if that was badly.

        gRPC's client forgets the answer of a call that ends before its first message is sent.
        """
        sent = list(messages)
        while (found := await self._streamed(sent, headers))[-1:] == [_FORGOTTEN]:
            pass
        return found

    async def _streamed(self, messages: Iterable[bytes], headers: Mapping[str, str]) -> list[Got]:
        call: Any = self.channel.stream_stream(f"{SERVICE}/ModelStreamInfer")(
            iter(messages), metadata=tuple(headers.items())
        )
        found = []
        try:
            async for message in call:
                got = Got(code=StatusCode.OK, body=message, headers=await _metadata(call))
                found.append(got)
        except grpc.aio.AioRpcError as error:
            found.append(_failed(error))
        return found


async def _got(call: Any, answer: Awaitable[bytes]) -> Got:
    try:
        body = await answer
    except grpc.aio.AioRpcError as error:
        return _failed(error)
    return Got(code=StatusCode.OK, body=body, headers=await _metadata(call))


async def _metadata(call: Any) -> dict[str, str]:
    return {str(name): str(value) for name, value in await call.initial_metadata()}


def _failed(error: grpc.aio.AioRpcError) -> Got:
    metadata = (*(error.initial_metadata() or ()), *(error.trailing_metadata() or ()))
    return Got(
        code=error.code(),
        text=error.details() or "",
        headers={str(name): str(value) for name, value in metadata},
    )


def infer_request(model: str, version: str = "", raw: bytes = b"x") -> bytes:
    request = service_pb2.ModelInferRequest(
        model_name=model, model_version=version, raw_input_contents=[raw]
    )
    return bytes(request.SerializeToString())


@asynccontextmanager
async def client_of(front: Front) -> AsyncIterator[Client]:
    options = [("grpc.max_receive_message_length", -1)]
    async with (
        httpx2.AsyncClient(base_url=f"http://{front.http}", timeout=PATIENCE_S) as web,
        grpc.aio.insecure_channel(front.grpc, options=options) as channel,
    ):
        yield Client(web, channel)
