"""The other replicas behind our gateway: what they have, and loading models there."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Self

from sidecar.core.activation import Heat
from sidecar.core.events import Event, EventName
from sidecar.core.replicas import Announcement, revision
from sidecar.core.routing import Replica
from sidecar.errors import PeerLost
from sidecar.ports import Peer
from sidecar.runtime.board import Board
from sidecar.runtime.endless import endlessly
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry

ASK_EVERY_S = 0.2
SILENT_AFTER = 2
"""Questions without an answer, after which nothing is loaded there."""
GONE_AFTER = 300
"""And after which nothing is routed there, though its Triton serves: that one is not looked
after any more."""
KNOWN_AFTER_S = SILENT_AFTER * ASK_EVERY_S


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
        board: Board,
    ) -> None:
        """`addresses` are the replicas of the peers, by name; which models they have is asked."""
        self._peers = peers
        self._addresses = addresses
        self._router = router
        self._telemetry = telemetry
        self._board = board
        self._announced: dict[str, Announcement] = {}
        self._missed = dict.fromkeys(peers, 0)
        self._not_asked = set(peers)
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
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)

    def having(self, model: str) -> bool:
        """Whether another replica that has joined answers for the model."""
        return any(model in each.models for each in self._within_reach().values())

    def versions(self, model: str) -> frozenset[int]:
        """All in which other replicas answer for the model."""
        found = (each.models.get(model, ()) for each in self._within_reach().values())
        return frozenset(version for versions in found for version in versions)

    def free_bytes(self) -> dict[str, int]:
        """Of each replica that has joined."""
        return {name: each.free_bytes for name, each in self._within_reach().items()}

    async def ensure(self, name: str, model: str, *, timeout_s: float) -> Heat:
        """Return when the replica answers for the model. Raises as `Peer.ensure`."""
        return await self._peers[name].ensure(model, timeout_s=timeout_s)

    def _within_reach(self) -> dict[str, Announcement]:
        return {
            name: each
            for name, each in self._announced.items()
            if each.joined and self._missed[name] < SILENT_AFTER
        }

    async def _follow(self, name: str) -> None:
        ask = partial(self._ask, name)
        await endlessly(f"replica {name}", ask, self._board, every_s=ASK_EVERY_S)

    async def _ask(self, name: str) -> None:
        try:
            found = await self._peers[name].look(revision(self._routed(name)))
        except PeerLost as error:
            self._missed[name] += 1
            if await self._is_gone(name):
                await self._change(name, None, str(error))
        except Exception:
            self._missed[name] += 1
            raise
        else:
            self._missed[name] = 0
            if found != self._announced.get(name) or name in self._not_asked:
                await self._change(name, found, "its sidecar says so")

    async def _is_gone(self, name: str) -> bool:
        """A sidecar may be restarted while its Triton serves.

        A Triton that was restarted has none of its models, so one of them tells.
        """
        announced = self._announced.get(name)
        if announced is None or not announced.models:
            return self._missed[name] >= SILENT_AFTER
        if self._missed[name] >= GONE_AFTER:
            return True
        return not await self._peers[name].serves(min(announced.models))

    async def _change(self, name: str, found: Announcement | None, reason: str) -> None:
        before = self._announced.pop(name, None)
        if before is None and found is None and name not in self._not_asked:
            return
        if found is not None:
            self._announced[name] = found
        self._not_asked.discard(name)
        if not self._not_asked:
            self._router.see(
                tuple(
                    replace(
                        self._addresses[each],
                        models=frozenset(announced.models),
                        stateful=announced.stateful,
                        joined=announced.joined,
                    )
                    for each, announced in sorted(self._announced.items())
                )
            )
        was_there, is_there = _is_in(before), _is_in(found)
        if was_there is not is_there:
            event = EventName.REPLICA_JOINED if is_there else EventName.REPLICA_LEFT
            detail = {"replica": name, "reason": reason}
            await self._telemetry.record(Event(name=event, detail=detail))

    def _routed(self, name: str) -> frozenset[str]:
        replicas = self._router.applied.replicas if self._router.applied else ()
        return next((each.models for each in replicas if each.name == name), frozenset())


def _is_in(found: Announcement | None) -> bool:
    return found is not None and found.joined
