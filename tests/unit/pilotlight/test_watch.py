"""Waiting for files to change."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pilotlight.watch import look, wait_for_change


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in ("models.yaml", "ranker.py", "not there yet.py")]
    for path in found[:2]:
        path.write_text("1")
    return found


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (lambda files: files[1].write_text("2"), [1]),
        (lambda files: files[0].unlink(), [0]),
        (lambda files: files[2].write_text("new"), [2]),
        (lambda files: files[0].rename(files[2]), [0, 2]),
    ],
)
def test_says_which_files_have_changed(
    files: list[Path], change: Callable[[list[Path]], object], changed: list[int]
) -> None:
    before = look(files)
    change(files)

    assert wait_for_change(before) == sorted(files[index] for index in changed)


def test_waits_until_a_file_is_not_being_written_any_more(files: list[Path]) -> None:
    """Each look sees another file, until the writer is done."""
    before = look(files)
    rest = [2, 3, 4]

    def write_on() -> None:
        if rest:
            files[1].write_text("x" * rest.pop(0))

    assert wait_for_change(before, pause=write_on) == [files[1]]
    assert files[1].read_text() == "xxxx"
