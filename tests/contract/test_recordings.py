"""What a `ports.Recordings` does.

One suite for the folder and for the fake; then the folder alone.
"""

import asyncio
import stat
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from contract.samples import Tensors
from sidecar.adapters.recordings import RecordingsFolder
from sidecar.core.recording import MOST_BYTES, Recorded
from sidecar.errors import StateUnavailable
from sidecar.ports import Recordings
from tests.builders import request
from tests.fakes.recordings import FakeRecordings

MOST = 100


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "state" / "pilotlight.db.recordings"


@pytest.fixture
def folder(root: Path) -> RecordingsFolder:
    return RecordingsFolder(root)


@pytest.fixture(params=["fake", "folder"])
def recordings(request: pytest.FixtureRequest, root: Path) -> Recordings:
    return FakeRecordings() if request.param == "fake" else RecordingsFolder(root)


async def add(recordings: Recordings, *values: float, most: int = MOST) -> None:
    """A request for `m` with each value."""
    for value in values:
        await recordings.add("m", request(value), most=most)


async def values(recordings: Recordings, model: str = "m") -> list[float]:
    return [float(inputs["x"][0, 0]) for inputs in await recordings.read(model)]


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


def requests_in(root: Path) -> list[Path]:
    return sorted(root.rglob("*.request"))


async def test_of_a_model_without_any_there_is_nothing(recordings: Recordings) -> None:
    await recordings.forget("m")

    assert await recordings.read("m") == []
    assert await recordings.recorded("m") == Recorded()


async def test_requests_are_read_in_the_order_in_which_they_came(recordings: Recordings) -> None:
    await add(recordings, 3, 1, 2)

    assert await values(recordings) == [3, 1, 2]
    assert await values(recordings, "n") == []


@pytest.mark.parametrize(
    "array",
    [
        np.float16([[1.5, -2.0]]),
        np.int64([[2**62, -(2**62)]]),
        np.array([[True, False]]),
        np.array([[b"short", b""], [b"zeros at the end\0\0", "ä".encode()]], np.object_),
        np.zeros((0, 2), np.float32),
        np.zeros((1, 0), np.object_),
        np.asfortranarray(np.arange(6, dtype=np.int32).reshape(2, 3)),
        np.float32([[np.nan, np.inf]]),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
async def test_a_request_is_read_as_it_was(
    recordings: Recordings, array: np.typing.NDArray[np.generic]
) -> None:
    given: Tensors = {"a/b": array, "x": np.float32([[1]])}

    await recordings.add("m", given, most=MOST)

    (found,) = await recordings.read("m")
    assert list(found) == ["a/b", "x"]
    assert found["a/b"].dtype == array.dtype
    np.testing.assert_array_equal(found["a/b"], array)


async def test_the_newest_are_kept(recordings: Recordings) -> None:
    await add(recordings, 1, 2, 3, 4, most=3)
    assert await values(recordings) == [2, 3, 4]

    await add(recordings, 5, most=2)
    assert await values(recordings) == [4, 5]


async def test_no_more_bytes_are_kept_than_a_model_may_have(recordings: Recordings) -> None:
    eighth = np.zeros((1, MOST_BYTES // 8 // 4), np.float32)
    for value in range(9):
        await recordings.add("m", {"x": eighth + value}, most=MOST)
    await recordings.add("n", request(1), most=MOST)

    kept = await recordings.recorded("m")
    assert 7 * eighth.nbytes <= kept.bytes <= MOST_BYTES
    assert (await values(recordings))[-7:] == [2, 3, 4, 5, 6, 7, 8]
    assert await values(recordings, "n") == [1]


async def test_what_is_forgotten_is_gone(recordings: Recordings) -> None:
    await add(recordings, 1, 2, 3)
    await recordings.add("n", request(7), most=MOST)

    await recordings.forget("m", all_but=2)
    assert await values(recordings) == [2, 3]
    await recordings.forget("m")
    assert await values(recordings) == []
    assert await recordings.recorded("m") == Recorded()
    assert await values(recordings, "n") == [7]


async def test_requests_and_bytes_are_counted(recordings: Recordings) -> None:
    await recordings.add("m", {"x": np.zeros((1, 1000))}, most=MOST)
    await add(recordings, 1)

    found = await recordings.recorded("m")

    assert found.requests == 2
    assert 8000 < found.bytes < 8200


# The folder.


async def test_requests_survive_a_restart(folder: RecordingsFolder, root: Path) -> None:
    await add(folder, 1, 2)

    again = RecordingsFolder(root)
    await add(again, 3, most=2)

    assert await values(again) == [2, 3]
    assert await values(RecordingsFolder(root)) == [2, 3]
    assert await RecordingsFolder(root).recorded("m") == await again.recorded("m")


@pytest.mark.parametrize("content", [b"", b"\x0a\xff", b"cut"])
async def test_a_damaged_file_is_dropped_and_told(
    folder: RecordingsFolder, root: Path, content: bytes
) -> None:
    await add(folder, 1, 2, 3)
    _, _, damaged, _ = files(root)
    damaged.write_bytes(content)

    with capture_logs() as logs:
        assert await values(folder) == [1, 3]

    assert [(each["event"], each["path"]) for each in logs] == [
        ("recorded_request_dropped", str(damaged))
    ]
    assert (await folder.recorded("m")).requests == 2
    with capture_logs() as logs:
        assert await values(RecordingsFolder(root)) == [1, 3]
    assert logs == []


async def test_a_file_that_somebody_took_away_is_missed(
    folder: RecordingsFolder, root: Path
) -> None:
    await add(folder, 1, 2)
    files(root)[1].unlink()

    with capture_logs():
        assert await values(folder) == [2]
    await folder.forget("m")


async def test_a_file_that_was_left_half_written_is_forgotten_with_the_others(
    folder: RecordingsFolder, root: Path
) -> None:
    await add(folder, 1)
    (root / "m" / "0000000000000002.new").write_text("half")

    assert await values(RecordingsFolder(root)) == [1]
    await RecordingsFolder(root).forget("m")

    assert files(root) == []


async def test_only_we_can_read_them_for_they_are_of_clients(
    folder: RecordingsFolder, root: Path
) -> None:
    await add(folder, 1)

    assert stat.S_IMODE((root / "m").stat().st_mode) == 0o700


async def test_a_folder_that_cannot_be_written_is_told(root: Path) -> None:
    root.parent.write_text("a file stands here")

    folder = RecordingsFolder(root)
    with pytest.raises(StateUnavailable, match=r"recorded requests in .*pilotlight\.db"):
        await add(folder, 1)
    assert folder.problem is not None
    assert "free its disk, or mend its permissions" in folder.problem

    root.parent.unlink()
    await add(folder, 1)
    assert folder.problem is None


async def test_a_caller_that_is_cancelled_leaves_the_files_to_nobody_else(
    folder: RecordingsFolder, root: Path
) -> None:
    """A thread goes on when who waits for it does not."""
    for value in range(30):
        adding = asyncio.create_task(add(folder, value))
        for _ in range(value % 5):
            await asyncio.sleep(0)
        adding.cancel()
        await add(folder, 100 + value)
        await asyncio.gather(adding, return_exceptions=True)

    kept = await values(folder)
    assert len(kept) == (await folder.recorded("m")).requests == len(requests_in(root))
    assert {100.0 + value for value in range(30)} <= set(kept)
