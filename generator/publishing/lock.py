"""One builder at a time in a store."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from contract.lock import Held, hold
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
    with ExitStack() as held:
        try:
            root.mkdir(parents=True, exist_ok=True)
            held.enter_context(hold(root / LOCK, wait=wait))
        except Held as holder:
            raise StoreBusy(
                f"store {root} is held by {holder}; let it finish, or wait for it with --wait"
            ) from None
        except OSError as error:
            raise PublishFailed(
                f"store {root} cannot be written: {error.strerror}; mount it so that this user may "
                "write there, or choose another with --store"
            ) from error
        yield
