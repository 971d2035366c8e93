"""On which replica a model is loaded that somebody waits for."""

import asyncio
from collections.abc import Callable

from sidecar.core.activation import Heat
from sidecar.core.events import Event, EventName
from sidecar.errors import NotNow, PeerLost, RequestRefused, TooLate
from sidecar.runtime.activate import Waiting
from sidecar.runtime.replicas import KNOWN_AFTER_S, Replicas
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry


class Placer:
    """Has each model loaded once, however many wait for it.

    Who has it already keeps it; else the replica with most memory free is asked, then the
    others. `own_free_bytes` tells that of our own Triton.
    """

    def __init__(
        self,
        waiting: Waiting,
        router: Router,
        replicas: Replicas,
        telemetry: Telemetry,
        *,
        own_free_bytes: Callable[[], int],
        longest_s: float,
    ) -> None:
        self._waiting = waiting
        self._router = router
        self._replicas = replicas
        self._telemetry = telemetry
        self._own_free_bytes = own_free_bytes
        self._longest_s = longest_s
        self._under_way: dict[str, asyncio.Task[Heat]] = {}

    async def activate(self, model: str) -> Heat:
        """Return when some replica answers for the model. Raises RequestRefused: none will."""
        task = self._under_way.get(model)
        is_first = task is None
        if task is None:
            task = asyncio.create_task(self._activate(model))
            task.add_done_callback(lambda ended: self._ended(model, ended))
            self._under_way[model] = task
        heat = await asyncio.shield(task)
        return heat if is_first or heat is Heat.HIT else Heat.JOINED

    def versions(self, model: str) -> frozenset[int]:
        """All that some replica answers in."""
        return self._waiting.versions(model) | self._replicas.versions(model)

    async def _activate(self, model: str) -> Heat:
        refusal: RequestRefused | None = None
        tried: set[str] = set()
        while True:
            if await self._is_elsewhere(model):
                return Heat.HIT
            name = self._best(model, tried)
            if name is None:
                raise refusal or NotNow("no replica can be reached; see `pilotlight gateway`")
            tried.add(name)
            try:
                if name == self._router.own.name:
                    return await self._load_here(model)
                return await self._replicas.ensure(name, model, timeout_s=self._longest_s)
            except TooLate:
                raise
            except (RequestRefused, PeerLost) as error:
                refusal = error if isinstance(error, RequestRefused) else refusal
                if not self._router.is_alone:
                    await self._tell(model, name, error)

    async def _is_elsewhere(self, model: str) -> bool:
        """Who has it may be about to be found dead, or to let the model go."""
        if self._waiting.answers(model) or not self._replicas.having(model):
            return False
        await asyncio.sleep(KNOWN_AFTER_S)
        return self._replicas.having(model)

    def _best(self, model: str, tried: set[str]) -> str | None:
        """Our own Triton comes last while it has not joined."""
        own = self._router.own
        rooms = self._replicas.free_bytes()
        if own.joined or not rooms:
            rooms[own.name] = self._own_free_bytes()
        if self._waiting.answers(model) and own.name not in tried:
            return own.name
        left = {name: free for name, free in rooms.items() if name not in tried}
        if not left and own.name not in tried:
            return own.name
        return max(left, key=lambda name: (left[name], name == own.name), default=None)

    async def _load_here(self, model: str) -> Heat:
        """Raises PeerLost when our Triton leaves meanwhile, and there is another one."""
        waiting = asyncio.create_task(
            self._waiting.wait_for(model, self._longest_s, look_again=True)
        )
        try:
            while True:
                done, _ = await asyncio.wait((waiting,), timeout=KNOWN_AFTER_S)
                if done:
                    return waiting.result()
                if not self._router.own.joined and self._replicas.free_bytes():
                    raise PeerLost("our own Triton does not answer, or drains")
        finally:
            waiting.cancel()

    def _ended(self, model: str, task: asyncio.Task[Heat]) -> None:
        del self._under_way[model]
        if not task.cancelled():
            # Looked at also where everybody who waited has gone.
            task.exception()

    async def _tell(self, model: str, replica: str, error: Exception) -> None:
        detail = {"replica": replica, "reason": str(error)}
        event = Event(name=EventName.REPLICA_REFUSED, model=model, detail=detail)
        await self._telemetry.record(event)
