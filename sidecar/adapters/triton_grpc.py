"""The one door to Triton: `tritonclient.grpc.aio`.

Load and unload over HTTP freeze clients (Triton's event threads block for the whole load),
so everything goes over gRPC. UNAVAILABLE means four different things there; the text tells
them apart.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar

from tritonclient.grpc import aio, service_pb2
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from contract.samples import Tensors
from sidecar.core.fleet import VersionState
from sidecar.core.trial import Served
from sidecar.errors import NotExplicit, Refused, ServerError, ServerLost

CALL_TIMEOUT_S = 10.0
ADMIN_HEADER = "triton-grpc-protocol-admin-key"
# gRPC's default back-off grows to two minutes; a restarted server must be found at once.
RECONNECT_MS = 200
MAX_MESSAGE_BYTES = 2**31 - 1
NO_SUCH_MODEL = "pilotlight-asks-whether-this-server-is-in-explicit-mode"

T = TypeVar("T")
_NOT_EXPLICIT = re.compile(r"explicit model load / unload is not allowed")
_ANSWERED_UNAVAILABLE = re.compile(r"not at ready state|protocol is restricted")
# An entry of the repository vanished between two system calls of Triton's: look again.
_RACED = re.compile(r"failed to stat file")
_LOST = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED")
_REMEDIES = (
    (
        re.compile(r"protocol is restricted"),
        "set `admin_key_file` of this server to the key in its --grpc-restricted-protocol",
    ),
    (
        re.compile(r"failed to poll from model repository"),
        "its log says why; a usual cause is that its --model-repository is another folder than "
        "the `stage` in the settings",
    ),
    (
        re.compile(r"does not support|unable to find backend|not find.*backend", re.IGNORECASE),
        "the server lacks the backend that config.pbtxt names",
    ),
)


class TritonGrpc(AbstractAsyncContextManager["TritonGrpc"]):
    """A `ports.ModelServer` on a real tritonserver; one event loop only."""

    def __init__(self, *, name: str, url: str, admin_key: str | None) -> None:
        self._name = name
        self._url = url
        self._headers = {ADMIN_HEADER: admin_key} if admin_key else None
        self._is_explicit = False
        self._client = aio.InferenceServerClient(
            url,
            channel_args=[
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.initial_reconnect_backoff_ms", RECONNECT_MS),
                ("grpc.min_reconnect_backoff_ms", RECONNECT_MS),
                ("grpc.max_reconnect_backoff_ms", RECONNECT_MS),
            ],
        )

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._client.close()

    async def check(self) -> None:
        live = await self._call(lambda: self._client.is_server_live(client_timeout=CALL_TIMEOUT_S))
        if not live:
            raise ServerLost(f"{self._name} server at {self._url} says that it is not live")
        if not self._is_explicit:
            await self.unload(NO_SUCH_MODEL)
            self._is_explicit = True

    async def index(self) -> Mapping[str, Mapping[int, VersionState]]:
        try:
            answer = await self._index()
        except Refused as error:
            if not _RACED.search(str(error)):
                raise
            answer = await self._index()
        states: dict[str, dict[int, VersionState]] = {}
        for entry in answer.models:
            versions = states.setdefault(entry.name, {})
            if entry.version and entry.state:
                versions[int(entry.version)] = VersionState(entry.state)
        return states

    async def _index(self) -> Any:
        return await self._call(
            lambda: self._client.get_model_repository_index(
                headers=self._headers, client_timeout=CALL_TIMEOUT_S
            )
        )

    async def load(self, model: str, *, timeout_s: float) -> None:
        await self._call(
            lambda: self._client.load_model(model, headers=self._headers, client_timeout=timeout_s)
        )

    async def unload(self, model: str) -> None:
        await self._call(
            lambda: self._client.unload_model(
                model, headers=self._headers, client_timeout=CALL_TIMEOUT_S
            )
        )

    async def infer(
        self, model: str, version: int, inputs: Tensors, *, timeout_s: float
    ) -> Tensors:
        requested = []
        for name, array in inputs.items():
            tensor = aio.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
            tensor.set_data_from_numpy(array)
            requested.append(tensor)
        result = await self._call(
            lambda: self._client.infer(
                model, requested, model_version=str(version), client_timeout=timeout_s
            )
        )
        response: service_pb2.ModelInferResponse = result.get_response()
        return {output.name: result.as_numpy(output.name) for output in response.outputs}

    async def requests_served(self) -> Mapping[str, Mapping[int, int]]:
        """A warm-up sample of batch size 64 is 64 requests here, for each instance."""
        answer = await self._call(
            lambda: self._client.get_inference_statistics(client_timeout=CALL_TIMEOUT_S)
        )
        served: dict[str, dict[int, int]] = {}
        for found in answer.model_stats:
            versions = served.setdefault(found.name, {})
            versions[int(found.version)] = found.inference_stats.success.count
        return served

    async def served(self, model: str) -> Mapping[int, Served]:
        answer = await self._call(
            lambda: self._client.get_inference_statistics(model, client_timeout=CALL_TIMEOUT_S)
        )
        return {
            int(found.version): Served(
                succeeded=found.inference_stats.success.count,
                failed=found.inference_stats.fail.count,
            )
            for found in answer.model_stats
        }

    async def _call(self, request: Callable[[], Awaitable[T]]) -> T:
        try:
            return await request()
        except InferenceServerException as error:
            translated = self._translate(str(error.status()), error.message())
            if isinstance(translated, ServerLost):
                self._is_explicit = False
            raise translated from error

    def _translate(self, status: str, text: str) -> ServerError:
        if _NOT_EXPLICIT.search(text):
            return NotExplicit(
                f"{self._name} server at {self._url} is not in explicit mode: {text}; start it "
                "with --model-control-mode=explicit"
            )
        if status in _LOST and not _ANSWERED_UNAVAILABLE.search(text):
            code = status.removeprefix("StatusCode.")
            return ServerLost(f"no answer from {self._name} server at {self._url}: {code} {text}")
        remedies = [remedy for pattern, remedy in _REMEDIES if pattern.search(text)]
        return Refused("; ".join([text, *remedies]))
