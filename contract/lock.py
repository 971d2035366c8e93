"""What one process at a time may hold: a file, locked by the kernel and signed by its holder."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO


class Held(Exception):
    """Another process holds the file. `str` says which: `process 7 on host since ...`."""


@contextmanager
def hold(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a file, which is made if it is missing; the kernel lets go when the holder dies.

    Raises:
        Held: another process has it, and `wait` is not wished.
        OSError: it cannot be written.
    """
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Held(file.read() or "another process") from None
        _sign(file)
        try:
            yield
        finally:
            file.truncate(0)


def _sign(file: TextIO) -> None:
    """Say who holds it; read by whoever comes second."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}")
    file.flush()
