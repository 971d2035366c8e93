"""For programs that speak to Triton itself: a model that is not loaded is loaded, then asked again.

    triton = on_demand(tritonclient.grpc.InferenceServerClient("localhost:8201"), Client())
    triton.infer("long_form", inputs)

With the gateway nobody needs this. Needs tritonclient; any of its four clients will do.

`infer`, `get_model_metadata` and `get_model_config` are covered. Not covered are `async_infer` and
the streams of gRPC, whose errors come too late for it: call `models.ensure` before these.
"""

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from functools import wraps
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from tritonclient.utils import InferenceServerException

from pilotlight.client.client import AsyncClient, Client
from pilotlight.client.errors import ClientError, TimedOut

C = TypeVar("C")
_COVERED = ("infer", "get_model_metadata", "get_model_config")
# What every server since 2.0 says of a model, or of a version, that it does not have.
_UNKNOWN = "Request for unknown model"
_LEAST_S = 0.001


class NotLoaded(InferenceServerException):  # type: ignore[misc]
    """The model is not loaded, and could not be; `__cause__` is the ClientError that says why.

    Handlers of Triton's own error handle it too: the status is that of Triton's answer.
    """

    def __init__(self, model: str, answer: InferenceServerException, why: ClientError) -> None:
        super().__init__(
            msg=f"{model} is not loaded ({answer.message()}), and cannot be now: {why}",
            status=answer.status(),
        )


def on_demand(triton: C, sidecar: Client | AsyncClient, *, timeout_s: float = 60.0) -> C:
    """A client of Triton whose calls load what they ask for.

    What is loaded costs nothing: the sidecar is asked only after Triton has refused. Callers that
    wait for the same model join. A call takes at most `timeout_s` and its own `client_timeout`
    until its model answers.

    Raises:
        TypeError: one of the two clients blocks and the other is awaited.
    """
    awaits = inspect.iscoroutinefunction(getattr(triton, "infer", None))
    if isinstance(sidecar, AsyncClient):
        if not awaits:
            raise TypeError(f"{type(triton).__name__} blocks; give it a Client of the sidecar")
        return cast("C", _AwaitedTriton(triton, sidecar, timeout_s))
    if awaits:
        raise TypeError(f"{type(triton).__name__} is awaited; give it an AsyncClient")
    return cast("C", _BlockingTriton(triton, sidecar, timeout_s))


class _Triton:
    """All but the covered methods are the client's own."""

    def __init__(self, triton: Any, timeout_s: float) -> None:
        self._triton = triton
        self._timeout_s = timeout_s
        # How often each model was found to answer; who has failed before the last time tries again.
        self._ensured: dict[str, int] = {}
        for name in _COVERED:
            setattr(self, name, self._covered(getattr(triton, name)))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._triton, name)

    def _covered(self, method: Callable[..., Any]) -> Callable[..., Any]:
        raise NotImplementedError

    def _until_s(self, began_s: float, named: dict[str, Any]) -> float:
        own_s = named.get("client_timeout")
        return began_s + (self._timeout_s if own_s is None else min(own_s, self._timeout_s))


class _BlockingTriton(_Triton):
    def __init__(self, triton: Any, sidecar: Client, timeout_s: float) -> None:
        self._sidecar = sidecar
        self._turns: dict[str, threading.Lock] = {}
        super().__init__(triton, timeout_s)

    def __enter__(self) -> Self:
        self._triton.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._triton.__exit__(kind, error, traceback)

    def _covered(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(model_name: str, *arguments: Any, **named: Any) -> Any:
            began_s, before = time.monotonic(), self._ensured.get(model_name, 0)
            try:
                return method(model_name, *arguments, **named)
            except InferenceServerException as answer:
                if not _is_unloaded(answer):
                    raise
                until_s = self._until_s(began_s, named)
                try:
                    self._ensure(model_name, before, until_s)
                except ClientError as why:
                    raise NotLoaded(model_name, answer, why) from why
            return method(model_name, *arguments, **_with_rest(named, until_s))

        return call

    def _ensure(self, model: str, before: int, until_s: float) -> None:
        turn = self._turns.setdefault(model, threading.Lock())
        if not turn.acquire(timeout=_left_s(until_s)):
            raise _too_late(model)
        try:
            if self._ensured.get(model, 0) == before:
                self._sidecar.models.ensure(model, timeout_s=_left_s(until_s))
                self._ensured[model] = before + 1
        finally:
            turn.release()


class _AwaitedTriton(_Triton):
    def __init__(self, triton: Any, sidecar: AsyncClient, timeout_s: float) -> None:
        self._sidecar = sidecar
        self._turns: dict[str, asyncio.Lock] = {}
        super().__init__(triton, timeout_s)

    async def __aenter__(self) -> Self:
        await self._triton.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._triton.__aexit__(kind, error, traceback)

    def _covered(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        async def call(model_name: str, *arguments: Any, **named: Any) -> Any:
            began_s, before = time.monotonic(), self._ensured.get(model_name, 0)
            try:
                return await method(model_name, *arguments, **named)
            except InferenceServerException as answer:
                if not _is_unloaded(answer):
                    raise
                until_s = self._until_s(began_s, named)
                try:
                    await self._ensure(model_name, before, until_s)
                except ClientError as why:
                    raise NotLoaded(model_name, answer, why) from why
            return await method(model_name, *arguments, **_with_rest(named, until_s))

        return call

    async def _ensure(self, model: str, before: int, until_s: float) -> None:
        turn = self._turns.setdefault(model, asyncio.Lock())
        try:
            await asyncio.wait_for(turn.acquire(), _left_s(until_s))
        except TimeoutError:
            raise _too_late(model) from None
        try:
            if self._ensured.get(model, 0) == before:
                await self._sidecar.models.ensure(model, timeout_s=_left_s(until_s))
                self._ensured[model] = before + 1
        finally:
            turn.release()


def _is_unloaded(answer: InferenceServerException) -> bool:
    return _UNKNOWN in (answer.message() or "")


def _left_s(until_s: float) -> float:
    return max(_LEAST_S, until_s - time.monotonic())


def _with_rest(named: dict[str, Any], until_s: float) -> dict[str, Any]:
    """Of a call's own deadline what is left."""
    if named.get("client_timeout") is None:
        return named
    return {**named, "client_timeout": _left_s(until_s)}


def _too_late(model: str) -> TimedOut:
    return TimedOut(f"another call has waited for {model} until this one's time was over")
