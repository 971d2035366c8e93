"""A data plane that routes as it is told after a while, and counts."""

import asyncio
from collections.abc import Mapping

from sidecar.core.routing import Replica, Routes
from sidecar.core.traffic import Answered, Traffic
from sidecar.errors import GatewayLost, GatewayRefused

TAKES_UP_S = 0.02
ACTIVATOR = "activator"
OWN = Replica(name="own", http="triton:8000", grpc="triton:8001", models=frozenset(), joined=False)
"""The replica of a sidecar under test."""


class FakeGateway:
    """A `ports.Gateway`. `routes` is what holds, `history` each that held, in words in `calls`.

    `kill` and `restart` it as often as you like. It finds a mistake in routes with a stateful
    model of the name `impossible`. With `has_a_bug` it raises what no gateway may raise.
    """

    impossible = "impossible"

    def __init__(self) -> None:
        self.routes = Routes()
        self.history: list[Routes] = []
        self.calls: list[str] = []
        self.counted: dict[str, Traffic] = {}
        self.is_alive = True
        self.has_a_bug = False
        self._told = self.routes

    def kill(self) -> None:
        self.is_alive = False
        self.counted = {}

    def restart(self) -> None:
        self.is_alive = True
        self._hold(self._told)

    def asked(self, model: str) -> str:
        """Who gets a request for the model: the name of a replica, or `ACTIVATOR`."""
        seen = self.counted.get(model, Traffic())
        kind = Answered(version=None, code="200", outcome="hit")
        answers = {**seen.answers, kind: seen.answers.get(kind, 0) + 1}
        self.counted[model] = Traffic(answers=answers, open_streams=seen.open_streams)
        has = (replica.name for replica in self.routes.replicas if model in replica.models)
        return next(has, ACTIVATOR)

    async def apply(self, routes: Routes) -> None:
        before, self._told = self._told, routes
        if self.has_a_bug:
            raise ZeroDivisionError("in the adapter")
        self._refuse_when_dead()
        await asyncio.sleep(TAKES_UP_S)
        self._refuse_when_dead()
        if self.impossible in routes.stateful:
            self._told = before
            raise GatewayRefused(f"there is no model {self.impossible}")
        self._hold(routes)

    async def models(self, replica: str) -> frozenset[str]:
        found = (each.models for each in self._told.replicas if each.name == replica)
        return next(found, frozenset())

    async def traffic(self) -> Mapping[str, Traffic]:
        self._refuse_when_dead()
        return dict(self.counted)

    def _hold(self, routes: Routes) -> None:
        self.routes = routes
        self.history.append(routes)
        routed = sorted({model for each in routes.replicas for model in each.models})
        self.calls.append(" ".join(["route", *routed]))

    def _refuse_when_dead(self) -> None:
        if not self.is_alive:
            raise GatewayLost("the gateway does not answer")
