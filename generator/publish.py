"""The only writer of a store.

Everything a version needs is written into `<model>/.tmp-<version>-<pid>`, a name that Triton
ignores, and flushed to disk; then renames alone make it visible, the version folder first.
A store on which the disk ran full or the power failed is as it was before.
"""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.intent import Intent
from contract.layout import CONFIG, INTENT, MANIFEST, WARMUP, Store
from generator.errors import PublishFailed

_PREFIX = ".tmp-"


def publish(store: Store, model: str, version: int, built: Path, *, intent: Intent | None) -> None:
    """Copy the folder `built` into the store as a version and let the model's links follow.

    Raises:
        PublishFailed: the version exists, or the store cannot be written.
    """
    needed = sum(path.stat().st_size for path in built.rglob("*") if path.is_file())
    with _reported(store, model, needed), _staging(store, model, version) as staging:
        _copy_durably(built, staging / "version")
        head = _prepare_head(store, model, max(version, *store.versions(model), 0), intent, staging)
        (staging / "version").rename(store.version(model, version).path)
        _replace_head(head, store.model(model))


def refresh(store: Store, model: str, *, intent: Intent | None) -> None:
    """Make links and intent of an unchanged model right again; writes nothing if they are.

    Raises:
        PublishFailed: the store cannot be written.
    """
    newest = store.versions(model)[-1]
    if _is_current(store, model, newest, intent):
        return
    with _reported(store, model, 0), _staging(store, model, newest) as staging:
        _replace_head(_prepare_head(store, model, newest, intent, staging), store.model(model))


def remove_leftovers(store: Store) -> None:
    """Remove the staging folders of builders that are gone."""
    for path in store.root.glob(f"*/{_PREFIX}*-*"):
        pid = path.name.rpartition("-")[2]
        if pid.isdecimal() and not Path("/proc", pid).exists():
            shutil.rmtree(path)
            # Triton takes any folder at the root for a model.
            if not any(path.parent.iterdir()):
                path.parent.rmdir()


def _is_current(store: Store, model: str, newest: int, intent: Intent | None) -> bool:
    folder = store.model(model)
    links = all(
        (folder / name).is_symlink() and (folder / name).readlink() == Path(str(newest), name)
        for name in (CONFIG, WARMUP)
    )
    path = store.intent(model)
    return links and (intent is None or (path.exists() and path.read_text() == _text(intent)))


def _text(intent: Intent) -> str:
    return intent.model_dump_json(exclude_unset=True) + "\n"


@contextmanager
def _staging(store: Store, model: str, version: int) -> Iterator[Path]:
    """A staging folder that is gone afterwards, and with it every folder left empty."""
    folder = store.model(model)
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    staging = folder / f"{_PREFIX}{version}-{os.getpid()}"
    try:
        staging.mkdir(parents=True)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for path in created:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


@contextmanager
def _reported(store: Store, model: str, needed: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            remedy = "the folder exists, incomplete or from a build beside this one; remove it"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            remedy = "free some space or choose another store"
        else:
            remedy = "see that the store can be written"
        path = error.filename2 or error.filename or store.model(model)
        raise PublishFailed(
            f"{model} could not be published: {path}: {error.strerror}; "
            f"{needed} bytes needed, {_free_bytes(store)} free; {remedy}"
        ) from error


def _free_bytes(store: Store) -> int:
    existing = next(path for path in (store.root, *store.root.absolute().parents) if path.exists())
    return shutil.disk_usage(existing).free


def _copy_durably(source: Path, target: Path) -> None:
    """Copy a folder and flush it; the manifest comes last, because it says "complete"."""
    target.mkdir()
    entries = sorted(source.iterdir(), key=lambda path: (path.name == MANIFEST, path.name))
    for entry in entries:
        if entry.is_dir():
            _copy_durably(entry, target / entry.name)
        else:
            shutil.copyfile(entry, target / entry.name)
            _flush(target / entry.name)
    _flush(target)


def _prepare_head(
    store: Store, model: str, newest: int, intent: Intent | None, staging: Path
) -> list[Path]:
    """What lies beside the versions, written in the staging folder, ready to be renamed."""
    head = []
    for name in (CONFIG, WARMUP):
        (staging / name).symlink_to(Path(str(newest), name))
        head.append(staging / name)
    if intent is not None:
        (staging / INTENT).write_text(_text(intent))
        _flush(staging / INTENT)
        head.append(staging / INTENT)
    return head


def _replace_head(head: list[Path], folder: Path) -> None:
    for path in head:
        path.replace(folder / path.name)
    _flush(folder)
    _flush(folder.parent)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
