"""Another replica's sidecar, in memory."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from sidecar.core.activation import Heat
from sidecar.core.replicas import Announcement
from sidecar.errors import PeerLost, RequestRefused, TooLate, UnknownObject

T = TypeVar("T")


class FakePeer:
    """A `ports.Peer` with some models loaded, and others `cold`. `kill` and `restart` it.

    The next `silent` looks are not answered, while its Triton serves on. With `has_a_bug` looks
    raise what no peer may raise. `refuses` says why
    models are not loaded, `calls` what was to be loaded, `looks` how often it was looked at,
    `routed` what it was told last. No load ends until `may_end_loads` is set.
    """

    def __init__(
        self, *loaded: str, cold: str = "", free_bytes: int = 0, load_s: float = 1.0
    ) -> None:
        """`cold` are names, with blanks between them."""
        self.models = set(loaded)
        self.stateful: set[str] = set()
        self.joined = True
        self.free_bytes = free_bytes
        self.load_s = load_s
        self.refuses: dict[str, RequestRefused] = {}
        self.calls: list[str] = []
        self.routed = ""
        self.looks = 0
        self.silent = 0
        self.has_a_bug = False
        self._known = {*loaded, *cold.split()}
        self._loading: dict[str, asyncio.Task[None]] = {}
        self._died = asyncio.Event()
        self.may_end_loads = asyncio.Event()
        self.may_end_loads.set()

    def kill(self) -> None:
        """With its Triton: all that was loaded is gone."""
        self._died.set()
        self.models = set()
        for task in self._loading.values():
            task.cancel()
        self._loading = {}

    def restart(self) -> None:
        self._died = asyncio.Event()

    async def look(self, routed: str) -> Announcement:
        return await self._answered(self._look(routed))

    async def serves(self, model: str) -> bool:
        return model in self.models

    async def ensure(self, model: str, *, timeout_s: float) -> Heat:
        self.calls.append(f"ensure {model}")
        return await self._answered(self._ensure(model, timeout_s))

    async def _look(self, routed: str) -> Announcement:
        self.routed = routed
        self.looks += 1
        if self.has_a_bug:
            raise ZeroDivisionError("in the adapter")
        if self.silent:
            self.silent -= 1
            raise PeerLost("the sidecar does not answer")
        return Announcement(
            models=dict.fromkeys(self.models, (1,)),
            stateful=frozenset(self.stateful),
            joined=self.joined,
            free_bytes=self.free_bytes,
        )

    async def _ensure(self, model: str, timeout_s: float) -> Heat:
        if model in self.models:
            return Heat.HIT
        if model not in self._known:
            raise UnknownObject("unknown_model", f"no model {model!r} in the store")
        if model in self.refuses:
            raise self.refuses[model]
        first = model not in self._loading
        if first:
            self._loading[model] = asyncio.create_task(self._load(model))
        try:
            async with asyncio.timeout(timeout_s):
                await asyncio.shield(self._loading[model])
        except TimeoutError:
            raise TooLate(f"{model} was not loaded within {timeout_s:g} s") from None
        return Heat.COLD if first else Heat.JOINED

    async def _load(self, model: str) -> None:
        await asyncio.sleep(self.load_s)
        await self.may_end_loads.wait()
        self.models.add(model)
        del self._loading[model]

    async def _answered(self, work: Coroutine[Any, Any, T]) -> T:
        """What it answers, if it lives until it has."""
        working = asyncio.ensure_future(work)
        dying = asyncio.ensure_future(self._died.wait())
        try:
            await asyncio.wait({working, dying}, return_when=asyncio.FIRST_COMPLETED)
            if dying.done():
                raise PeerLost("the sidecar does not answer")
            return await working
        finally:
            dying.cancel()
            working.cancel()
