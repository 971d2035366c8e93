"""The one door to Triton: `tritonclient.grpc.aio`.

Load and unload over HTTP freeze clients (Triton's event threads block for the whole load),
so everything goes over gRPC. UNAVAILABLE means four different things there; the text tells
them apart.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import TypeVar

from tritonclient.grpc import aio
from tritonclient.utils import InferenceServerException

from contract.requests import infer_arguments, outputs_of
from contract.samples import Tensors
from sidecar.adapters.secret_file import SecretFile
from sidecar.core.fleet import About, VersionState
from sidecar.core.trial import Served
from sidecar.errors import (
    InvalidSettings,
    LockedOut,
    NotExplicit,
    Refused,
    ServerError,
    ServerLost,
)

CALL_TIMEOUT_S = 10.0
ADMIN_HEADER = "triton-grpc-protocol-admin-key"
# gRPC's default back-off grows to two minutes; a restarted server must be found at once.
RECONNECT_MS = 200
MAX_MESSAGE_BYTES = 2**31 - 1
NO_SUCH_MODEL = "pilotlight-asks-whether-this-server-is-in-explicit-mode"

T = TypeVar("T")
_NOT_EXPLICIT = re.compile(r"explicit model load / unload is not allowed")
_ANSWERED_UNAVAILABLE = re.compile(r"not at ready state|protocol is restricted")
# Triton lists entries or models, then asks for each, and one has left between: look again.
_RACED = re.compile(r"failed to stat file|Request for unknown model")
MOST_LOOKS = 5
_LOST = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED", "StatusCode.CANCELLED")
_RESTRICTED = re.compile(r"protocol is restricted")
_REMEDIES = (
    (
        re.compile(r"failed to poll from model repository"),
        "its log says why; a usual cause is that it does not see the store where the links in "
        "its stage lead",
    ),
    (
        re.compile(r"does not support|unable to find backend|not find.*backend", re.IGNORECASE),
        "the server lacks the backend that config.pbtxt names",
    ),
)


class TritonGrpc(AbstractAsyncContextManager["TritonGrpc"]):
    """A `ports.ModelServer` on a real tritonserver; one event loop only."""

    def __init__(self, *, name: str, url: str, admin_key: SecretFile | None) -> None:
        """`admin_key` is read again at each check: whoever changes it need not tell us."""
        self._name = name
        self._url = url
        self._admin_key = admin_key
        self._headers: dict[str, str] | None = None
        self._version: str | None = None
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

    async def check(self) -> About:
        self._read_key()
        live = await self._call(
            lambda: self._client.is_server_live(self._headers, client_timeout=CALL_TIMEOUT_S)
        )
        if not live:
            raise ServerLost(f"{self._name} server at {self._url} says that it is not live")
        if self._version is None:
            await self.unload(NO_SUCH_MODEL)
            about = await self._call(
                lambda: self._client.get_server_metadata(
                    self._headers, client_timeout=CALL_TIMEOUT_S
                )
            )
            self._version = str(about.version)
        is_ready = await self._call(
            lambda: self._client.is_server_ready(self._headers, client_timeout=CALL_TIMEOUT_S)
        )
        return About(version=self._version, is_ready=is_ready)

    def _read_key(self) -> None:
        if self._admin_key is None:
            return
        try:
            self._headers = {ADMIN_HEADER: self._admin_key.read()}
        except InvalidSettings as error:
            raise LockedOut(
                f"the admin key of Triton at {self._url} is missing: {error}; it is read again at "
                "each look"
            ) from error

    async def index(self) -> Mapping[str, Mapping[int, VersionState]]:
        answer = await self._look(
            lambda: self._client.get_model_repository_index(
                headers=self._headers, client_timeout=CALL_TIMEOUT_S
            )
        )
        states: dict[str, dict[int, VersionState]] = {}
        for entry in answer.models:
            versions = states.setdefault(entry.name, {})
            if entry.version and entry.state:
                versions[int(entry.version)] = VersionState(entry.state)
        return states

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
        asked = infer_arguments(model, version, inputs)
        result = await self._call(
            lambda: self._client.infer(**asked, headers=self._headers, client_timeout=timeout_s)
        )
        return outputs_of(result)

    async def requests_served(self) -> Mapping[str, Mapping[int, int]]:
        """A warm-up sample of batch size 64 is 64 requests here, for each instance."""
        answer = await self._look(
            lambda: self._client.get_inference_statistics(
                headers=self._headers, client_timeout=CALL_TIMEOUT_S
            )
        )
        served: dict[str, dict[int, int]] = {}
        for found in answer.model_stats:
            versions = served.setdefault(found.name, {})
            versions[int(found.version)] = found.inference_stats.success.count
        return served

    async def served(self, model: str) -> Mapping[int, Served]:
        answer = await self._call(
            lambda: self._client.get_inference_statistics(
                model, headers=self._headers, client_timeout=CALL_TIMEOUT_S
            )
        )
        return {
            int(found.version): Served(
                succeeded=found.inference_stats.success.count,
                failed=found.inference_stats.fail.count,
            )
            for found in answer.model_stats
        }

    async def _look(self, request: Callable[[], Awaitable[T]]) -> T:
        """At all models, while some of them come and go."""
        for _ in range(MOST_LOOKS - 1):
            try:
                return await self._call(request)
            except Refused as error:
                if not _RACED.search(str(error)):
                    raise
        return await self._call(request)

    async def _call(self, request: Callable[[], Awaitable[T]]) -> T:
        try:
            return await request()
        except InferenceServerException as error:
            translated = self._translate(str(error.status()), error.message())
            if isinstance(translated, ServerLost):
                self._version = None
            raise translated from error

    def _translate(self, status: str, said: str) -> ServerError:
        # It ends some of its texts with a semicolon and a new line.
        text = said.rstrip("; \n")
        if _NOT_EXPLICIT.search(text):
            return NotExplicit(
                f"{self._name} server at {self._url} is not in explicit mode: {text}; start it "
                "with --model-control-mode=explicit"
            )
        if status in _LOST and not _ANSWERED_UNAVAILABLE.search(text):
            code = status.removeprefix("StatusCode.")
            return ServerLost(
                f"no answer from {self._name} server at {self._url}: {code} {text}; start it, or "
                "see its log: it is taken up as soon as it answers"
            )
        if _RESTRICTED.search(text):
            return LockedOut(self._locked_out(text))
        remedies = [remedy for pattern, remedy in _REMEDIES if pattern.search(text)]
        return Refused("; ".join([text, *remedies]))

    def _locked_out(self, text: str) -> str:
        if ADMIN_HEADER not in text:
            remedy = (
                "name its key admin-key, as in "
                "--grpc-restricted-protocol=model-repository:admin-key=KEY"
            )
        elif self._admin_key is None:
            remedy = (
                "set `admin_key_file` of this server to a file with the key of its "
                "--grpc-restricted-protocol"
            )
        else:
            remedy = (
                f"write the key of its --grpc-restricted-protocol into {self._admin_key.path}, "
                "its `admin_key_file`, which is read again at each look"
            )
        return f"Triton at {self._url} wants another admin key: {text}; {remedy}"
