"""Keeps the gateway's routes at what the last look says."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from sidecar.core.events import Event, EventName
from sidecar.core.fleet import Snapshot
from sidecar.core.replicas import revision
from sidecar.core.routing import Replica, Routes, Split, has_unproven, looked_at, routes_of
from sidecar.core.traffic import Traffic
from sidecar.errors import GatewayError
from sidecar.ports import Gateway
from sidecar.runtime.endless import told
from sidecar.runtime.telemetry import Telemetry

AGAIN_AFTER_S = 0.5
REFRESH_EVERY_S = 5.0
FORGOTTEN_AFTER_S = 3.0


class Router:
    """Shows routes to the gateway, one after the other, and knows which it has taken up.

    The gateway may be driven by another sidecar, which asks for this one's models and says
    which of them it routes. Where there is none at all, every wish is fulfilled at once.
    `problem` is why the gateway does not route as it should, else None. `is_settled` when all
    that our server had loaded before this process began has been proven anew.
    """

    def __init__(
        self,
        gateway: Gateway | None,
        own: Replica,
        telemetry: Telemetry,
        *,
        has_others: bool = False,
    ) -> None:
        """`own` is the replica of this sidecar; which models it has is seen at each look.

        With `has_others`, nothing is shown before it is known what these have.
        """
        self._gateway = gateway
        self._telemetry = telemetry
        self._others: tuple[Replica, ...] | None = None if has_others else ()
        self._snapshot: Snapshot | None = None
        self._wanted: Routes | None = None
        self._told: Routes | None = None
        self._changed = asyncio.Event()
        self._moved = asyncio.Condition()
        self._acknowledged = ("", -FORGOTTEN_AFTER_S)
        self.own = own
        self.is_settled = False
        self.applied: Routes | None = None
        self.problem: str | None = None

    async def recall(self) -> None:
        """Take up what the gateway did before this process began."""
        if self._gateway is not None:
            models = await self._gateway.models(self.own.name)
            self.own = replace(self.own, models=models, joined=bool(models))

    def look(self, snapshot: Snapshot) -> None:
        """What this look says is to be the case from now on."""
        self._snapshot = snapshot
        self.own = looked_at(self.own, snapshot)
        self.is_settled = self.is_settled or not has_unproven(snapshot)
        self._want()

    def see(self, others: tuple[Replica, ...]) -> None:
        """So are the other replicas now."""
        self._others = others
        self._want()

    @property
    def has_gateway(self) -> bool:
        """Whether this sidecar drives the gateway."""
        return self._gateway is not None

    @property
    def is_alone(self) -> bool:
        """Whether all that the gateway counts is meant for our own replica."""
        return self._others == ()

    @property
    def weights(self) -> Mapping[str, Mapping[int, int]]:
        """By model, how the gateway shares requests among versions now.

        While that changes, each version that it may name has the weight 0.
        """
        if self._gateway is None:
            return {}
        holds = self.applied.splits if self.applied else {}
        told = [routes.splits for routes in (self._told, self._wanted) if routes is not None]
        return {model: _weights(model, holds, *told) for model in holds.keys() | set().union(*told)}

    def unrouted(self, models: Collection[str]) -> list[str]:
        """Those for which our gateway still sends requests to the activator, in order.

        None of them while it cannot be reached: nobody knows what it does then.
        """
        if self._gateway is None or self.problem is not None:
            return []
        applied = self.applied
        return sorted(each for each in models if applied is None or not applied.have(each))

    async def acknowledge(self, models_revision: str) -> None:
        """Another sidecar's gateway routes this `revision` of our models."""
        self._acknowledged = (models_revision, time.monotonic())
        async with self._moved:
            self._moved.notify_all()

    async def run(self, resplit: Callable[[], object] = lambda: None) -> None:
        """Until cancelled. `resplit` is called when the gateway shares requests otherwise."""
        while self._gateway is not None:
            await self._changed_or(REFRESH_EVERY_S if self.problem is None else AGAIN_AFTER_S)
            if self._wanted is not None:
                before = self.weights
                await self._apply(self._gateway, self._wanted)
                if self.weights != before:
                    resplit()

    async def until_routed(self, model: str) -> None:
        """Return when requests for the model are sent to a replica that answers for it."""
        if self._gateway is not None:
            await self._until(lambda: self.applied is not None and self.applied.have(model))

    async def until_withdrawn(self, model: str) -> None:
        """Return when no request for the model is sent to this sidecar's replica any more.

        Not while our gateway cannot be reached: what it does is not known then.
        """
        if self._gateway is None:
            await self._until(lambda: self._has_let_go(model))
        else:
            await self._until(lambda: self.applied is not None and not self._sends(model))

    async def traffic(self) -> Mapping[str, Traffic]:
        """As the gateway counts it. Raises GatewayLost."""
        return {} if self._gateway is None else await self._gateway.traffic()

    def _want(self) -> None:
        if self._snapshot is None or self._others is None:
            return
        routes = routes_of(self._snapshot, self.own, self._others)
        if routes != self._wanted:
            self._wanted = routes
            self._changed.set()

    def _sends(self, model: str) -> bool:
        replicas = self.applied.replicas if self.applied else ()
        return any(each.name == self.own.name and model in each.models for each in replicas)

    def _has_let_go(self, model: str) -> bool:
        """Whether the sidecar that drives the gateway has, or there is none any more."""
        acknowledged, at_s = self._acknowledged
        if time.monotonic() - at_s > FORGOTTEN_AFTER_S:
            return True
        routed = (self.own.models, frozenset[str]())
        return model not in self.own.models and acknowledged in map(revision, routed)

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            async with self._moved:
                try:
                    async with asyncio.timeout(FORGOTTEN_AFTER_S):
                        await self._moved.wait()
                except TimeoutError:
                    continue

    async def _apply(self, gateway: Gateway, routes: Routes) -> None:
        self._told = routes
        before, self.problem = self.problem, await self._tried(gateway, routes)
        if self.problem is not None:
            if before is None:
                await self._tell(EventName.GATEWAY_LOST, reason=self.problem)
            return
        if before is not None:
            await self._tell(EventName.GATEWAY_FOUND)
        self.applied = routes
        async with self._moved:
            self._moved.notify_all()

    async def _tried(self, gateway: Gateway, routes: Routes) -> str | None:
        """Why the gateway does not route so; None: it does."""
        try:
            await gateway.apply(routes)
        except GatewayError as error:
            return str(error)
        except Exception as error:  # noqa: BLE001  (routes must outlive any bug)
            return told("gateway", error, self.problem)
        return None

    async def _changed_or(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()

    async def _tell(self, name: EventName, **detail: str) -> None:
        await self._telemetry.record(Event(name=name, detail=detail))


def _weights(model: str, *splits: Mapping[str, Split]) -> Mapping[int, int]:
    found = [split.weights if (split := each.get(model)) else {} for each in splits]
    if all(weights == found[0] for weights in found):
        return found[0]
    return dict.fromkeys(sorted(set().union(*found)), 0)
