"""Recorded objects and the audit in one SQLite file."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from sidecar.core.events import Event
from sidecar.errors import StateConflict, StateUnavailable
from sidecar.ports import Stored

T = TypeVar("T")

SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE objects (key TEXT PRIMARY KEY, value TEXT NOT NULL, revision INTEGER NOT NULL);
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT, at_s REAL NOT NULL, event TEXT NOT NULL,
    model TEXT, server TEXT, seconds REAL, detail TEXT NOT NULL
);
CREATE TABLE counter (revision INTEGER NOT NULL);
INSERT INTO counter VALUES (0);
"""


class SqliteState:
    """A `ports.StateStore` and a `ports.Journal`, for one machine.

    Every write is on the disk when the call returns (WAL with full synchronisation).
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._revision = 0
        self._connection = self._guarded(self._open)

    async def close(self) -> None:
        async with self._lock:
            self._connection.close()

    async def get(self, key: str) -> Stored | None:
        rows = await self._query("SELECT key, value, revision FROM objects WHERE key = ?", key)
        return rows[0] if rows else None

    async def scan(self, prefix: str) -> Sequence[Stored]:
        return await self._query(
            "SELECT key, value, revision FROM objects WHERE substr(key, 1, ?) = ? ORDER BY key",
            len(prefix),
            prefix,
        )

    async def put(self, key: str, value: str, *, expect: int | None) -> Stored:
        def write(connection: sqlite3.Connection) -> Stored:
            revision = _next_revision(connection)
            if expect is None:
                sql = "INSERT INTO objects VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
                done = connection.execute(sql, (key, value, revision))
            else:
                sql = "UPDATE objects SET value = ?, revision = ? WHERE key = ? AND revision = ?"
                done = connection.execute(sql, (value, revision, key, expect))
            _expect_one(done, key, expect)
            return Stored(key=key, value=value, revision=revision)

        stored = await self._write(write)
        await self._announce(stored.revision)
        return stored

    async def delete(self, key: str, *, expect: int) -> None:
        def write(connection: sqlite3.Connection) -> int:
            sql = "DELETE FROM objects WHERE key = ? AND revision = ?"
            _expect_one(connection.execute(sql, (key, expect)), key, expect)
            return _next_revision(connection)

        await self._announce(await self._write(write))

    async def watch(self) -> AsyncIterator[int]:
        seen = self._revision
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._revision > seen)  # noqa: B023  (awaited here)
                seen = self._revision
            yield seen

    async def append(self, event: Event, at_s: float) -> None:
        def write(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO audit (at_s, event, model, server, seconds, detail) "
                "VALUES (?, ?, ?, ?, ?, ?)",
                (
                    at_s,
                    event.name.value,
                    event.model,
                    event.server,
                    event.seconds,
                    json.dumps(event.detail),
                ),
            )

        await self._write(write)

    def _open(self) -> sqlite3.Connection:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found not in (0, SCHEMA_VERSION):
            raise sqlite3.DatabaseError(
                f"its schema is version {found}, this sidecar writes {SCHEMA_VERSION}"
            )
        if found == 0:
            connection.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
            )
        (self._revision,) = connection.execute("SELECT revision FROM counter").fetchone()
        return connection

    async def _query(self, sql: str, *arguments: str | int) -> list[Stored]:
        def read() -> list[Stored]:
            with closing(self._connection.execute(sql, arguments)) as rows:
                return [Stored(key=key, value=value, revision=rev) for key, value, rev in rows]

        return await self._alone(read)

    async def _write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        def transaction() -> T:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = change(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            return result

        return await self._alone(transaction)

    async def _alone(self, work: Callable[[], T]) -> T:
        """One at a time. A thread cannot be cancelled, so neither is what waits for it."""

        async def run() -> T:
            async with self._lock:
                return await asyncio.to_thread(self._guarded, work)

        return await asyncio.shield(run())

    async def _announce(self, revision: int) -> None:
        async with self._changed:
            self._revision = max(self._revision, revision)
            self._changed.notify_all()

    def _guarded(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (sqlite3.Error, OSError) as error:
            raise StateUnavailable(
                f"state file {self._path}: {error}; free the disk or mend its permissions; a "
                "damaged file can be moved away: models that are loaded are adopted again"
            ) from error


def _next_revision(connection: sqlite3.Connection) -> int:
    sql = "UPDATE counter SET revision = revision + 1 RETURNING revision"
    (revision,) = connection.execute(sql).fetchone()
    return int(revision)


def _expect_one(done: sqlite3.Cursor, key: str, expect: int | None) -> None:
    if done.rowcount != 1:
        wanted = "absent" if expect is None else f"at revision {expect}"
        raise StateConflict(f"{key} is not {wanted} any more")
