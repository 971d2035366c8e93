"""Triton's gRPC protocol, as far as a request names a model.

ModelReady is answered without a load; "not ready" is no error, as with Triton.
ModelStatistics is empty: a model that is not loaded has none. All others are held.

Envoy's copies of requests, to compare answers, come here too and are told apart by a header.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
from google.protobuf.message import Message
from tritonclient.grpc import service_pb2

from contract.kserve import from_grpc
from sidecar.activator.answers import CLOSING, Answer, malformed
from sidecar.activator.holding import Holding
from sidecar.activator.samples import SAMPLE, Samples
from sidecar.activator.tries import Past, past
from sidecar.activator.wire import names
from sidecar.adapters.envoy.names import TRIES_HEADER

SERVICE = "inference.GRPCInferenceService"
_INFERENCES = ("ModelInfer", "ModelStreamInfer")
_HELD = (*_INFERENCES, "ModelMetadata", "ModelConfig")
_Context = grpc.aio.ServicerContext[bytes, bytes]
# Of a model and a version, for a client that waits so many seconds, after tries before.
_Method = Callable[[str, str, float | None, Past], Awaitable[Answer | Message]]


class GrpcDoor:
    def __init__(self, holding: Holding, samples: Samples) -> None:
        self._holding = holding
        self._samples = samples

    def handler(self) -> grpc.GenericRpcHandler:
        methods: dict[str, _Method] = {
            **dict.fromkeys(_HELD, self._hold),
            "ModelReady": self._tell_ready,
            "ModelStatistics": self._tell_statistics,
        }
        return grpc.method_handlers_generic_handler(
            SERVICE, {name: self._on_the_wire(name, method) for name, method in methods.items()}
        )

    def _on_the_wire(self, name: str, method: _Method) -> "grpc.RpcMethodHandler[bytes, bytes]":
        """A handler of bytes.

        It reads a stream, also where the protocol has one message: gRPC would keep that one as
        long as the call waits, and so does its iterator of requests.
        """

        async def call(_: object, context: _Context) -> None:
            if SAMPLE in dict(context.invocation_metadata() or ()):
                message = await context.read() or b""
                if name in _INFERENCES:
                    self._take(message)
                return
            answer = await _answer(method, context)
            if isinstance(answer, Message):
                await context.write(answer.SerializeToString())
            else:
                # Nothing was sent before, so all of it is in the headers, where Envoy looks.
                await context.abort(answer.grpc_code, answer.grpc_text, answer.trailing_metadata())

        return grpc.stream_stream_rpc_method_handler(call)

    def _take(self, message: bytes) -> None:
        """Of a stream only the first: its others may be about other models."""
        with suppress(ValueError):
            model, _ = names(message)
            self._samples.offer(model, message, from_grpc)

    async def _hold(
        self, model: str, version: str, timeout_s: float | None, before: Past
    ) -> Answer | Message:
        held = self._holding.held(model, version, timeout_s, before)
        return await self._holding.unless_closed(held) or CLOSING

    async def _tell_ready(self, model: str, *_: object) -> Answer | Message:
        ready: Message = service_pb2.ModelReadyResponse(ready=self._holding.refusal(model) is None)
        return ready

    async def _tell_statistics(self, model: str, *_: object) -> Answer | Message:
        none: Message = service_pb2.ModelStatisticsResponse()
        return self._holding.stranger(model) or none


async def _answer(method: _Method, context: _Context) -> Answer | Message:
    try:
        # A client that sends none ends its stream: that is falsy.
        model, version = names(await context.read() or b"")
    except ValueError as error:
        return malformed(str(error))
    tries = [
        str(value) for key, value in context.invocation_metadata() or () if key == TRIES_HEADER
    ]
    # Envoy hands the client's deadline on as it was when the request came.
    return await method(model, version, context.time_remaining(), past(tries))
