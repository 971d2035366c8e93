import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embedded.errors import NotStarted
from embedded.process import Process, group_members, wait_until

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108
FAMILY = "sleep 1000 & sleep 1000 & wait"

StartShell = Callable[[str], Process]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[StartShell]:
    started = []

    def start(script: str) -> Process:
        process = Process(name="shell", command=["sh", "-c", script], log=tmp_path / "log")
        started.append(process)
        process.start()
        return process

    yield start
    for process in started:
        process.stop(timeout_s=0)
        assert group_members(process.pid) == []


def family(process: Process) -> list[int]:
    assert wait_until(lambda: len(group_members(process.pid)) == 3, timeout_s=30)
    return group_members(process.pid)


def test_output_and_exit_status_are_kept(shell: StartShell, tmp_path: Path) -> None:
    process = shell("echo out; echo err >&2; exit 3")

    assert wait_until(lambda: not process.is_running, timeout_s=30)

    assert process.returncode == 3
    assert (tmp_path / "log").read_text() == "out\nerr\n"


def test_a_start_while_it_runs_changes_nothing(shell: StartShell) -> None:
    process = shell("sleep 1000")
    pid = process.pid

    process.start()

    assert process.pid == pid


def test_stop_ends_the_whole_group(shell: StartShell) -> None:
    process = shell(FAMILY)
    family(process)

    process.stop(timeout_s=30)

    assert group_members(process.pid) == []
    assert process.returncode == -signal.SIGTERM
    assert not process.is_running


def test_who_ignores_sigterm_is_killed_after_the_timeout(shell: StartShell, tmp_path: Path) -> None:
    process = shell("trap '' TERM; echo ready; while true; do sleep 1000; done")
    assert wait_until(lambda: (tmp_path / "log").read_text() == "ready\n", timeout_s=30)

    process.stop(timeout_s=0.1)

    assert process.returncode == -signal.SIGKILL


def test_kill_leaves_the_children_and_start_clears_them(shell: StartShell) -> None:
    process = shell(FAMILY)
    crashed = process.pid
    family(process)

    process.kill()
    assert len(group_members(crashed)) == 2
    process.start()

    assert group_members(crashed) == []
    assert process.is_running
    assert process.pid != crashed


def test_shared_memory_goes_with_the_process(tmp_path: Path) -> None:
    prefix = f"embedded-test-{tmp_path.name}-"
    (SHARED_MEMORY / f"{prefix}left").write_bytes(b"")
    process = Process(
        name="sleep", command=["sleep", "1000"], log=tmp_path / "log", shared_memory_prefix=prefix
    )

    process.start()
    (SHARED_MEMORY / f"{prefix}used").write_bytes(b"")
    process.stop()

    assert list(SHARED_MEMORY.glob(f"{prefix}*")) == []


def test_the_guard_ends_the_group_of_a_killed_starter(tmp_path: Path) -> None:
    prefix = f"embedded-test-{tmp_path.name}-"
    script = f"""
import time
from pathlib import Path
from embedded.process import Process
process = Process(
    name="family", command=["sh", "-c", {FAMILY!r}], log=Path({str(tmp_path / "log")!r}),
    shared_memory_prefix={prefix!r},
)
process.start()
print(process.pid, flush=True)
time.sleep(1000)
"""
    (SHARED_MEMORY / f"{prefix}used").write_bytes(b"")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        group = int(starter.stdout.readline())
        (SHARED_MEMORY / f"{prefix}used").write_bytes(b"")
        assert wait_until(lambda: len(group_members(group)) == 3, timeout_s=30)

        starter.kill()

    assert wait_until(lambda: group_members(group) == [], timeout_s=30)
    assert wait_until(lambda: not list(SHARED_MEMORY.glob(f"{prefix}*")), timeout_s=30)


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    process = Process(name="typo", command=["/no/such/command"], log=tmp_path / "log")

    with pytest.raises(FileNotFoundError, match="/no/such/command"):
        process.start()

    assert not process.is_running
    with pytest.raises(NotStarted, match="typo has no pid"):
        _ = process.pid
