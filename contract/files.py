"""Files on a disk that may fail: reading those of a store, and having written ones survive."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.errors import ArtifactUnreadable, InvalidArtifact

_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


def reason_of(error: Exception) -> str:
    """In the system's own words, without the path and the number."""
    code = error.errno if isinstance(error, OSError) else None
    return os.strerror(code) if code else str(error)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Name what is read in the body, and tell why it cannot be.

    Raises:
        InvalidArtifact: it is missing.
        ArtifactUnreadable: the system does not let it be read now.
    """
    try:
        yield
    except _MISSING as error:
        raise InvalidArtifact(
            f"{what} cannot be read: {error}; build the version again with `make repo`"
        ) from error
    except OSError as error:
        raise ArtifactUnreadable(
            f"{what} cannot be read: {error}; the disk, its mount, the file's permissions or the "
            "limit of open files is at fault, and not the version: mend that"
        ) from error


def flush(path: Path) -> None:
    """Have a file's contents, or a folder's names, survive a power failure."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
