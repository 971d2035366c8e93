"""A `ports.StateStore` and a `ports.Journal` in memory: what survives a crash in simulations."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from sidecar.core.events import Event
from sidecar.errors import StateConflict, StateUnavailable
from sidecar.ports import EVERYTHING, Entry, Filter, Stored, folder_of


class FakeState:
    """`problem`, while set, is why it cannot be read or written; `on_put` sees every write."""

    def __init__(self) -> None:
        self.objects: dict[str, Stored] = {}
        self.entries: list[Entry] = []
        self.problem: str | None = None
        self.on_put: list[Callable[[Stored], None]] = []
        self._revision = 0
        self._changes: Counter[str] = Counter()
        self._changed = asyncio.Condition()

    @property
    def events(self) -> list[Event]:
        return [entry.event for entry in self.entries]

    async def get(self, key: str) -> Stored | None:
        self._must_work()
        return self.objects.get(key)

    async def scan(self, prefix: str) -> Sequence[Stored]:
        self._must_work()
        return [self.objects[key] for key in sorted(self.objects) if key.startswith(prefix)]

    async def changes(self, folder: str) -> int:
        self._must_work()
        return self._changes[folder]

    async def put(self, key: str, value: str, *, expect: int | None) -> Stored:
        self._must_be(key, expect)
        stored = Stored(key=key, value=value, revision=self._revision + 1)
        self.objects[key] = stored
        for told in self.on_put:
            told(stored)
        await self._announce(key)
        return stored

    async def delete(self, key: str, *, expect: int) -> None:
        self._must_be(key, expect)
        del self.objects[key]
        await self._announce(key)

    async def touch(self) -> None:
        self._must_work()

    async def watch(self) -> AsyncIterator[int]:
        seen = self._revision
        while True:
            async with self._changed:
                while self._revision <= seen:
                    await self._changed.wait()
                seen = self._revision
            yield seen

    async def append(self, event: Event, at_s: float) -> int:
        self._must_work()
        self.entries.append(Entry(id=len(self.entries) + 1, at_s=at_s, event=event))
        return len(self.entries)

    async def read(
        self, *, after: int, limit: int, matching: Filter = EVERYTHING
    ) -> Sequence[Entry]:
        self._must_work()
        return [entry for entry in self.entries[after:] if _matches(entry, matching)][:limit]

    async def newest_id(self) -> int:
        self._must_work()
        return len(self.entries)

    def _must_work(self) -> None:
        if self.problem is not None:
            raise StateUnavailable(self.problem)

    def _must_be(self, key: str, expect: int | None) -> None:
        self._must_work()
        found = self.objects.get(key)
        if (found and found.revision) != expect:
            raise StateConflict(f"{key} is not at revision {expect} any more")

    async def _announce(self, key: str) -> None:
        self._revision += 1
        self._changes[folder_of(key)] += 1
        async with self._changed:
            self._changed.notify_all()


def _matches(entry: Entry, matching: Filter) -> bool:
    event = entry.event
    return (
        matching.model in (None, event.model)
        and matching.actor in (None, event.detail.get("actor"))
        and matching.name in (None, event.name)
        and (matching.since_s is None or matching.since_s <= entry.at_s)
        and (matching.until_s is None or entry.at_s < matching.until_s)
    )
