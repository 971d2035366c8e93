"""Hashes are remembered while a file stays as it is, and never longer."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from generator.hashes import ABSENT, Hashes

LONG_AGO = -60.0
"""Has a file count as written long ago that was written just now."""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "cache/hashes.json"


def ask(kept: Path, path: Path, *, settled_s: float = LONG_AGO) -> str:
    """What a build does."""
    hashes = Hashes(kept, settled_s=settled_s)
    digest = hashes.of(path)
    hashes.keep()
    return digest


def test_a_file_is_read_once(kept: Path, weights: Path) -> None:
    digest = ask(kept, weights)
    kept.write_text(kept.read_text().replace(digest, "remembered"))

    assert digest == sha256(b"weights").hexdigest()
    assert ask(kept, weights) == "remembered"


def test_a_change_that_keeps_size_and_mtime_is_noticed(kept: Path, weights: Path) -> None:
    before = weights.stat()
    ask(kept, weights)
    # File systems' clocks tick every few milliseconds.
    while weights.stat().st_ctime_ns == before.st_ctime_ns:
        weights.write_bytes(b"WEIGHTS")
        os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert ask(kept, weights) == sha256(b"WEIGHTS").hexdigest()


def test_what_was_just_written_is_not_remembered(kept: Path, weights: Path) -> None:
    """It may be written again within the same tick of the file system's clock."""
    ask(kept, weights, settled_s=60.0)

    assert not kept.exists()


def test_a_file_that_is_not_there_has_no_hash(kept: Path, weights: Path) -> None:
    assert ask(kept, weights / "below") == ask(kept, weights.with_name("gone")) == ABSENT


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"a": 3}'])
def test_a_damaged_memory_is_as_good_as_none(kept: Path, weights: Path, damage: str) -> None:
    kept.parent.mkdir()
    kept.write_text(damage)

    assert ask(kept, weights) == sha256(b"weights").hexdigest()


def test_a_memory_that_cannot_be_written_is_no_trouble(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")

    assert ask(tmp_path / "cache/hashes.json", weights) == sha256(b"weights").hexdigest()
