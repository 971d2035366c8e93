"""Files that the system does not let anybody read for a while, root included."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_NAME = "x" * 300


@contextmanager
def hindered(path: Path) -> Iterator[None]:
    """Meanwhile it is a link to a name that is too long for any file system."""
    aside = path.with_name(f".{path.name}.aside")
    path.rename(aside)
    path.symlink_to(_NO_NAME)
    try:
        yield
    finally:
        path.unlink()
        aside.rename(path)


@contextmanager
def out_of_files() -> Iterator[None]:
    """Meanwhile this process has as many files open as it may."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with Path(os.devnull).open() as lowest:
        free = lowest.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))
