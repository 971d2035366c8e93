"""Before a model goes, the gateway sends nothing to it any more, and open streams end."""

import asyncio
import time

from sidecar.errors import GatewayLost
from sidecar.runtime.world import World

POLL_S = 0.2


class Drain:
    """`longest_s` is how long clients are waited for: a stream may stay open for days."""

    def __init__(self, world: World, *, longest_s: float) -> None:
        self._world = world
        self._longest_s = longest_s

    async def finish(self, model: str, *, regardless: bool = False) -> bool:
        """Return when nothing is on its way to the model, or the time is up.

        False as soon as somebody asks for it again, unless it makes room for another one, or it
        goes `regardless` of that: then it is to stay.
        """

        def is_to_stay() -> bool:
            return not regardless and self._is_asked_for(model)

        began_s = time.monotonic()
        try:
            async with asyncio.timeout(self._longest_s):
                await self._world.router.until_withdrawn(model)
        except TimeoutError:
            return not is_to_stay()
        while not is_to_stay() and await self._open_streams(model):
            if time.monotonic() - began_s > self._longest_s:
                break
            await asyncio.sleep(POLL_S)
        return not is_to_stay()

    def _is_asked_for(self, model: str) -> bool:
        left = self._world.board.departures.get(model)
        makes_room = left is not None and left.evicted
        return not makes_room and self._world.waiting.count(model) > 0

    async def _open_streams(self, model: str) -> int:
        try:
            seen = (await self._world.router.traffic()).get(model)
        except GatewayLost:
            return 0
        return seen.open_streams if seen else 0
