"""Folders of builders that work at the same time, and of one that was killed."""

import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from generator.scratch import scratch_folder

ROUNDS, BUILDERS = 100, 4


@pytest.fixture(autouse=True)
def folder_of_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_builders_that_begin_at_the_same_time_leave_each_other_alone(folder_of_all: Path) -> None:
    def begin(_: int) -> bool:
        with scratch_folder() as folder:
            (folder / "model.onnx").write_text("")
            return folder.is_dir()

    with ThreadPoolExecutor(BUILDERS) as builders:
        assert all(builders.map(begin, range(BUILDERS * ROUNDS)))
    assert list(folder_of_all.iterdir()) == []


def test_what_a_killed_builder_has_left_goes_with_the_next(folder_of_all: Path) -> None:
    killed = f"""
import os, signal, tempfile
from generator.scratch import scratch_folder
tempfile.tempdir = {str(folder_of_all)!r}
with scratch_folder():
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", killed], check=False)
    (left,) = folder_of_all.iterdir()

    with scratch_folder() as folder:
        assert list(folder_of_all.iterdir()) == [folder] != [left]
