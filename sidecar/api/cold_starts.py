"""Each model's cold starts, read from the audit as it grows."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from sidecar.core.cold_starts import COUNTED_S, ColdStarts, with_event
from sidecar.core.events import EventName
from sidecar.errors import StateUnavailable
from sidecar.ports import Entry, Filter, Journal

BATCH = 1_000
_TOLD_BY = (EventName.MODEL_KEPT, EventName.MODEL_LOADED)


class AuditedColdStarts:
    """Reads each entry once; those of before the last day never."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._read_to = 0
        self._by_model: dict[str, ColdStarts] = {}
        self._reading = asyncio.Lock()

    async def by_model(self, now_s: float) -> Mapping[str, ColdStarts]:
        """What was known before, while the audit cannot be read."""
        with suppress(StateUnavailable):
            async with self._reading:
                newest = await self._journal.newest_id()
                if newest != self._read_to:
                    await self._read(newest, now_s)
        return self._by_model

    async def _read(self, newest: int, now_s: float) -> None:
        found = [
            entry
            for name in _TOLD_BY
            for entry in await self._entries(name, newest, since_s=now_s - COUNTED_S)
        ]
        for entry in sorted(found, key=lambda entry: entry.id):
            model = entry.event.model or ""
            known = with_event(self._by_model.get(model), entry.event, entry.at_s)
            if known is not None:
                self._by_model[model] = known
        self._read_to = newest

    async def _entries(self, name: EventName, newest: int, *, since_s: float) -> list[Entry]:
        """Those behind what was read, up to `newest`: more may be appended meanwhile."""
        matching = Filter(name=name.value, since_s=since_s)
        found: list[Entry] = []
        after = self._read_to
        while True:
            batch = await self._journal.read(after=after, limit=BATCH, matching=matching)
            found += [entry for entry in batch if entry.id <= newest]
            if len(batch) < BATCH or batch[-1].id >= newest:
                return found
            after = batch[-1].id
