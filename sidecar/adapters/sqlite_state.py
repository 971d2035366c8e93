"""Recorded objects and the audit in one SQLite file."""

import asyncio
import json
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import to_json

from sidecar.adapters.exclusive import Exclusive
from sidecar.adapters.room import try_room
from sidecar.core.events import Event, EventName
from sidecar.errors import StateConflict, StateUnavailable
from sidecar.ports import EVERYTHING, Entry, Filter, Stored, folder_of

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
# What a file of schema 1 may lack; older sidecars can go on with it.
_ADDITIONS = """
CREATE INDEX IF NOT EXISTS audit_model ON audit (model) WHERE model IS NOT NULL;
CREATE INDEX IF NOT EXISTS audit_actor ON audit (json_extract(detail, '$.actor'))
    WHERE json_extract(detail, '$.actor') IS NOT NULL;
CREATE TRIGGER IF NOT EXISTS audit_unchanged BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER IF NOT EXISTS audit_kept BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit is append-only'); END;
"""
_OBJECT = "SELECT key, value, revision FROM objects"
_ENTRY = "SELECT id, at_s, event, model, server, seconds, detail FROM audit"
_CONDITIONS = {
    "model": "model = ?",
    "actor": "json_extract(detail, '$.actor') = ?",
    "name": "event = ?",
    "since_s": "at_s >= ?",
    "until_s": "at_s < ?",
}


class SqliteState:
    """A `ports.StateStore` and a `ports.Journal`, for one machine.

    Every write is on the disk when the call returns (WAL with full synchronisation). The
    audit is never pruned; an entry takes about 200 bytes, or 75 MB in a year of 1000 a day.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._exclusive = Exclusive()
        self._changed = asyncio.Condition()
        self._revision = 0
        self._changes: Counter[str] = Counter()
        self.problem: str | None = None
        self._connection = self._guarded(self._open)

    async def close(self) -> None:
        await self._exclusive.run(self._connection.close)

    async def get(self, key: str) -> Stored | None:
        rows = await self._query(f"{_OBJECT} WHERE key = ?", key)
        return _stored(rows[0]) if rows else None

    async def scan(self, prefix: str) -> Sequence[Stored]:
        if not prefix:
            return [_stored(row) for row in await self._query(f"{_OBJECT} ORDER BY key")]
        beyond = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        sql = f"{_OBJECT} WHERE key >= ? AND key < ? ORDER BY key"
        return [_stored(row) for row in await self._query(sql, prefix, beyond)]

    async def changes(self, folder: str) -> int:
        return self._changes[folder]

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

        stored = await self._write(write, key)
        await self._announce(stored.revision)
        return stored

    async def delete(self, key: str, *, expect: int) -> None:
        def write(connection: sqlite3.Connection) -> int:
            sql = "DELETE FROM objects WHERE key = ? AND revision = ?"
            _expect_one(connection.execute(sql, (key, expect)), key, expect)
            return _next_revision(connection)

        await self._announce(await self._write(write, key))

    async def touch(self) -> None:
        def write(connection: sqlite3.Connection) -> None:
            # The log has room of its own, which is taken again after each checkpoint.
            try_room(self._path.parent)
            _next_revision(connection)

        await self._write(write)

    async def watch(self) -> AsyncIterator[int]:
        seen = self._revision
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._revision > seen)  # noqa: B023  (awaited here)
                seen = self._revision
            yield seen

    async def append(self, event: Event, at_s: float) -> int:
        def write(connection: sqlite3.Connection) -> int:
            row = connection.execute(
                "INSERT INTO audit (at_s, event, model, server, seconds, detail) "
                "VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
                (
                    at_s,
                    event.name.value,
                    event.model,
                    event.server,
                    event.seconds,
                    # SQLite cannot look into what holds JSON's figures without end.
                    to_json(event.detail, inf_nan_mode="strings").decode(),
                ),
            ).fetchone()
            return int(row[0])

        return await self._write(write)

    async def read(
        self, *, after: int, limit: int, matching: Filter = EVERYTHING
    ) -> Sequence[Entry]:
        given = {
            condition: value
            for name, condition in _CONDITIONS.items()
            if (value := getattr(matching, name)) is not None
        }
        where = " AND ".join(["id > ?", *given])
        sql = f"{_ENTRY} WHERE {where} ORDER BY id LIMIT ?"
        rows = await self._query(sql, after, *given.values(), limit)
        return [_entry(row) for row in rows]

    async def newest_id(self) -> int:
        (row,) = await self._query("SELECT coalesce(max(id), 0) FROM audit")
        return int(row[0])

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
        connection.executescript(_ADDITIONS)
        (self._revision,) = connection.execute("SELECT revision FROM counter").fetchone()
        return connection

    async def _query(self, sql: str, *arguments: str | float) -> list[Any]:
        def read() -> list[Any]:
            with closing(self._connection.execute(sql, arguments)) as rows:
                return rows.fetchall()

        return await self._exclusive.run(lambda: self._guarded(read))

    async def _write(self, change: Callable[[sqlite3.Connection], T], key: str = "") -> T:
        def transaction() -> T:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                result = change(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            # Here, where no cancellation of the caller can come in between.
            self._changes[folder_of(key)] += 1
            return result

        try:
            done = await self._exclusive.run(lambda: self._guarded(transaction))
        except StateUnavailable as error:
            self.problem = str(error)
            raise
        self.problem = None
        return done

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


def _stored(row: tuple[str, str, int]) -> Stored:
    key, value, revision = row
    return Stored(key=key, value=value, revision=revision)


def _entry(row: tuple[int, float, str, str | None, str | None, float | None, str]) -> Entry:
    entry_id, at_s, name, model, server, seconds, detail = row
    event = Event(
        name=EventName(name),
        model=model,
        server=server,
        seconds=seconds,
        detail=json.loads(detail),
    )
    return Entry(id=entry_id, at_s=at_s, event=event)


def _next_revision(connection: sqlite3.Connection) -> int:
    sql = "UPDATE counter SET revision = revision + 1 RETURNING revision"
    (revision,) = connection.execute(sql).fetchone()
    return int(revision)


def _expect_one(done: sqlite3.Cursor, key: str, expect: int | None) -> None:
    if done.rowcount != 1:
        wanted = "absent" if expect is None else f"at revision {expect}"
        raise StateConflict(f"{key} is not {wanted} any more")
