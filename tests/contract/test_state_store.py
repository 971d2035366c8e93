"""What a `ports.StateStore` and a `ports.Journal` do.

One suite for SQLite and for the fake; then SQLite alone.
"""

import asyncio
import multiprocessing
import os
import resource
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from multiprocessing.queues import SimpleQueue
from pathlib import Path

import pytest

from sidecar.adapters.sqlite_state import SqliteState
from sidecar.core.events import Event, EventName
from sidecar.errors import StateConflict, StateUnavailable
from sidecar.ports import EVERYTHING, Entry, Filter, Journal, StateStore, Stored
from tests.fakes.state import FakeState

DEADLINE_S = 30.0
PROCESSES = multiprocessing.get_context("spawn")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "pilotlight.db"


@pytest.fixture(params=["fake", "sqlite"])
async def store(request: pytest.FixtureRequest, path: Path) -> AsyncIterator[StateStore]:
    if request.param == "fake":
        yield FakeState()
    else:
        sqlite = SqliteState(path)
        yield sqlite
        await sqlite.close()


@pytest.fixture
def journal(store: FakeState | SqliteState) -> Journal:
    return store


@pytest.fixture
async def sqlite(path: Path) -> AsyncIterator[SqliteState]:
    opened = SqliteState(path)
    yield opened
    await opened.close()


async def test_an_absent_object_is_none(store: StateStore) -> None:
    assert await store.get("release/m") is None
    assert await store.scan("") == []


async def test_an_object_is_made_only_where_there_is_none(store: StateStore) -> None:
    made = await store.put("release/m", "one", expect=None)

    with pytest.raises(StateConflict, match="release/m"):
        await store.put("release/m", "two", expect=None)

    assert await store.get("release/m") == made
    assert made == Stored(key="release/m", value="one", revision=made.revision)


async def test_an_object_is_changed_only_at_the_revision_that_was_read(store: StateStore) -> None:
    first = await store.put("release/m", "one", expect=None)
    second = await store.put("release/m", "two", expect=first.revision)

    with pytest.raises(StateConflict, match="release/m"):
        await store.put("release/m", "three", expect=first.revision)
    with pytest.raises(StateConflict, match="release/n"):
        await store.put("release/n", "four", expect=first.revision)

    assert await store.scan("release/") == [second]


async def test_an_object_is_deleted_only_at_the_revision_that_was_read(store: StateStore) -> None:
    first = await store.put("release/m", "one", expect=None)
    second = await store.put("release/m", "two", expect=first.revision)

    with pytest.raises(StateConflict, match="release/m"):
        await store.delete("release/m", expect=first.revision)
    assert await store.get("release/m") == second

    await store.delete("release/m", expect=second.revision)
    assert await store.get("release/m") is None
    with pytest.raises(StateConflict, match="release/m"):
        await store.delete("release/m", expect=second.revision)


async def test_revisions_only_grow_even_over_deletes(store: StateStore) -> None:
    first = await store.put("a", "1", expect=None)
    other = await store.put("b", "1", expect=None)
    await store.delete("a", expect=first.revision)
    again = await store.put("a", "1", expect=None)

    assert first.revision < other.revision < again.revision


async def test_a_scan_finds_what_begins_with_the_prefix_by_key(store: StateStore) -> None:
    """`%` and `_` are letters like any other; so is the case."""
    for key in ("m/b", "m/a", "m%/a", "m_x/a", "mxx/a", "M/a", "m", "n/m/a"):
        await store.put(key, "v", expect=None)

    async def found(prefix: str) -> list[str]:
        return [stored.key for stored in await store.scan(prefix)]

    assert await found("m/") == ["m/a", "m/b"]
    assert await found("m%") == ["m%/a"]
    assert await found("m_") == ["m_x/a"]
    assert await found("") == ["M/a", "m", "m%/a", "m/a", "m/b", "m_x/a", "mxx/a", "n/m/a"]


async def test_changes_of_a_folder_are_told_by_its_count_and_no_others(store: StateStore) -> None:
    async def counts() -> tuple[int, int]:
        return await store.changes("release/"), await store.changes("kept/")

    seen = [await counts()]
    made = await store.put("release/m", "one", expect=None)
    seen.append(await counts())
    with pytest.raises(StateConflict):
        await store.put("release/m", "two", expect=None)
    seen.append(await counts())
    await store.delete("release/m", expect=made.revision)
    seen.append(await counts())

    assert seen == [(0, 0), (1, 0), (1, 0), (2, 0)]


async def test_values_come_back_as_they_went_in(store: StateStore) -> None:
    for key, value in {"empty": "", "text": 'ä€ "quoted"\n\0', "large": "x" * 1_000_000}.items():
        await store.put(key, value, expect=None)
        found = await store.get(key)
        assert found is not None
        assert found.value == value


async def test_of_writers_at_once_exactly_one_wins(store: StateStore) -> None:
    writes = [store.put("release/m", str(number), expect=None) for number in range(10)]

    results = await asyncio.gather(*writes, return_exceptions=True)

    won = [result for result in results if isinstance(result, Stored)]
    assert won == [await store.get("release/m")]
    assert sum(isinstance(result, StateConflict) for result in results) == 9


async def test_a_watcher_wakes_for_puts_and_deletes(store: StateStore) -> None:
    seen: asyncio.Queue[int] = asyncio.Queue()

    async def watch() -> None:
        async for revision in store.watch():
            seen.put_nowait(revision)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0)
    made = await store.put("m", "1", expect=None)
    assert await asyncio.wait_for(seen.get(), DEADLINE_S) == made.revision
    await store.delete("m", expect=made.revision)
    assert await asyncio.wait_for(seen.get(), DEADLINE_S) > made.revision
    watching.cancel()


async def test_a_refused_write_wakes_nobody(store: StateStore) -> None:
    await store.put("m", "1", expect=None)
    watcher = store.watch()
    waiting = asyncio.ensure_future(anext(watcher))
    await asyncio.sleep(0)

    with pytest.raises(StateConflict):
        await store.put("m", "2", expect=None)
    assert not waiting.done()

    later = await store.put("n", "1", expect=None)
    assert await asyncio.wait_for(waiting, DEADLINE_S) == later.revision


async def test_everything_survives_a_restart(path: Path) -> None:
    first = SqliteState(path)
    kept = await first.put("serving/m", "1", expect=None)
    gone = await first.put("desired/m", "1", expect=None)
    await first.delete("desired/m", expect=gone.revision)
    await first.close()

    second = SqliteState(path)
    assert await second.scan("") == [kept]
    assert (await second.put("n", "1", expect=None)).revision > gone.revision
    await second.close()


async def test_a_write_is_kept_although_the_process_is_killed(path: Path) -> None:
    """No close, no checkpoint: what `put` returned is on the disk."""
    child = PROCESSES.Process(target=write_and_die, args=(path,))
    child.start()
    await asyncio.to_thread(child.join, DEADLINE_S)
    assert child.exitcode == -signal.SIGKILL

    reopened = SqliteState(path)
    found = await reopened.get("serving/m")
    assert found is not None
    assert found.value == "7"
    await reopened.close()


async def test_a_cancelled_write_is_whole_or_absent_and_the_next_one_works(
    sqlite: SqliteState,
) -> None:
    """A sidecar that stops cancels its loop in the middle of a write, then writes once more."""
    for number in range(30):
        writing = asyncio.create_task(sqlite.put(f"key/{number}", "v", expect=None))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        writing.cancel()
        await sqlite.append(Event(name=EventName.SIDECAR_STOPPED), at_s=1.0)
        await asyncio.gather(writing, return_exceptions=True)

    revisions = [stored.revision for stored in await sqlite.scan("key/")]
    assert len(set(revisions)) == len(revisions)
    assert await sqlite.put("last", "v", expect=None)


def at(number: int, **parts: str) -> Event:
    """One of many events; `actor` is said in the detail."""
    detail: dict[str, str | int] = {"number": number}
    if "actor" in parts:
        detail["actor"] = parts["actor"]
    name = EventName(parts.get("name", "model_loaded"))
    return Event(name=name, model=parts.get("model"), detail=detail)


async def test_an_entry_comes_back_as_it_was_appended(journal: Journal) -> None:
    whole = Event(
        name=EventName.MODEL_LOADED,
        model="m",
        server="serving",
        seconds=1.5,
        detail={"version": 2, "share": 0.5, "reason": 'ä "quoted"'},
    )
    bare = Event(name=EventName.SIDECAR_STOPPED)
    assert await journal.newest_id() == 0
    assert await journal.read(after=0, limit=10) == []

    ids = [await journal.append(whole, 10.0), await journal.append(bare, 11.5)]

    assert ids == sorted(set(ids))
    assert await journal.newest_id() == ids[-1]
    assert await journal.read(after=0, limit=10) == [
        Entry(id=ids[0], at_s=10.0, event=whole),
        Entry(id=ids[1], at_s=11.5, event=bare),
    ]


async def test_entries_are_read_in_portions_without_gap_or_repetition(journal: Journal) -> None:
    ids = [await journal.append(at(number), float(number)) for number in range(10)]

    read: list[int] = []
    while portion := await journal.read(after=read[-1] if read else 0, limit=3):
        read += [entry.id for entry in portion]

    assert read == ids


@pytest.mark.parametrize(
    ("matching", "numbers"),
    [
        (EVERYTHING, [0, 1, 2, 3, 4]),
        (Filter(model="m"), [0, 2]),
        (Filter(model="absent"), []),
        (Filter(actor="ann"), [1, 2]),
        (Filter(name="operation_accepted"), [1]),
        (Filter(model="m", actor="ann"), [2]),
        (Filter(since_s=2.0), [2, 3, 4]),
        (Filter(until_s=2.0), [0, 1]),
        (Filter(since_s=1.0, until_s=3.0, actor="ann"), [1, 2]),
        (Filter(model="'; DROP TABLE audit; --"), []),
    ],
)
async def test_entries_are_found_by_all_that_is_asked_for(
    journal: Journal, matching: Filter, numbers: list[int]
) -> None:
    told = [
        at(0, model="m"),
        at(1, model="n", actor="ann", name="operation_accepted"),
        at(2, model="m", actor="ann"),
        at(3, actor="bob"),
        at(4),
    ]
    for number, event in enumerate(told):
        await journal.append(event, float(number))

    found = await journal.read(after=0, limit=10, matching=matching)
    assert [entry.event.detail["number"] for entry in found] == numbers
    later = await journal.read(after=2, limit=10, matching=matching)
    assert [entry.event.detail["number"] for entry in later] == [n for n in numbers if n >= 2]
    first = await journal.read(after=0, limit=1, matching=matching)
    assert [entry.event.detail["number"] for entry in first] == numbers[:1]


async def test_a_figure_without_end_is_kept_as_a_word(sqlite: SqliteState) -> None:
    detail = {"actor": "ann", "error": float("inf"), "ratio": float("nan")}
    await sqlite.append(Event(name=EventName.MODEL_LOADED, detail=detail), 1.0)

    (entry,) = await sqlite.read(after=0, limit=10, matching=Filter(actor="ann"))

    assert entry.event.detail == {"actor": "ann", "error": "Infinity", "ratio": "NaN"}


async def test_no_id_of_the_audit_is_used_twice(path: Path) -> None:
    first = SqliteState(path)
    ids = [await first.append(at(number), 1.0) for number in range(3)]
    await first.close()

    second = SqliteState(path)
    assert await second.append(at(3), 1.0) > max(ids)
    await second.close()


@pytest.mark.parametrize("change", ["UPDATE audit SET model = 'n'", "DELETE FROM audit"])
async def test_nobody_changes_the_audit_afterwards(
    sqlite: SqliteState, path: Path, change: str
) -> None:
    await sqlite.append(at(0, model="m"), 1.0)

    with (
        closing(sqlite3.connect(path)) as forger,
        pytest.raises(sqlite3.IntegrityError, match="the audit is append-only"),
    ):
        forger.execute(change)

    (entry,) = await sqlite.read(after=0, limit=10)
    assert entry.event.model == "m"


async def test_a_file_from_before_the_guards_gets_them(path: Path) -> None:
    first = SqliteState(path)
    await first.append(at(0, model="m"), 1.0)
    await first.close()
    with closing(sqlite3.connect(path)) as old:
        for added in ("INDEX audit_model", "INDEX audit_actor", "TRIGGER audit_kept"):
            old.execute(f"DROP {added}")

    second = SqliteState(path)
    assert len(await second.read(after=0, limit=10, matching=Filter(model="m"))) == 1
    with (
        closing(sqlite3.connect(path)) as forger,
        pytest.raises(sqlite3.IntegrityError, match="the audit is append-only"),
    ):
        forger.execute("DELETE FROM audit")
    await second.close()


def test_a_damaged_file_is_named_with_the_remedy(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"this is no database at all, and long enough to look at" * 100)

    with pytest.raises(StateUnavailable, match=r"pilotlight\.db: .*can be moved away"):
        SqliteState(path)


async def test_a_file_that_is_damaged_while_open_is_told(sqlite: SqliteState, path: Path) -> None:
    for number in range(200):
        await sqlite.put(f"key/{number}", "x" * 1000, expect=None)
    await sqlite.close()
    reopened = SqliteState(path)
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))

    with pytest.raises(StateUnavailable, match=r"pilotlight\.db"):
        await reopened.scan("key/")
    await reopened.close()


def test_a_file_of_a_newer_sidecar_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("CREATE TABLE objects (another TEXT)")
        newer.execute("PRAGMA user_version = 2")

    with pytest.raises(StateUnavailable, match="schema is version 2, this sidecar writes 1"):
        SqliteState(path)

    with closing(sqlite3.connect(path)) as newer:
        assert newer.execute("PRAGMA user_version").fetchone() == (2,)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file stands here")

    with pytest.raises(StateUnavailable, match=r"pilotlight\.db"):
        SqliteState(tmp_path / "state" / "pilotlight.db")


async def test_a_full_disk_is_told_and_what_was_written_can_still_be_read(path: Path) -> None:
    """The limit on file sizes stops writes as a full disk does, in a process of its own."""
    answers = PROCESSES.SimpleQueue()
    child = PROCESSES.Process(target=fill_the_disk, args=(path, answers))
    child.start()
    await asyncio.to_thread(child.join, DEADLINE_S)
    assert child.exitcode == 0

    assert answers.get() == {
        "refused": f"state file {path}: ",
        "old": "kept",
        "after": "kept",
        "new": None,
        "with room again": "written",
    }


def write_and_die(path: Path) -> None:
    async def write() -> None:
        await SqliteState(path).put("serving/m", "7", expect=None)
        os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(write())


def fill_the_disk(path: Path, answers: "SimpleQueue[dict[str, str | None]]") -> None:
    answers.put(asyncio.run(written_to_a_full_disk(path)))


async def written_to_a_full_disk(path: Path) -> dict[str, str | None]:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    store = SqliteState(path)
    old = await store.put("old", "kept", expect=None)
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, most))
    try:
        await store.put("new", "x" * 1_000_000, expect=None)
    except StateUnavailable as error:
        refused = str(error)[: len(f"state file {path}: ")]
    else:
        refused = "it was not refused"
    found = await store.get("old")
    new = await store.get("new")
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    again = await store.put("old", "written", expect=old.revision)
    after = found.value if found else None
    return {
        "refused": refused,
        "old": old.value,
        "after": after,
        "new": new and new.value,
        "with room again": again.value,
    }
