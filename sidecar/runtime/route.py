"""Keeps the gateway's routes at what the last look says."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from sidecar.core.events import Event, EventName
from sidecar.core.fleet import Snapshot
from sidecar.core.routing import Replica, Routes, routes_of
from sidecar.core.traffic import Traffic
from sidecar.errors import GatewayError
from sidecar.ports import Gateway
from sidecar.runtime.telemetry import Telemetry

AGAIN_AFTER_S = 0.5
REFRESH_EVERY_S = 5.0


class Router:
    """Shows routes to the gateway, one after the other, and knows which it has taken up.

    Without a gateway every wish is fulfilled at once. `problem` is why the gateway does not
    route as it should, else None.
    """

    def __init__(self, gateway: Gateway | None, own: Replica, telemetry: Telemetry) -> None:
        """`own` is the replica of this sidecar; which models it has is seen at each look."""
        self._gateway = gateway
        self._own = own
        self._telemetry = telemetry
        self._wanted: Routes | None = None
        self._changed = asyncio.Event()
        self._moved = asyncio.Condition()
        self.applied: Routes | None = None
        self.problem: str | None = None

    async def recall(self) -> None:
        """Take up what the gateway did before this process began."""
        if self._gateway is not None:
            self._own = replace(self._own, models=await self._gateway.models())

    def look(self, snapshot: Snapshot) -> None:
        """What this look says is to be the case from now on."""
        routes = routes_of(snapshot, self._own)
        (self._own,) = routes.replicas
        if routes != self._wanted:
            self._wanted = routes
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while self._gateway is not None:
            await self._changed_or(REFRESH_EVERY_S if self.problem is None else AGAIN_AFTER_S)
            if self._wanted is not None:
                await self._apply(self._gateway, self._wanted)

    async def until_routed(self, model: str) -> None:
        """Return when requests for the model are sent to a replica that answers for it."""
        await self._until(lambda routes: routes.have(model))

    async def until_withdrawn(self, model: str) -> None:
        """Return when no request for the model is sent to this sidecar's replica any more.

        Not while the gateway cannot be reached: what it does is not known then.
        """
        name = self._own.name
        await self._until(lambda routes: not _sends(routes.replicas, model, name))

    async def traffic(self) -> Mapping[str, Traffic]:
        """As the gateway counts it. Raises GatewayLost."""
        return {} if self._gateway is None else await self._gateway.traffic()

    async def _until(self, holds: Callable[[Routes], bool]) -> None:
        if self._gateway is None:
            return
        async with self._moved:
            await self._moved.wait_for(lambda: self.applied is not None and holds(self.applied))

    async def _apply(self, gateway: Gateway, routes: Routes) -> None:
        try:
            await gateway.apply(routes)
        except GatewayError as error:
            if self.problem is None:
                await self._tell(EventName.GATEWAY_LOST, reason=str(error))
            self.problem = str(error)
            return
        if self.problem is not None:
            await self._tell(EventName.GATEWAY_FOUND)
        self.problem = None
        async with self._moved:
            self.applied = routes
            self._moved.notify_all()

    async def _changed_or(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    async def _tell(self, name: EventName, **detail: str) -> None:
        await self._telemetry.record(Event(name=name, detail=detail))


def _sends(replicas: tuple[Replica, ...], model: str, name: str) -> bool:
    return any(replica.name == name and model in replica.models for replica in replicas)
