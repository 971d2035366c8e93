"""A repository on disk, read once. Graphs and data files only where a rule asks for them."""

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from contract.layout import CONFIG
from generator.lint.graphs import read_graph
from generator.lint.repository import (
    FOLDERS,
    VARIANTS,
    Entry,
    Graph,
    Model,
    Repository,
    Unreadable,
    version_read,
)
from generator.releases import Release


class _Folder:
    """Contents of a model's folder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._graphs: dict[str, Graph | Unreadable] = {}

    def graph(self, path: str) -> Graph | Unreadable:
        if path not in self._graphs:
            self._graphs[path] = read_graph(self._path / path)
        return self._graphs[path]

    def data(self, path: str) -> bytes:
        return (self._path / path).read_bytes()


def read_repository(root: Path, release: Release) -> Repository:
    """Take stock of a repository that `release` is to serve.

    Raises:
        OSError: the folder, or something in it, cannot be read.
    """
    real = root.resolve(strict=True)
    entries = {path.name: _entry(path, real) for path in sorted(root.iterdir())}
    folders = [name for name, entry in entries.items() if entry.is_folder]
    return Repository(
        entries=entries,
        models={name: _model(root / name, real) for name in folders},
        release=release,
        read_s=time.time(),
    )


def _model(folder: Path, root: Path) -> Model:
    entries = dict(_walk(folder, root, (root, _real(folder))))
    paths = [path for path in entries if path == CONFIG or _is_variant(path)]
    return Model(
        name=folder.name,
        entries=entries,
        texts={
            path: (folder / path).read_text(encoding="utf-8", errors="replace")
            for path in paths
            if not entries[path].is_folder and not entries[path].is_dangling
        },
        contents=_Folder(folder),
    )


def _is_variant(path: str) -> bool:
    return path.startswith(f"{VARIANTS}/") and path.endswith(".pbtxt")


def _walk(
    folder: Path, root: Path, trail: tuple[Path, ...], above: str = ""
) -> Iterator[tuple[str, Entry]]:
    """Everything below, by its path. Links out are followed where Triton finds something."""
    for path in sorted(folder.iterdir()):
        entry, real = _entry(path, root), _real(path)
        if real in trail:
            entry = replace(entry, leads_up=True)
        yield f"{above}{path.name}", entry
        is_followed = _is_for_triton(path.name) if entry.leaves else not entry.leads_up
        if entry.is_folder and is_followed:
            yield from _walk(path, root, (*trail, real), f"{above}{path.name}/")


def _is_for_triton(name: str) -> bool:
    return name in FOLDERS or version_read(name) is not None


def _real(path: Path) -> Path:
    """Without links; unlike `Path.resolve`, also of one that leads to itself."""
    return Path(os.path.realpath(path))


def _entry(path: Path, root: Path) -> Entry:
    target = str(path.readlink()) if path.is_symlink() else None
    leaves = target is not None and not _real(path).is_relative_to(root)
    try:
        found = path.stat()
    except OSError:
        return Entry(target=target, is_dangling=True, leaves=leaves)
    return Entry(
        is_folder=stat.S_ISDIR(found.st_mode),
        bytes=found.st_size,
        modified_s=found.st_mtime,
        target=target,
        leaves=leaves,
    )
