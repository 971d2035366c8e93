"""Clients that see the bytes on the wire, one request at a time or many."""

import asyncio
import http.client
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx2
import numpy as np
from grpc import Compression
from tritonclient.grpc import service_pb2

PATIENCE_S = 60.0
"""Of a client, however busy the machine is."""
PAUSE_S = 0.02
SERVICE = "/inference.GRPCInferenceService"
UNLIMITED = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Else channels to one address share a connection.
    ("grpc.use_local_subchannel_pool", 1),
)
# A server's own, which a proxy may set.
_OF_THE_HOP = {"date", "x-warmth", "connection", "keep-alive", "transfer-encoding"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What one request got, in either protocol; `code` is `200`, or `OK` for gRPC, or `LOST`.

    `text` is the message of a gRPC error. `headers` are gRPC's initial and trailing metadata.
    """

    code: int | str
    body: bytes
    headers: Mapping[str, str | bytes]
    seconds: float
    text: str = ""

    @property
    def warmth(self) -> str | bytes | None:
        return self.headers.get("x-warmth")

    @property
    def is_right(self) -> bool:
        return self.code in (200, "OK") and [2.0, 6.0] in (self._y_of_json(), self._y_of_message())

    @property
    def untouched(self) -> tuple[int | str, bytes, str, dict[str, str | bytes]]:
        """All that a proxy has to leave as it is."""
        kept = {name: value for name, value in self.headers.items() if name not in _OF_THE_HOP}
        return self.code, self.body, self.text, kept

    @property
    def error(self) -> str:
        """What a person reads of a refusal."""
        return self.text or str(json.loads(self.body)["error"])

    def _y_of_json(self) -> list[float] | None:
        return json.loads(self.body)["outputs"][0]["data"] if self.code == 200 else None

    def _y_of_message(self) -> list[float] | None:
        if self.code != "OK":
            return None
        return _floats(service_pb2.ModelInferResponse.FromString(self.body))


def json_body(*x: float) -> bytes:
    tensor = {"name": "x", "shape": [1, len(x)], "datatype": "FP32", "data": x}
    return json.dumps({"inputs": [tensor]}).encode()


def binary_body(x: np.ndarray) -> tuple[bytes, dict[str, str]]:
    """A request whose tensors are binary, in both directions; body and headers."""
    raw = x.astype(np.float32).tobytes()
    tensor = {
        "name": "x",
        "shape": [1, x.size],
        "datatype": "FP32",
        "parameters": {"binary_data_size": len(raw)},
    }
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    return head + raw, {"Inference-Header-Content-Length": str(len(head))}


def message(model: str, x: Sequence[float] | np.ndarray = (1.0, 3.0), **more: Any) -> bytes:
    """A gRPC request for inference; `more` are its other fields."""
    request = service_pb2.ModelInferRequest(model_name=model, **more)
    tensor = request.inputs.add(name="x", datatype="FP32")
    tensor.shape.extend([1, len(x)])
    request.raw_input_contents.append(np.asarray(x, np.float32).tobytes())
    written: bytes = request.SerializeToString()
    return written


def framed(request: bytes) -> bytes:
    """A gRPC message as it goes over the wire."""
    return b"\x00" + len(request).to_bytes(4, "big") + request


def over_http(
    url: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    *,
    method: str | None = None,
) -> Reply:
    """One request over a connection of its own; the body is not decoded."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=PATIENCE_S)
    began_s = time.monotonic()
    try:
        connection.request(
            method or ("GET" if body is None else "POST"), path, body, dict(headers or {})
        )
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    found = {name.lower(): value for name, value in answer.getheaders()}
    return Reply(answer.status, content, found, time.monotonic() - began_s)


def over_grpc(
    address: str,
    method: str,
    request: bytes,
    *,
    compression: Compression | None = None,
    timeout_s: float = PATIENCE_S,
) -> Reply:
    """One unary call over a connection of its own."""
    began_s = time.monotonic()
    with grpc.insecure_channel(address, options=UNLIMITED) as channel:
        call: Any = channel.unary_unary(f"{SERVICE}/{method}")
        try:
            answer, done = call.with_call(request, timeout=timeout_s, compression=compression)
        except grpc.RpcError as error:
            return _refused(error, time.monotonic() - began_s)
        found = _metadata(done)
        return Reply("OK", answer, found, time.monotonic() - began_s)


class Crowd:
    """Many clients at once, over HTTP and gRPC."""

    def __init__(self, http_client: httpx2.AsyncClient, channel: grpc.aio.Channel) -> None:
        self._http = http_client
        self._channel = channel

    async def http(self, model: str, *x: float, headers: Mapping[str, str] | None = None) -> Reply:
        began_s = time.monotonic()
        try:
            answer = await self._http.post(
                f"/v2/models/{model}/infer", content=json_body(*x or (1.0, 3.0)), headers=headers
            )
        except httpx2.HTTPError as error:
            return Reply("LOST", b"", {}, time.monotonic() - began_s, repr(error))
        return Reply(
            answer.status_code,
            answer.content,
            {name.lower(): value for name, value in answer.headers.items()},
            time.monotonic() - began_s,
        )

    async def grpc(self, model: str, *x: float, timeout_s: float = PATIENCE_S) -> Reply:
        method: Any = self._channel.unary_unary(f"{SERVICE}/ModelInfer")
        # Before the call: its deadline counts from there.
        began_s = time.monotonic()
        call = method(message(model, x or (1.0, 3.0)), timeout=timeout_s)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            return _refused(error, time.monotonic() - began_s)
        found = {
            **dict(await call.initial_metadata()),
            **dict(await call.trailing_metadata()),
        }
        return Reply("OK", answer, found, time.monotonic() - began_s)

    async def in_stream(self, model: str) -> Reply:
        """One request in a stream of its own; what Triton refuses there has the code `IN_BAND`."""
        began_s, call = time.monotonic(), self.stream()
        try:
            await call.write(message(model))
            answer = streamed(await call.read())
            await call.done_writing()
            code = "IN_BAND" if answer.error_message else (await call.code()).name
            found = dict(await call.initial_metadata())
        except grpc.aio.AioRpcError as error:
            return _refused(error, time.monotonic() - began_s)
        body = answer.infer_response.SerializeToString()
        return Reply(code, body, found, time.monotonic() - began_s, answer.error_message)

    async def both(self, model: str, each: int) -> list[Reply]:
        """So many requests at once over each protocol."""
        return await asyncio.gather(
            *(self.http(model) for _ in range(each)), *(self.grpc(model) for _ in range(each))
        )

    @asynccontextmanager
    async def traffic(self, *models: str) -> AsyncIterator[list[Reply]]:
        """For each model a client of each kind, which asks again soon after it is answered.

        Gives what they got; at the end all that they asked has been answered.
        """
        replies: list[Reply] = []
        ended = asyncio.Event()

        async def ask(one: Callable[[str], Awaitable[Reply]], model: str) -> None:
            while not ended.is_set():
                replies.append(await one(model))
                # Clients that never rest would leave a sidecar that starts no processor.
                await asyncio.sleep(PAUSE_S)

        async with asyncio.TaskGroup() as group:
            for model in models:
                for one in (self.http, self.grpc, self.in_stream):
                    group.create_task(ask(one, model))
            try:
                yield replies
            finally:
                ended.set()

    def stream(self, compression: Compression | None = None) -> Any:
        """A call that is written to and read from in bytes."""
        method = self._channel.stream_stream(f"{SERVICE}/ModelStreamInfer")
        return method(timeout=PATIENCE_S, compression=compression)


def wrong(replies: Sequence[Reply]) -> list[Reply]:
    """Those that are not right."""
    return [reply for reply in replies if not reply.is_right]


@asynccontextmanager
async def crowd(http_url: str, grpc_address: str) -> AsyncIterator[Crowd]:
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    async with (
        httpx2.AsyncClient(base_url=http_url, timeout=PATIENCE_S, limits=limits) as http_client,
        grpc.aio.insecure_channel(grpc_address, options=UNLIMITED) as channel,
    ):
        yield Crowd(http_client, channel)


def streamed(read: Any) -> service_pb2.ModelStreamInferResponse:
    """What was read from a stream."""
    assert isinstance(read, bytes), read
    return service_pb2.ModelStreamInferResponse.FromString(read)


def y_of(read: Any) -> list[float]:
    answer = streamed(read)
    assert answer.error_message == ""
    return _floats(answer.infer_response)


def _refused(error: Any, seconds: float) -> Reply:
    return Reply(error.code().name, b"", _metadata(error), seconds, error.details() or "")


def _metadata(call: Any) -> dict[str, str | bytes]:
    return {**dict(call.initial_metadata() or ()), **dict(call.trailing_metadata() or ())}


def _floats(answer: service_pb2.ModelInferResponse) -> list[float]:
    found: list[float] = np.frombuffer(answer.raw_output_contents[0], np.float32).tolist()
    return found
