"""Waiting for files to change, by looking at them."""

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

POLL_S = 0.5
"""A look at a thousand files takes milliseconds."""

Stamps = Mapping[Path, tuple[int, int] | None]
"""Time of change in nanoseconds and size of each file; None for one that is not there."""


def look(files: Collection[Path]) -> Stamps:
    return {path: _stamp(path) for path in files}


def _pause() -> None:
    # Looked for, not waited for: network file systems and mounts in containers tell of no change.
    time.sleep(POLL_S)


def wait_for_change(before: Stamps, *, pause: Callable[[], None] = _pause) -> list[Path]:
    """Block until files are not as they were, and two looks in a row have found the same.

    An editor writes several files, or one in several steps. `pause` lies between two looks.
    """
    seen = before
    while True:
        now = look(before)
        if now == seen and now != before:
            return sorted(path for path in before if now[path] != before[path])
        seen = now
        pause()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ctime_ns, found.st_size
