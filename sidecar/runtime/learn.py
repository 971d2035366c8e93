"""What a load took, seen while it happens and recorded afterwards."""

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sidecar.core.actions import Ensure
from sidecar.core.events import Event, EventDetail, EventName
from sidecar.core.fleet import Server
from sidecar.core.learned import learn
from sidecar.core.memory import CPU, Device, Reading
from sidecar.core.steady import Curve
from sidecar.errors import MeterFailed, Refused, StateUnavailable
from sidecar.runtime.world import World

CACHED_SHARE = 0.9
"""Of a version's bytes that lie in the page cache, from which it counts as cached."""

LEAST_LEAK_BYTES = 16 * 2**20
"""Less is noise: pages come and go in any server."""


@dataclass(slots=True, kw_only=True)
class Took:
    """Figures of one load, filled in step by step; `versions` are those that it brings."""

    versions: frozenset[int]
    read_s: float | None = None
    load_s: float | None = None
    warm_up_s: float = 0.0
    verify_s: float = 0.0
    curves: tuple[Curve, ...] = field(default=())

    @property
    def phases(self) -> dict[str, float]:
        """Seconds of each part that there was, by name."""
        known = {
            "read_s": self.read_s,
            "load_s": self.load_s,
            "warm_up_s": self.warm_up_s,
            "verify_s": self.verify_s,
        }
        return {name: round(seconds, 4) for name, seconds in known.items() if seconds is not None}


class Learner:
    def __init__(self, world: World) -> None:
        self._world = world

    async def read_ahead(self, model: str, versions: frozenset[int]) -> float | None:
        """Bring files into the page cache: seconds that it took, None when they were there."""
        began_s, was_cached = time.monotonic(), True
        for version in sorted(versions):
            was_cached = await self.is_cached(model, version) and was_cached
            await self._world.page_cache.read_ahead(model, version)
        self._world.board.cached.add(model)
        return None if was_cached else time.monotonic() - began_s

    async def is_cached(self, model: str, version: int) -> bool:
        models, _ = await self._world.store.known()
        disk_bytes = models[model].versions[version].manifest.cost.disk_bytes
        resident = await self._world.page_cache.resident_bytes(model, version)
        return resident >= CACHED_SHARE * disk_bytes

    @asynccontextmanager
    async def watch(self, action: Ensure, *, new: frozenset[int]) -> AsyncIterator[Took]:
        """Learn from the load in the body, if it ends well and the model has one version."""
        took = Took(versions=new)
        before = await self._readings()
        try:
            yield took
        except Refused:
            is_here = action.server is Server.SERVING or self._world.is_shadowed
            if is_here and took.load_s is None:
                await self._count_leak(action.model, before)
            raise
        model, versions = action.model, action.placement.versions
        is_plain = new == set(versions) and len(versions) == 1
        if action.server is not Server.SERVING or took.load_s is None or not is_plain:
            return
        (version,) = versions
        after = await self._readings()
        board = self._world.board
        learned = learn(
            board.learned.get((model, version)),
            read_s=took.read_s,
            load_s=took.load_s,
            warm_up_s=took.warm_up_s,
            held_bytes=self._held_bytes(model, before, after),
            curves=took.curves,
        )
        board.learned[model, version] = learned
        # A full disk costs the next sidecar a figure; the load has succeeded all the same.
        with suppress(StateUnavailable):
            await self._world.records.set_learned(model, version, learned)
        for curve in took.curves:
            if not curve.steady:
                detail: dict[str, EventDetail] = {
                    "shape": curve.shape,
                    "runs": curve.runs,
                    "version": version,
                }
                event = Event(name=EventName.NEVER_STEADY, model=model, detail=detail)
                await self._world.telemetry.record(event)

    async def _count_leak(self, model: str, before: Mapping[Device, Reading]) -> None:
        """What a failed load has not given back, if nothing else went on meanwhile."""
        after = await self._readings()
        is_shadowed = self._world.is_shadowed
        if sum(at is Server.SERVING or is_shadowed for at, _ in self._world.board.busy) > 1:
            return
        leaked = sum(
            _own_bytes(after[device]) - _own_bytes(before[device])
            for device in after.keys() & before.keys()
        )
        if leaked < LEAST_LEAK_BYTES:
            return
        board = self._world.board
        board.leaked_bytes += leaked
        detail: dict[str, EventDetail] = {"bytes": leaked, "in_all": board.leaked_bytes}
        event = Event(name=EventName.MEMORY_LEAKED, model=model, detail=detail)
        await self._world.telemetry.record(event)

    def _held_bytes(
        self, model: str, before: Mapping[Device, Reading], after: Mapping[Device, Reading]
    ) -> dict[Device, int]:
        """What the model's own processes hold, and what it added to each GPU if it was alone."""
        held = {}
        ready = self._world.board.busy
        for device, reading in after.items():
            if model in reading.by_model:
                held[device] = reading.by_model[model]
            elif device != CPU and device in before and len(ready) == 1:
                grown = reading.used_bytes - before[device].used_bytes
                if grown > 0:
                    held[device] = grown
        return held

    async def _readings(self) -> Mapping[Device, Reading]:
        try:
            return await self._world.meter.read()
        except MeterFailed:
            return {}


def _own_bytes(reading: Reading) -> int:
    """Of the server where that is told, of the whole device where it is not."""
    return reading.used_bytes if reading.server_bytes is None else reading.server_bytes
