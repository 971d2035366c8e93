"""A sidecar as a whole, for programs that block and for those that await."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from pilotlight.client import wire
from pilotlight.client.bodies import (
    Alive,
    AuditPage,
    CallerBody,
    ControlBody,
    DeviceList,
    EntryBody,
    EventName,
    GatewayBody,
    GatewayState,
    PlanBody,
    PolicyBody,
    Readiness,
    ReplicaBody,
    Startup,
    WhatIfBody,
    WhatIfRequest,
)
from pilotlight.client.models import Models, Recordings, Traffic
from pilotlight.client.releases import Operations, Releases, Trains
from pilotlight.client.resource import Resource, S, asks, follows, lists
from pilotlight.client.shells import AsyncShell, SyncShell, Target
from pilotlight.client.steps import Steps, call, exchange
from pilotlight.client.streams import Feed, Pages, feed_of, pages_of

DEFAULT_URL = "http://127.0.0.1:8080"
TIMEOUT_S = 10.0
READY_OR_NOT = frozenset({200, 503})


class Sidecar(Resource[S]):
    """What a Client and an AsyncClient can do: the latter's methods are awaited."""

    def __init__(self, shell: S) -> None:
        super().__init__(shell)
        self.models = Models(shell)
        self.releases = Releases(shell)
        self.trains = Trains(shell)
        self.operations = Operations(shell)
        self.traffic = Traffic(shell)
        self.recordings = Recordings(shell)

    @asks
    def readiness(self, *, verbose: bool = False) -> Steps[Readiness]:
        """Whether every hot model answers, or else what is missing; `verbose` tells all checks."""
        request = wire.get("/readyz", wire.given(verbose=verbose or None), allowed=READY_OR_NOT)
        return call(request, Readiness)

    @asks
    def startup(self) -> Steps[Startup]:
        """Whether the sidecar has had its first look at servers, store and state."""
        return call(wire.get("/startupz", allowed=READY_OR_NOT), Startup)

    @asks
    def alive(self) -> Steps[Alive]:
        """Whether the process answers; otherwise it raises."""
        return call(wire.get("/livez"), Alive)

    @asks
    def metrics(self) -> Steps[str]:
        """Prometheus text."""
        answer = yield from exchange(wire.get("/metrics"))
        return answer.content.decode()

    @asks
    def caller(self) -> Steps[CallerBody]:
        """Who this client's token belongs to, and what it may do."""
        return call(wire.get("/v1/caller"), CallerBody)

    @asks
    def devices(self) -> Steps[DeviceList]:
        """Memory: what each device has, and who holds it."""
        return call(wire.get("/v1/devices"), DeviceList)

    @asks
    def gateway(self) -> Steps[GatewayBody | None]:
        """Where clients connect, what is routed and what waits; None without a gateway."""
        found = yield from call(wire.get("/v1/gateway"), GatewayState)
        return found.gateway

    @asks
    def replica(self) -> Steps[ReplicaBody]:
        """What this sidecar's Triton has, for the one that drives a shared gateway."""
        return call(wire.get("/v1/replica"), ReplicaBody)

    @asks
    def plan(self) -> Steps[PlanBody]:
        """What was decided at the last look."""
        return call(wire.get("/v1/plans"), PlanBody)

    @asks
    def what_if(
        self, *, budgets: Mapping[str, str | int] | None = None, load: Sequence[str] = ()
    ) -> Steps[WhatIfBody]:
        """What other budgets would keep, such as `{"cpu": "24GiB"}`; nothing is changed."""
        body = WhatIfRequest(budgets=dict(budgets or {}), load=tuple(load))
        return call(wire.ask("/v1/plans", body), WhatIfBody)

    @asks
    def policy(self) -> Steps[PolicyBody]:
        """What decides which models stay loaded."""
        return call(wire.get("/v1/policy"), PolicyBody)

    @asks
    def control(self) -> Steps[ControlBody]:
        """Mode and profile."""
        return call(wire.get("/v1/control"), ControlBody)

    @asks
    def pause(self) -> Steps[ControlBody]:
        """Look on and do nothing, until `resume`; what is under way ends."""
        return call(wire.post("/v1:pause"), ControlBody)

    @asks
    def resume(self) -> Steps[ControlBody]:
        """Act again, after `pause` or `drain`."""
        return call(wire.post("/v1:resume"), ControlBody)

    @asks
    def drain(self) -> Steps[ControlBody]:
        """Say not ready, so that traffic goes elsewhere, and finish what has begun.

        It ends with the sidecar: one that is started again serves.
        """
        return call(wire.post("/v1:drain"), ControlBody)

    @lists
    def audit(
        self,
        *,
        model: str | None = None,
        actor: str | None = None,
        event: EventName | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        page_size: int = 100,
    ) -> Pages[EntryBody]:
        """All that ever happened, oldest first. Times need a time zone."""
        return pages_of(
            "/v1/audit",
            AuditPage,
            lambda page: page.entries,
            model=model,
            actor=actor,
            event=event,
            since=since,
            until=until,
            page_size=page_size,
        )

    @follows
    def events(
        self, *, model: str | None = None, after: int | None = None, patience_s: float = 60.0
    ) -> Feed[EntryBody]:
        """What happens, as it happens: behind the entry of this id, or from now on.

        After a lost connection it goes on behind the last entry; the sidecar may be away for
        `patience_s` meanwhile. It never ends by itself.
        """
        where = wire.listen_to("/v1/events", wire.given(model=model, after=after))
        return feed_of(where, EntryBody, patience_s=patience_s)


class Client(Sidecar[SyncShell]):
    """Its methods block. Threads may share it.

    Raises:
        OSError: the token's file cannot be read.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        token_file: Path | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`timeout_s` is for each answer, beyond what its method is told to wait."""
        super().__init__(SyncShell(_target(url, token, token_file, timeout_s)))

    def close(self) -> None:
        self.shell.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient(Sidecar[AsyncShell]):
    """Its methods are awaited, in one event loop; what a Client iterates over, `async for` does.

    Raises:
        OSError: the token's file cannot be read.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        token: str | None = None,
        token_file: Path | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        """`timeout_s` is for each answer, beyond what its method is told to wait."""
        super().__init__(AsyncShell(_target(url, token, token_file, timeout_s)))

    async def close(self) -> None:
        await self.shell.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


def _target(url: str, token: str | None, token_file: Path | None, timeout_s: float) -> Target:
    if token is None and token_file is not None:
        token = token_file.read_text().strip()
    return Target(url=url, token=token, timeout_s=timeout_s)
