"""Which files of the store are in memory already, and how they come there."""

import asyncio
import ctypes
import mmap
import os
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import TypeVar

import numpy as np

from contract.files import reading
from contract.layout import Store
from contract.manifest import read_manifest

CHUNK_BYTES = 1 << 20

T = TypeVar("T")
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)


class FilePageCache:
    """A `ports.PageCache` of the files that a version's manifest lists.

    Run it as the owner of the files, or as who may write them: to anybody else Linux says that
    all of a file is in memory.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    async def read_ahead(self, model: str, version: int) -> int:
        """Read every file once; a cancelled call stops within a chunk.

        Advice does not do: of 400 MB, POSIX_FADV_WILLNEED brought 8 (Linux 6.18, ext4).

        Raises:
            InvalidArtifact: the version or a file of it is missing.
            ArtifactUnreadable: the system does not let it be read now.
        """
        stop = Event()

        def read(path: Path) -> int:
            return _read(path, stop)

        try:
            return await asyncio.to_thread(self._sum, read, model, version)
        finally:
            stop.set()

    async def resident_bytes(self, model: str, version: int) -> int:
        """Raises as `read_ahead` does."""
        return await asyncio.to_thread(self._sum, resident_bytes, model, version)

    def _sum(self, measure: Callable[[Path], int], model: str, version: int) -> int:
        folder = self._store.version(model, version)
        files = read_manifest(folder.manifest).files
        with reading(f"a file of {model} version {version}"):
            return sum(measure(folder.path / name) for name in files)


def resident_bytes(path: Path) -> int:
    """How much of a file is in the page cache, in whole pages but never more than the file."""
    size = path.stat().st_size
    if size == 0:
        return 0
    pages = np.empty(-(-size // mmap.PAGESIZE), np.uint8)
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as mapping,
    ):
        view = np.frombuffer(mapping, np.uint8)
        failed = _libc.mincore(view.ctypes.data, size, pages.ctypes.data)
        # A mapping that somebody looks at cannot be closed.
        del view
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(path))
    return min(size, int((pages & 1).sum()) * mmap.PAGESIZE)


def _read(path: Path, stop: Event) -> int:
    """Bytes of a file, each of them read, unless told to stop."""
    total, buffer = 0, bytearray(CHUNK_BYTES)
    with path.open("rb", buffering=0) as file:
        while not stop.is_set() and (count := file.readinto(buffer)):
            total += count
    return total
