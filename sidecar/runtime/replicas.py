"""The other replicas behind our gateway: what they have, and loading models there."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import TracebackType
from typing import Self

from sidecar.core.activation import Heat
from sidecar.core.events import Event, EventName
from sidecar.core.replicas import Announcement, revision
from sidecar.core.routing import Replica
from sidecar.errors import PeerLost
from sidecar.ports import Peer
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry

ASK_EVERY_S = 0.2
LOST_AFTER = 2
"""Unanswered questions."""


class Replicas(AbstractAsyncContextManager["Replicas"]):
    """While entered, asks each other sidecar several times a second.

    Tells them what the gateway routes, and the router what they have.
    """

    def __init__(
        self,
        peers: Mapping[str, Peer],
        addresses: Mapping[str, Replica],
        router: Router,
        telemetry: Telemetry,
    ) -> None:
        """`addresses` are the replicas of the peers, by name; which models they have is asked."""
        self._peers = peers
        self._addresses = addresses
        self._router = router
        self._telemetry = telemetry
        self._announced: dict[str, Announcement] = {}
        self._loading: dict[tuple[str, str], asyncio.Task[Heat]] = {}
        self._following: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._following = [asyncio.create_task(self._follow(name)) for name in self._peers]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in (*self._following, *self._loading.values()):
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    def having(self, model: str) -> bool:
        """Whether another replica that has joined answers for the model."""
        return any(each.joined and model in each.models for each in self._announced.values())

    def roomiest(self, than_bytes: int) -> str | None:
        """The replica with the most free memory, if it is more than so many bytes."""
        joined = {name: each for name, each in self._announced.items() if each.joined}
        best = max(joined, key=lambda name: joined[name].free_bytes, default=None)
        return best if best is not None and joined[best].free_bytes > than_bytes else None

    async def ensure(self, name: str, model: str, *, timeout_s: float) -> Heat:
        """Return when the replica answers for the model; loaded once however many ask.

        The first one's `timeout_s` holds for all who join: it is not that of a client.

        Raises:
            RequestRefused: why it does not.
            PeerLost: its sidecar does not answer.
        """
        key = (name, model)
        first = key not in self._loading
        if first:
            task = asyncio.create_task(self._peers[name].ensure(model, timeout_s=timeout_s))
            task.add_done_callback(lambda ended: self._ended(key, ended))
            self._loading[key] = task
        heat = await asyncio.shield(self._loading[key])
        return heat if first or heat is Heat.HIT else Heat.JOINED

    def _ended(self, key: tuple[str, str], task: asyncio.Task[Heat]) -> None:
        del self._loading[key]
        if not task.cancelled():
            # Looked at, also where everybody who waited has gone.
            task.exception()

    async def _follow(self, name: str) -> None:
        missed = 0
        while True:
            try:
                found = await self._peers[name].look(revision(self._routed(name)))
            except PeerLost as error:
                missed += 1
                if missed == LOST_AFTER:
                    await self._change(name, None, str(error))
            else:
                missed = 0
                if found != self._announced.get(name):
                    await self._change(name, found, "")
            await asyncio.sleep(ASK_EVERY_S)

    async def _change(self, name: str, found: Announcement | None, reason: str) -> None:
        before = self._announced.pop(name, None)
        if found is not None:
            self._announced[name] = found
        self._router.see(
            tuple(
                replace(
                    self._addresses[each],
                    models=announced.models,
                    stateful=announced.stateful,
                    joined=announced.joined,
                )
                for each, announced in sorted(self._announced.items())
            )
        )
        was_there, is_there = _is_in(before), _is_in(found)
        if was_there is not is_there:
            event = EventName.REPLICA_JOINED if is_there else EventName.REPLICA_LEFT
            detail = {"replica": name, "reason": reason or "its sidecar says so"}
            await self._telemetry.record(Event(name=event, detail=detail))

    def _routed(self, name: str) -> frozenset[str]:
        replicas = self._router.applied.replicas if self._router.applied else ()
        return next((each.models for each in replicas if each.name == name), frozenset())


def _is_in(found: Announcement | None) -> bool:
    return found is not None and found.joined
