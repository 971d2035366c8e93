"""The repository folder that one Triton reads.

    <stage>/<model>/
        1 -> ../../../<store>/<model>/1     one relative link per placed version
        warmup/  labels/                    copies: written only when their bytes change
        config.pbtxt                        written last, by rename
    .pilotlight-mark -> ../../<store>       for a moment, to see what Triton sees

What Triton reacts to is the largest change time in the folder, links followed: a link is
kept when it is right, and what is copied keeps its time when its bytes are the same, so
that a promotion does not reload the version that serves.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from contract.files import reading, reason_of
from contract.layout import CONFIG, LABELS, WARMUP, Store
from sidecar.adapters.room import try_room
from sidecar.core.wanted import Placement
from sidecar.errors import StageUnusable
from sidecar.ports import Mark

MARK = ".pilotlight-mark"
COPIED = (WARMUP, LABELS)


class StageFolder:
    """A `ports.Stage`; `root` and the store must keep their relative place for Triton."""

    def __init__(self, root: Path, store: Store) -> None:
        self._root = root
        self._store = store
        self._configs: dict[str, tuple[int, str]] = {}

    async def read(self) -> Mapping[str, str]:
        return await asyncio.to_thread(self._read)

    async def write(self, model: str, placement: Placement) -> None:
        await asyncio.to_thread(self._write, model, placement)

    async def clear(self, model: str) -> None:
        await asyncio.to_thread(self._clear, model)

    async def mark(self) -> Mark:
        return await asyncio.to_thread(self._mark)

    async def unmark(self) -> None:
        await asyncio.to_thread(self._unmark)

    def _read(self) -> Mapping[str, str]:
        """A config whose mtime is as before is as before: each is written with a newer one."""
        with guarded(self._root, "read"):
            self._root.mkdir(parents=True, exist_ok=True)
            with os.scandir(self._root) as entries:
                folders = sorted(
                    (entry.name, entry.path)
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False)
                )
            known, self._configs = self._configs, {}
            for name, folder in folders:
                self._configs[name] = _config(f"{folder}/{CONFIG}", known.get(name))
        return {name: text for name, (_, text) in self._configs.items()}

    def _clear(self, model: str) -> None:
        with guarded(self._root, "written"), suppress(FileNotFoundError):
            _refuse_foreign(self._root / model)
            shutil.rmtree(self._root / model)

    def _write(self, model: str, placement: Placement) -> None:
        folder = self._root / model
        lead = self._store.version(model, placement.lead).path
        copies = {name: _contents(lead / name) for name in COPIED}
        with guarded(self._root, "written"):
            _refuse_foreign(folder)
            folder.mkdir(parents=True, exist_ok=True)
            self._link_versions(folder, model, placement.versions)
            for name, contents in copies.items():
                _mirror(contents, folder / name)
            _write_config(folder / CONFIG, placement.config)

    def _mark(self) -> Mark:
        of_store = os.path.isdir(self._store.root)  # noqa: PTH112  (False where it cannot be seen)
        target = self._store.root if of_store else self._root
        with guarded(self._root, "written"):
            self._unmark()
            try_room(self._root)
            (self._root / MARK).symlink_to(_relative(target, self._root))
        return Mark(
            name=MARK,
            folder=str(self._root),
            store=str(self._store.root),
            of_store=of_store,
        )

    def _unmark(self) -> None:
        with guarded(self._root, "written"):
            (self._root / MARK).unlink(missing_ok=True)

    def _link_versions(self, folder: Path, model: str, versions: tuple[int, ...]) -> None:
        wanted = {str(version): self._store.version(model, version).path for version in versions}
        for entry in folder.iterdir():
            if entry.is_symlink() and entry.name not in wanted:
                entry.unlink()
        for name, target in wanted.items():
            link = folder / name
            relative = _relative(target, folder)
            if link.is_symlink() and os.readlink(link) == relative:  # noqa: PTH115  (keeps it relative)
                continue
            link.unlink(missing_ok=True)
            link.symlink_to(relative)


@contextmanager
def guarded(root: Path, done: str) -> Iterator[None]:
    """Raises StageUnusable when the system refuses what is done to the stage in the body."""
    try:
        yield
    except OSError as error:
        raise StageUnusable(
            f"stage {root} cannot be {done}: {reason_of(error)}; free its disk, or mount it so "
            "that this user may write there"
        ) from error


def config_text(path: Path) -> str:
    """Of a staged config: empty where it is no text, so that it is written anew. Raises OSError."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        return ""


def _config(path: str, known: tuple[int, str] | None) -> tuple[int, str]:
    """When it was written, and its text; empty where there is none."""
    try:
        written_ns = os.stat(path).st_mtime_ns  # noqa: PTH116  (a thousand of them each second)
        if known is not None and known[0] == written_ns:
            return known
        return written_ns, config_text(Path(path))
    except FileNotFoundError:
        return 0, ""


def _refuse_foreign(folder: Path) -> None:
    """Somebody's own repository, given as `stage` by mistake, is not ours to delete."""
    for entry in folder.iterdir() if folder.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink() and entry.name not in COPIED:
            raise StageUnusable(
                f"{entry} was not written by a sidecar; give `stage` an empty folder"
            )


def _relative(target: Path, folder: Path) -> str:
    return os.path.relpath(target.absolute(), folder.absolute())


def _contents(folder: Path) -> dict[str, bytes]:
    """Of the store. Raises InvalidArtifact or ArtifactUnreadable (of the contract)."""
    with reading(str(folder)):
        if not folder.is_dir():
            return {}
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def _mirror(wanted: Mapping[str, bytes], target: Path) -> None:
    """Make `target` hold exactly these files, touching nothing that is right."""
    present = {path.name for path in target.iterdir()} if target.is_dir() else set()
    if not wanted and not present:
        return
    target.mkdir(exist_ok=True)
    for name in present - wanted.keys():
        (target / name).unlink()
    for name, content in wanted.items():
        if name not in present or (target / name).read_bytes() != content:
            (target / name).write_bytes(content)


def _write_config(path: Path, text: str) -> None:
    """Replace the config with one whose mtime is newer than all that Triton saw of the old.

    Triton loads only what is newer than its last load, and file times tick as slowly as
    every 4 ms: the precise clock decides here, plus a nanosecond where it stands still.
    """
    seen_ns = 0
    if path.exists():
        before = path.stat()
        seen_ns = max(before.st_mtime_ns, before.st_ctime_ns)
    newer_ns = max(time.time_ns(), seen_ns + 1)
    if seen_ns and config_text(path) == text:
        # Takes no room: what is in a full stage can be loaded again by a Triton that was away.
        os.utime(path, ns=(newer_ns, newer_ns))
        return
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_text(text)
    os.utime(fresh, ns=(newer_ns, newer_ns))
    fresh.replace(path)
