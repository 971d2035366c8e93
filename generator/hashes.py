"""Hashes of files, remembered from build to build: weights are gigabytes and seldom change."""

import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from contract.manifest import sha256_of
from generator.cache import cache_folder

ABSENT = "absent"
"""Stands for the hash of a file that is not there."""
# A file that was written again within the tick of the file system's clock looks the same. The
# slowest clock known, FAT's, ticks every 2 s.
_SETTLED_S = 2.0

Known = dict[str, tuple[str, str]]
"""What a file was, and its hash, by path."""
_KNOWN = TypeAdapter(Known)


class Hashes:
    """SHA-256 of files by their path, computed once while a file stays as it is.

    What a file is: device, inode, size, time of change. The time of change (`ctime`) cannot be set
    back, unlike that of modification.
    """

    def __init__(self, kept: Path, *, settled_s: float = _SETTLED_S) -> None:
        """`kept` is the file that remembers; a damaged one is as good as none."""
        self._kept = kept
        self._settled_s = settled_s
        self._before: Known = {}
        self._now: Known = {}
        with suppress(OSError, ValidationError):
            self._before = _KNOWN.validate_json(kept.read_bytes())

    @classmethod
    def beside(cls, recipe_folder: Path) -> "Hashes":
        """Of the files that recipes in a folder name; kept in the user's cache."""
        name = hashlib.sha256(os.fsencode(recipe_folder)).hexdigest()[:16]
        return cls(cache_folder() / "hashes" / f"{name}.json")

    def of(self, path: Path) -> str:
        """`ABSENT` where there is no such file."""
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return ABSENT
        identity = f"{found.st_dev}:{found.st_ino}:{found.st_size}:{found.st_ctime_ns}"
        remembered = self._before.get(str(path))
        if remembered is not None and remembered[0] == identity:
            digest = remembered[1]
        else:
            digest = sha256_of(path)
        if found.st_ctime < time.time() - self._settled_s:
            self._now[str(path)] = (identity, digest)
        return digest

    def keep(self) -> None:
        """Remember those that were asked for. A cache that cannot be written is no trouble."""
        if self._now == self._before:
            return
        fresh = self._kept.with_suffix(f".{os.getpid()}")
        with suppress(OSError):
            self._kept.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(_KNOWN.dump_json(self._now))
            fresh.replace(self._kept)
