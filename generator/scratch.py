"""A folder for everything unfinished, which no killed builder leaves behind for long."""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = "pilotlight-"
_HELD = "held"


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """Gone afterwards, and with it those of builders that were killed: nobody holds them."""
    for held in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*/{_HELD}"):
        with suppress(OSError), held.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(held.parent)
    with (
        tempfile.TemporaryDirectory(prefix=_PREFIX) as folder,
        (Path(folder) / _HELD).open("w") as file,
    ):
        fcntl.flock(file, fcntl.LOCK_EX)
        yield Path(folder)
