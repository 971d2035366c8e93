"""Which versions of a model may go, and how."""

from collections.abc import Collection
from dataclasses import dataclass

from contract.files import flush
from contract.layout import Store
from generator.errors import PublishFailed
from generator.publishing.staging import staged


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went of a model, ascending, and what would have gone if it were not in use."""

    model: str
    removed: tuple[int, ...]
    in_use: tuple[int, ...]


def prune(store: Store, model: str, *, keep: int, in_use: Collection[int]) -> Pruned:
    """Remove all versions but the newest `keep` and those in use.

    Raises:
        PublishFailed: the store cannot be written.
    """
    old = store.versions(model)[:-keep]
    removed = tuple(version for version in old if version not in in_use)
    for version in removed:
        remove(store, model, version)
    return Pruned(model, removed, tuple(version for version in old if version in in_use))


def remove(store: Store, model: str, version: int) -> None:
    """Take a version out of the store; a reader sees all of it or nothing.

    Raises:
        PublishFailed: the store cannot be written.
    """
    folder = store.version(model, version).path
    try:
        with staged(store, model, version) as staging:
            folder.rename(staging / "version")
            flush(store.model(model))
    except OSError as error:
        raise PublishFailed(
            f"{model} version {version} could not be removed: {folder}: {error.strerror}; see that "
            "the store can be written"
        ) from error
