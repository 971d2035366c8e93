"""When a call to one Triton may start.

A model that is destroyed right after it was created can kill tritonserver: its instance
thread is still on the way back from initialisation. Unloads one at a time and at least
50 ms after the last finished load lived through 2,054 cycles; without that, servers died
within seconds to 1,202 cycles.

One at a time are the calls. What they begin may overlap, for each model has threads of its own:
1,352 unloads by eight workers lived, beside each other and beside loads.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

REST_AFTER_LOAD_S = 0.05


class Lane:
    """Order of loads and calls to unload on one server. To drop a version by policy is one too."""

    def __init__(self) -> None:
        self._unload = asyncio.Lock()
        self._last_load_s = 0.0

    @asynccontextmanager
    async def loading(self, *, drops: bool) -> AsyncIterator[None]:
        async with self.unloading() if drops else nullcontext():
            try:
                yield
            finally:
                self._last_load_s = time.monotonic()

    @asynccontextmanager
    async def unloading(self) -> AsyncIterator[None]:
        async with self._unload:
            # Another load may finish while we rest, so look again.
            while (rest := self._last_load_s + REST_AFTER_LOAD_S - time.monotonic()) > 0:  # noqa: ASYNC110
                await asyncio.sleep(rest)
            yield
