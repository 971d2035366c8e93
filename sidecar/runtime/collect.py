"""Demand and memory, looked at as often as they are worth it."""

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from contract.errors import InvalidArtifact
from sidecar.core.demand import arrived
from sidecar.core.events import Event, EventName
from sidecar.core.fleet import Server
from sidecar.errors import GatewayLost, MeterFailed, ServerError, StateUnavailable
from sidecar.runtime.board import Pair
from sidecar.runtime.learn import Learner
from sidecar.runtime.world import World

SAVE_EVERY_S = 60.0
SAVES_AT_ONCE = 50
METER_EVERY_S = 5.0
CACHE_EVERY_S = 15.0
CACHE_LOOKS_AT_ONCE = 200


class Collector:
    """Puts what it collects on the board, and saves demand, so that a restart does not forget."""

    def __init__(self, world: World, learner: Learner) -> None:
        self._world = world
        self._learner = learner
        self._looked_at_s: float | None = None
        self._saved_at_s: dict[str, float] = {}
        self._unsaved: set[str] = set()
        self._metered_at_s = 0.0
        self._metered_after: tuple[frozenset[Pair], float] = frozenset(), 0.0
        self._cache_at_s = 0.0
        self.meter_problem: str | None = None

    async def recall(self) -> None:
        """Take up what was saved before. Raises StateUnavailable."""
        board, records = self._world.board, self._world.records
        board.demand.update(await records.demand())
        board.learned.update(await records.learned())

    async def collect(self, busy: frozenset[Pair]) -> None:
        """Look once. A server or meter that does not answer leaves what was known."""
        await self._count(busy)
        await self._measure(busy)
        await self._look_at_files(busy)

    async def close(self) -> None:
        """Save what is not saved yet."""
        for model in sorted(self._unsaved):
            await self._save(model, time.time())

    async def _count(self, busy: frozenset[Pair]) -> None:
        now_s, board = time.time(), self._world.board
        try:
            counts = await self._world.servers[Server.SERVING].requests_served()
        except ServerError:
            board.watched_since_s = now_s
            return
        if self._looked_at_s is None:
            board.watched_since_s = now_s
        changing = {model for server, model in busy if server is Server.SERVING}
        found = board.arrivals.take(
            board.tally.take(counts, changing),
            await self._asked(),
            is_alone=self._world.router.is_alone,
        )
        # Time is only as good as the clock: one that was set back makes no negative gaps.
        since_s = min(now_s if self._looked_at_s is None else self._looked_at_s, now_s)
        for model, count in found.items():
            board.demand[model] = arrived(
                board.demand.get(model), count=count, since_s=since_s, until_s=now_s
            )
            board.aged[model] = board.last_victim_score
            self._unsaved.add(model)
        self._looked_at_s = now_s
        due = [
            model
            for model in sorted(self._unsaved)
            if now_s - self._saved_at_s.get(model, 0.0) >= SAVE_EVERY_S
        ]
        # A full disk costs the memory of a minute, and nothing else.
        with suppress(StateUnavailable):
            for model in due[:SAVES_AT_ONCE]:
                await self._save(model, now_s)

    async def _asked(self) -> Mapping[str, int] | None:
        """Requests for models of the store that have reached the gateway since its start."""
        board = self._world.board
        try:
            board.traffic = await self._world.router.traffic()
        except GatewayLost:
            return None
        models, _ = await self._world.store.known()
        return {model: seen.requests for model, seen in board.traffic.items() if model in models}

    async def _save(self, model: str, now_s: float) -> None:
        await self._world.records.set_demand(model, self._world.board.demand[model])
        self._saved_at_s[model] = now_s
        self._unsaved.discard(model)

    async def _measure(self, busy: frozenset[Pair]) -> None:
        """Memory changes when models come and go; else it is looked at now and then."""
        now_s, after = time.monotonic(), (busy, self._world.board.unloaded_at_s)
        if after == self._metered_after and now_s < self._metered_at_s + METER_EVERY_S:
            return
        problem = None
        changing = {model for _, model in busy}
        try:
            self._world.board.readings = {
                device: replace(reading, by_model=_without(changing, reading.by_model))
                for device, reading in (await self._world.meter.read()).items()
            }
        except MeterFailed as error:
            problem = str(error)
        self._metered_at_s, self._metered_after = now_s, after
        if problem is not None and problem != self.meter_problem:
            event = Event(name=EventName.METER_FAILED, detail={"reason": problem})
            await self._world.telemetry.record(event)
        self.meter_problem = problem

    async def _look_at_files(self, busy: frozenset[Pair]) -> None:
        """Which models lie in the page cache: of those asked for last, and those found there."""
        now_s = time.monotonic()
        if busy or now_s < self._cache_at_s + CACHE_EVERY_S:
            return
        self._cache_at_s = now_s
        board = self._world.board
        models, _ = await self._world.store.known()
        serving = await self._world.records.serving()
        newest = sorted(board.demand, key=lambda model: -board.demand[model].last_s)
        # A load brings files there too, though nobody may ever have sent a request.
        likely = [each for each in dict.fromkeys((*newest, *board.cached)) if each in models]
        board.cached = {
            model
            for model in likely[:CACHE_LOOKS_AT_ONCE]
            if (version := serving.get(model, models[model].newest)) in models[model].versions
            and await self._is_cached(model, version)
        }

    async def _is_cached(self, model: str, version: int) -> bool:
        """What cannot be read is not there; who loads it is told why."""
        try:
            return await self._learner.is_cached(model, version)
        except InvalidArtifact:
            return False


def _without(changing: set[str], by_model: Mapping[str, int]) -> dict[str, int]:
    """A model that is just being loaded has not taken all of its memory yet."""
    return {model: held for model, held in by_model.items() if model not in changing}
