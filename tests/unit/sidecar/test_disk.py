"""The state on a real disk that is full, or in a file that is damaged; all else is fake."""

import asyncio
import errno
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidecar.adapters.sqlite_state import SqliteState
from sidecar.core.events import Event
from sidecar.core.fleet import Server
from sidecar.errors import StateUnavailable, TooLate
from sidecar.runtime.records import Records
from tests.builders import publish, request
from tests.unit.sidecar.rig import Rig, run

DISK_KIB = 512
SERVING = Server.SERVING
FULL = r"state file \S+state\.sqlite: .*(disk is full|disk I/O error).*; free the disk"


class SmallDisk:
    """A folder on a tiny tmpfs; where none may be mounted, files that must not grow."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_KIB}k", "tmpfs", str(folder)]
        self._mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        self._usual, self._most = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(self) -> None:
        if not self._mounted:
            largest = max(path.stat().st_size for path in self.folder.iterdir())
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, self._most))
            return
        with (self.folder / "filler").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1024))
            except OSError as error:
                assert error.errno == errno.ENOSPC  # noqa: PT017  (nothing else may go wrong)

    def free(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (self._usual, self._most))
        (self.folder / "filler").unlink(missing_ok=True)

    def remove(self) -> None:
        self.free()
        if self._mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


class OnDisk(SqliteState):
    """Remembers what it was told, as `FakeState` does."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.events: list[Event] = []

    async def append(self, event: Event, at_s: float) -> int:
        self.events.append(event)
        return await super().append(event, at_s)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    made = SmallDisk(tmp_path / "disk")
    yield made
    made.remove()


async def serving(rig: Rig, state: Path) -> None:
    """A hot model serves; a cold one has served before."""
    publish(rig.store, "hot", tier="hot")
    publish(rig.store, "cold")
    rig.state = OnDisk(state)  # type: ignore[assignment]
    await Records(rig.state).set_serving("cold", 1)
    rig.start()
    await rig.ready()
    await rig.until(lambda: not list((rig.root / "canary").iterdir()), "canary is free")


async def infer(rig: Rig, model: str) -> None:
    await rig.serving.infer(model, 1, request(1, 2), timeout_s=5.0)


def test_a_full_disk_refuses_what_must_be_recorded_and_says_why(
    tmp_path: Path, disk: SmallDisk
) -> None:
    async def story(rig: Rig) -> None:
        await serving(rig, disk.folder / "state.sqlite")
        disk.fill()
        with pytest.raises(StateUnavailable, match=FULL):
            await rig.sidecar.requests.load("cold", actor="ann")
        with pytest.raises(TooLate):
            await rig.sidecar.requests.ensure("cold", timeout_s=5.0)

        assert rig.told().count("cycle_failed") == 1
        assert rig.loaded(SERVING, "cold") == []

    run(tmp_path, story)


def test_a_full_disk_touches_no_hot_traffic_even_when_triton_restarts(
    tmp_path: Path, disk: SmallDisk
) -> None:
    async def story(rig: Rig) -> None:
        await serving(rig, disk.folder / "state.sqlite")
        disk.fill()
        for _ in range(100):
            await infer(rig, "hot")
            await asyncio.sleep(5)
        assert rig.missing() == []

        rig.serving.kill()
        await rig.until(lambda: rig.missing() != [], "the loss is seen")
        await rig.ready()
        await infer(rig, "hot")
        assert rig.loaded(SERVING, "hot") == [{1}, {1}]

    run(tmp_path, story)


def test_when_there_is_room_again_the_same_sidecar_goes_on(tmp_path: Path, disk: SmallDisk) -> None:
    async def story(rig: Rig) -> None:
        await serving(rig, disk.folder / "state.sqlite")
        disk.fill()
        waiting = asyncio.create_task(rig.sidecar.requests.ensure("cold", timeout_s=60.0))
        await rig.until(lambda: rig.sidecar.loop.problem is not None, "it is seen")
        disk.free()
        await waiting

        await infer(rig, "cold")
        await rig.until(lambda: rig.sidecar.loop.problem is None, "it is over")
        assert "kept/cold" in [each.key for each in await rig.state.scan("kept/")]

    run(tmp_path, story)


async def test_a_file_that_found_no_room_says_so_until_something_can_be_written_again(
    disk: SmallDisk,
) -> None:
    state = SqliteState(disk.folder / "state.sqlite")
    await state.touch()
    assert state.problem is None
    disk.fill()
    with pytest.raises(StateUnavailable, match=r"state\.sqlite: .*; free the disk"):
        await state.touch()
    assert await state.scan("") == []
    assert state.problem is not None

    disk.free()
    await state.touch()
    assert state.problem is None
    await state.close()


def test_a_full_disk_is_told_though_nobody_records_anything_and_its_end_too(
    tmp_path: Path, disk: SmallDisk
) -> None:
    async def story(rig: Rig) -> None:
        await serving(rig, disk.folder / "state.sqlite")
        disk.fill()
        with pytest.raises(StateUnavailable, match=FULL):
            await rig.sidecar.requests.load("cold", actor="ann")
        await rig.until(lambda: "problem_found" in rig.told(), "it is told")
        await asyncio.sleep(300)
        assert rig.told().count("problem_found") == 1
        disk.free()
        await rig.until(lambda: "problem_gone" in rig.told(), "its end is told")

    run(tmp_path, story)


def test_demand_that_found_no_room_is_saved_when_there_is_some(
    tmp_path: Path, disk: SmallDisk
) -> None:
    async def story(rig: Rig) -> None:
        await serving(rig, disk.folder / "state.sqlite")
        disk.fill()
        for _ in range(30):
            await infer(rig, "hot")
            await asyncio.sleep(5)
        assert await Records(rig.state).demand() == {}
        disk.free()
        await asyncio.sleep(90)

        assert (await Records(rig.state).demand())["hot"].requests == 30

    run(tmp_path, story)


def test_a_file_that_is_overwritten_while_it_is_used_takes_no_traffic_down(tmp_path: Path) -> None:
    """And once it is moved away, the next sidecar adopts what serves."""
    state = tmp_path / "state.sqlite"

    async def story(rig: Rig) -> None:
        await serving(rig, state)
        overwrite(state)
        for _ in range(100):
            await infer(rig, "hot")
            await asyncio.sleep(5)
        assert rig.missing() == []
        assert rig.loaded(SERVING, "hot") == [{1}]

        await rig.sidecar.die()
        await rig.state.close()  # type: ignore[attr-defined]
        overwrite(state)
        with pytest.raises(StateUnavailable, match=r"state\.sqlite: .*can be moved away"):
            SqliteState(state)
        move_away(state)
        rig.state = OnDisk(state)  # type: ignore[assignment]
        rig.start()
        await rig.ready()

        assert rig.loaded(SERVING, "hot") == [{1}]
        assert await rig.recorded("hot") == 1

    run(tmp_path, story)


def test_a_sidecar_does_not_start_on_a_damaged_file_and_says_what_to_do(tmp_path: Path) -> None:
    settings = tmp_path / "pilotlight.yaml"
    settings.write_text(
        "store: store\nstate: state.sqlite\nservers:\n"
        "  serving: {grpc: '127.0.0.1:1', stage: a}\n  canary: {grpc: '127.0.0.1:2', stage: b}\n"
    )
    state = tmp_path / "state.sqlite"
    state.write_bytes(b"\xff" * 10_000)
    command = [sys.executable, "-m", "pilotlight", "serve", "--settings", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "state.sqlite: file is not a database" in done.stderr
    assert "can be moved away" in done.stderr
    assert "Traceback" not in done.stderr
    assert state.read_bytes() == b"\xff" * 10_000


def move_away(state: Path) -> None:
    for path in state.parent.glob(f"{state.name}*"):
        path.rename(path.with_name(f"damaged-{path.name}"))


def overwrite(state: Path) -> None:
    """Garbage in the place of all that was checkpointed and of the log."""
    for path in (state, state.with_name(f"{state.name}-wal")):
        if path.exists():
            with path.open("r+b") as file:
                file.write(b"\xff" * path.stat().st_size)
