"""What a `ports.PageCache` does: of real files, and the fake."""

import asyncio
import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import pytest

from contract.errors import InvalidArtifact
from contract.layout import ONNX_DATA, Store
from contract.manifest import read_manifest, record_files
from sidecar.adapters.page_cache import CHUNK_BYTES, FilePageCache
from sidecar.ports import PageCache
from tests.builders import manifest, publish
from tests.eventually import eventually
from tests.fakes.page_cache import FakePageCache

MIB = 2**20
WEIGHTS_BYTES = 8 * MIB
# Temporary folders are often in memory, where nothing can be dropped from the cache.
_ON_DISK = Path(__file__).parents[2] / ".pilotlight"


@dataclass(frozen=True, slots=True)
class Subject:
    """Two versions of a model; `drop` takes one out of the cache, `damage` a file out of one."""

    cache: PageCache
    bytes: int
    drop: Callable[[int], None]
    damage: Callable[[int], None]

    async def is_gone(self, version: int) -> bool:
        self.drop(version)
        return await self.cache.resident_bytes("m", version) == 0


@pytest.fixture
def store() -> Iterator[Store]:
    _ON_DISK.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_ON_DISK) as folder:
        store = Store(Path(folder))
        for version in (1, 2):
            publish(store, "m", version)
            (store.version("m", version).path / ONNX_DATA).write_bytes(os.urandom(WEIGHTS_BYTES))
            describe(store, version)
        yield store


def describe(store: Store, version: int) -> None:
    """Write the manifest anew, for the files that are there."""
    folder = store.version("m", version)
    written = manifest("m", version, files=record_files(folder.path))
    folder.manifest.write_text(written.model_dump_json())


@pytest.fixture(params=["fake", "real"])
def subject(request: pytest.FixtureRequest, store: Store) -> Subject:
    files = read_manifest(store.version("m", 1).manifest).files
    total = sum(record.bytes for record in files.values())
    if request.param == "fake":
        fake = FakePageCache(bytes_of=lambda *_: total)
        return Subject(
            fake,
            total,
            drop=lambda version: fake.drop("m", version),
            damage=lambda version: fake.damaged.add(("m", version)),
        )

    def drop(version: int) -> None:
        for path in store.version("m", version).path.rglob("*"):
            if path.is_file():
                drop_file(path)

    def damage(version: int) -> None:
        (store.version("m", version).path / ONNX_DATA).unlink()

    return Subject(FilePageCache(store), total, drop, damage)


def drop_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


async def test_a_version_that_was_read_ahead_is_in_memory_until_it_is_dropped(
    subject: Subject,
) -> None:
    for version in (1, 2):
        await eventually(lambda version=version: subject.is_gone(version), "dropped")

    assert await subject.cache.read_ahead("m", 1) == subject.bytes
    assert await subject.cache.resident_bytes("m", 1) == subject.bytes
    assert await subject.cache.resident_bytes("m", 2) == 0

    await eventually(lambda: subject.is_gone(1), "dropped")


async def test_reading_ahead_twice_is_as_good_as_once(subject: Subject) -> None:
    for _ in range(2):
        assert await subject.cache.read_ahead("m", 1) == subject.bytes
    assert await subject.cache.resident_bytes("m", 1) == subject.bytes


async def test_a_version_that_lacks_a_file_is_an_error_and_the_others_are_not(
    subject: Subject,
) -> None:
    await subject.cache.read_ahead("m", 1)
    subject.damage(1)

    for ask in (subject.cache.read_ahead, subject.cache.resident_bytes):
        with pytest.raises(InvalidArtifact, match="a file of m version 1 cannot be read"):
            await ask("m", 1)
    assert await subject.cache.read_ahead("m", 2) == subject.bytes


async def test_a_part_of_a_version_can_be_in_memory(store: Store) -> None:
    cache, weights = FilePageCache(store), store.version("m", 1).path / ONNX_DATA
    total = await cache.read_ahead("m", 1)

    async def only_the_weights_are_gone() -> bool:
        drop_file(weights)
        return await cache.resident_bytes("m", 1) == total - WEIGHTS_BYTES

    await eventually(only_the_weights_are_gone, "dropped")


async def test_an_empty_file_counts_nothing(store: Store) -> None:
    folder = store.version("m", 1)
    (folder.path / ONNX_DATA).write_bytes(b"")
    describe(store, 1)
    cache = FilePageCache(store)

    assert await cache.read_ahead("m", 1) == await cache.resident_bytes("m", 1) < MIB


async def test_a_missing_version_or_file_is_named_with_the_remedy(store: Store) -> None:
    cache = FilePageCache(store)
    (store.version("m", 1).path / ONNX_DATA).unlink()

    for version, expected in ((1, r"m version 1 .*model\.onnx\.data"), (7, "m/7/manifest.json")):
        for ask in (cache.read_ahead, cache.resident_bytes):
            with pytest.raises(InvalidArtifact, match=f"{expected}.*make repo"):
                await ask("m", version)


async def test_whoever_is_cancelled_stops_the_reading_that_never_held_the_loop(
    store: Store,
) -> None:
    """The file is a pipe that has no writer at first and never ends."""
    weights = store.version("m", 1).path / ONNX_DATA
    weights.unlink()
    os.mkfifo(weights)
    reading = asyncio.create_task(FilePageCache(store).read_ahead("m", 1))
    writer = await asyncio.to_thread(weights.open, "wb", buffering=0)

    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    with contextlib.closing(writer), pytest.raises(BrokenPipeError):
        await asyncio.to_thread(write_chunks, writer, 100)


def write_chunks(pipe: RawIOBase, count: int) -> None:
    for _ in range(count):
        pipe.write(bytes(CHUNK_BYTES))


async def test_a_fake_cache_drops_what_was_read_longest_ago() -> None:
    cache = FakePageCache(bytes_of=lambda model, version: version * MIB, limit_bytes=3 * MIB)
    for model, version in (("a", 1), ("b", 1), ("c", 1), ("a", 1), ("d", 1)):
        await cache.read_ahead(model, version)
    assert {model: await cache.resident_bytes(model, 1) for model in "abcd"} == {
        "a": MIB,
        "b": 0,
        "c": MIB,
        "d": MIB,
    }

    assert await cache.read_ahead("huge", 4) == 4 * MIB
    assert await cache.resident_bytes("huge", 4) == 0
