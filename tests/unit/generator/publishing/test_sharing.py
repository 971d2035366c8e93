"""Copies, with or without a twin; that blocks are shared shows only on XFS or Btrfs."""

from pathlib import Path

import pytest

from generator.publishing import sharing


@pytest.mark.parametrize("older", [b"weights", b"WEIGHTS", b"other", b"", None])
def test_a_copy_has_the_contents_of_its_source_whatever_its_twin(
    tmp_path: Path, older: bytes | None
) -> None:
    source, target, twin = tmp_path / "new", tmp_path / "copy", tmp_path / "twin"
    source.write_bytes(b"weights")
    if older is not None:
        twin.write_bytes(older)

    sharing.copy(source, target, twins=[tmp_path / "gone", twin])

    assert target.read_bytes() == b"weights"
    assert source.read_bytes() == b"weights"


def test_a_twin_is_not_touched(tmp_path: Path) -> None:
    """Triton loads a version anew when the ctime of one of its files has changed."""
    for name in ("new", "twin"):
        (tmp_path / name).write_bytes(b"weights")
    before = (tmp_path / "twin").stat()

    sharing.copy(tmp_path / "new", tmp_path / "copy", twins=[tmp_path / "twin"])

    after = (tmp_path / "twin").stat()
    assert (after.st_ctime_ns, after.st_nlink) == (before.st_ctime_ns, 1)
