"""An activator on real ports, over a hold that the test decides for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sidecar.activator.serve import Activator
from sidecar.core.activation import Heat
from sidecar.errors import TooLate, UnknownObject
from sidecar.runtime.compare import Decode
from tests.eventually import eventually

KNOWN = "m"
ANY_PORT = ("127.0.0.1", 0)
PATIENCE_S = 30.0
"""Of clients: the machine may stand still for seconds."""


class HandHold:
    """Holds every request for `KNOWN` until it is told what becomes of it."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        self.asked: list[tuple[str, float | None]] = []
        self.versions: list[str] = []
        self.pasts: list[tuple[float, float]] = []
        self.waiting = 0
        self.gone = 0
        self.refuses: Exception | None = None
        self._loaded = asyncio.Event()

    def release(self) -> None:
        self._loaded.set()

    async def hold(
        self, model: str, *, version: str, timeout_s: float | None, age_s: float, held_s: float
    ) -> Heat:
        self.asked.append((model, timeout_s))
        self.pasts.append((age_s, held_s))
        self.versions.append(version)
        self.would_answer(model)
        if self._loaded.is_set():
            return Heat.HIT
        self.waiting += 1
        is_first = self.waiting == 1
        try:
            async with asyncio.timeout(timeout_s):
                await self._loaded.wait()
        except TimeoutError:
            raise TooLate(f"{model} was not loaded within {timeout_s:g} s") from None
        except asyncio.CancelledError:
            self.gone += 1
            raise
        finally:
            self.waiting -= 1
        return Heat.COLD if is_first else Heat.JOINED

    def would_answer(self, model: str) -> None:
        if model != KNOWN:
            raise UnknownObject("unknown_model", f"no model {model!r} in the store")
        if self.refuses:
            raise self.refuses

    async def has(self, condition: Callable[["HandHold"], bool]) -> None:
        async def holds() -> bool:
            return condition(self)

        await eventually(holds, "the hold is asked, or left")


class NoSamples:
    """Where nothing is compared."""

    def offer(self, model: str, body: bytes, decode: Decode) -> None:
        pass


@asynccontextmanager
async def activated(hold: HandHold) -> AsyncIterator[Activator]:
    async with Activator(hold, NoSamples(), http=ANY_PORT, grpc=ANY_PORT) as activator:  # type: ignore[arg-type]
        yield activator
