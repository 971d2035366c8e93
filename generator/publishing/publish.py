"""A version into the store, whole or not at all.

Everything is written into a staging folder and flushed to disk; then renames alone make it
visible, the version folder first. A store on which the disk ran full or the power failed is as it
was before.
"""

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from contract.files import flush
from contract.intent import Intent
from contract.layout import HEAD, INTENT, MANIFEST, Store
from generator.errors import PublishFailed
from generator.publishing import sharing
from generator.publishing.staging import staged


def publish(store: Store, model: str, version: int, built: Path, *, intent: Intent | None) -> None:
    """Copy the folder `built` into the store as a version and let the model's links follow.

    Raises:
        PublishFailed: the version exists, or the store cannot be written.
    """
    needed = sum(path.stat().st_size for path in built.rglob("*") if path.is_file())
    older = store.versions(model)
    with _reported(store, model, needed), staged(store, model, version) as staging:
        twins = [store.version(model, number).path for number in reversed(older)]
        _copy_durably(built, staging / "version", twins)
        newest = max(version, *older, 0)
        has = built if newest == version else store.version(model, newest).path
        head = _prepare_head(newest, has, intent, staging)
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
    with _reported(store, model, 0), staged(store, model, newest) as staging:
        has = store.version(model, newest).path
        _replace_head(_prepare_head(newest, has, intent, staging), store.model(model))


def _is_current(store: Store, model: str, newest: int, intent: Intent | None) -> bool:
    folder = store.model(model)
    links = all(
        (folder / name).is_symlink() and (folder / name).readlink() == Path(str(newest), name)
        if (folder / str(newest) / name).exists()
        else not (folder / name).is_symlink()
        for name in HEAD
    )
    path = store.intent(model)
    return links and (intent is None or (path.exists() and path.read_text() == _text(intent)))


def _text(intent: Intent) -> str:
    return intent.model_dump_json(exclude_unset=True) + "\n"


@contextmanager
def _reported(store: Store, model: str, needed: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            remedy = "the folder exists and is incomplete; remove it"
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


def _copy_durably(source: Path, target: Path, twins: Sequence[Path]) -> None:
    """Copy a folder and flush it; the manifest comes last, because it says "complete"."""
    target.mkdir()
    entries = sorted(source.iterdir(), key=lambda path: (path.name == MANIFEST, path.name))
    for entry in entries:
        older = [folder / entry.name for folder in twins]
        if entry.is_dir():
            _copy_durably(entry, target / entry.name, older)
        else:
            sharing.copy(entry, target / entry.name, twins=older)
            flush(target / entry.name)
    flush(target)


def _prepare_head(newest: int, has: Path, intent: Intent | None, staging: Path) -> list[Path]:
    """What lies beside the versions, written in the staging folder, ready to be renamed.

    `has` holds what the newest version has.
    """
    head = []
    for name in HEAD:
        if (has / name).exists():
            (staging / name).symlink_to(Path(str(newest), name))
            head.append(staging / name)
    if intent is not None:
        (staging / INTENT).write_text(_text(intent))
        flush(staging / INTENT)
        head.append(staging / INTENT)
    return head


def _replace_head(head: list[Path], folder: Path) -> None:
    for path in head:
        path.replace(folder / path.name)
    for name in HEAD:
        if (folder / name).is_symlink() and name not in {path.name for path in head}:
            (folder / name).unlink()
    flush(folder)
    flush(folder.parent)
