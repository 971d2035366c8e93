"""A folder for everything unfinished, which no killed builder leaves behind for long."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

_PREFIX = "pilotlight-"
_HELD = "held"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Gone afterwards, and with it those of builders that were killed: nobody holds them."""
    for held in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_HELD}"):
        with suppress(OSError), held.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(held.parent)
    folder, lock = _held_folder()
    with lock:
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _held_folder() -> tuple[Path, TextIO]:
    """Until it is locked, another builder may take a new one for left behind."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        file = (folder / _HELD).open("w")
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return folder, file
        file.close()
