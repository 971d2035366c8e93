"""One builder at a time in a store."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from generator.errors import PublishFailed, StoreBusy

# A file at a repository's root is nothing to Triton; a folder would be a model.
LOCK = ".pilotlight.lock"


@contextmanager
def locked(root: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a store; the kernel lets go of it when the holder dies.

    Raises:
        StoreBusy: another builder is at work there, and `wait` is not wished.
        PublishFailed: the store cannot be written.
    """
    file = _opened(root)
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another builder"
            raise StoreBusy(
                f"store {root} is held by {holder}; let it finish, or wait for it with --wait"
            ) from None
        _sign(file)
        try:
            yield
        finally:
            file.truncate(0)


def _opened(root: Path) -> TextIO:
    try:
        root.mkdir(parents=True, exist_ok=True)
        return (root / LOCK).open("a+")
    except OSError as error:
        raise PublishFailed(
            f"store {root} cannot be written: {error.strerror}; mount it so that this user may "
            "write there, or choose another with --store"
        ) from error


def _sign(file: TextIO) -> None:
    """Say who holds it; read by whoever comes second."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {now}")
    file.flush()
