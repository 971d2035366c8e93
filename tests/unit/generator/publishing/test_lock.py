"""Two builders in one store."""

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from generator.errors import PublishFailed, StoreBusy
from generator.publishing.lock import LOCK, locked


def test_the_second_is_told_who_is_at_it(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(StoreBusy) as busy, locked(tmp_path):
        pass

    assert re.fullmatch(
        rf"store {tmp_path} is held by process {os.getpid()} on \S+ since \S+\+00:00; "
        "let it finish, or wait for it with --wait",
        str(busy.value),
    )


def test_the_second_may_wait(tmp_path: Path) -> None:
    done: list[str] = []

    def second() -> None:
        with locked(tmp_path, wait=True):
            done.append("second")

    with locked(tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        done.append("first")
    waiting.join()

    assert done == ["first", "second"]


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    hold = (
        "import os; from pathlib import Path; from generator.publishing.lock import locked\n"
        f"with locked(Path({str(tmp_path)!r})): os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", hold], check=False)

    assert killed.returncode == -9
    assert (tmp_path / LOCK).read_text().startswith("process ")
    with locked(tmp_path):
        pass


def test_nothing_but_an_empty_file_stays(tmp_path: Path) -> None:
    with locked(tmp_path / "new/store"):
        pass

    assert [path.name for path in (tmp_path / "new/store").iterdir()] == [LOCK]
    assert (tmp_path / "new/store" / LOCK).read_text() == ""


def test_a_store_that_cannot_be_written_is_said_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file where the folder should be")

    with (
        pytest.raises(PublishFailed, match="cannot be written: File exists; mount"),
        locked(tmp_path / "store"),
    ):
        pass
