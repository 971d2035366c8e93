"""What is unfinished in a store lies in `<model>/.tmp-<version>`, a name that Triton ignores.

Whoever writes there holds the store's lock; what is left of another is nobody's.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.layout import Store

_PREFIX = ".tmp-"


@contextmanager
def staged(store: Store, model: str, version: int) -> Iterator[Path]:
    """A folder that is gone afterwards, and with it every folder left empty."""
    folder = store.model(model)
    created = [path for path in (folder, *folder.parents) if not path.exists()]
    staging = folder / f"{_PREFIX}{version}"
    try:
        staging.mkdir(parents=True)
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for path in created:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def remove_leftovers(store: Store) -> None:
    """Remove what killed builders left."""
    for path in store.root.glob(f"*/{_PREFIX}*"):
        shutil.rmtree(path)
        # Triton takes any folder at the root for a model.
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
