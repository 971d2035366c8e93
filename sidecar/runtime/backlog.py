"""Copies of clients' requests that wait for their turn, and hold up nobody meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

import structlog

from contract.samples import Tensors

Decode = Callable[[bytes], Tensors]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A request for inference; `decode` reads its body, or raises ContractError."""

    model: str
    body: bytes
    decode: Decode


S = TypeVar("S", bound=Sample)


class Backlog(AbstractAsyncContextManager["Backlog[S]"], Generic[S]):
    """While entered, one sample after the other is worked on, in the order in which they came.

    Where that crashes, it is logged as `crashed`, and the next one has its turn.
    """

    def __init__(
        self, work: Callable[[S], Awaitable[None]], *, most: int, most_bytes: int, crashed: str
    ) -> None:
        self._work = work
        self._most_bytes = most_bytes
        self._crashed = crashed
        self._waiting: asyncio.Queue[S] = asyncio.Queue(most)
        self._waiting_bytes = 0
        self._working: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._working = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._working is not None:
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)

    def put(self, sample: S) -> bool:
        """Whether there was room for it."""
        size = len(sample.body)
        if self._waiting.full() or self._waiting_bytes + size > self._most_bytes:
            return False
        self._waiting_bytes += size
        self._waiting.put_nowait(sample)
        return True

    async def _run(self) -> None:
        while True:
            sample = await self._waiting.get()
            self._waiting_bytes -= len(sample.body)
            try:
                await self._work(sample)
            except Exception:  # noqa: BLE001  (the next one may do; the log has the bug)
                structlog.get_logger("pilotlight").exception(self._crashed, model=sample.model)
