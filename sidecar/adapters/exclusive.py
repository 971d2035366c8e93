"""Blocking work in threads, one piece at a time."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Exclusive:
    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def run(self, work: Callable[[], T]) -> T:
        """A thread cannot be cancelled, so neither is what waits for it to end."""

        async def alone() -> T:
            async with self._lock:
                return await asyncio.to_thread(work)

        return await asyncio.shield(alone())
