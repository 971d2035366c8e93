"""Folders that are installed once: complete or not there at all."""

import contextlib
import fcntl
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from embedded.errors import ProvisionFailed

_STAMP = "stamp.json"
_SHOWN_CHARACTERS = 2000

Found = TypeVar("Found")


@contextlib.contextmanager
def installed(
    home: Path, find: Callable[[Path], Found | None], fill: Callable[[Path], None]
) -> Iterator[Found]:
    """What `find` sees in `home`; where that is None, `fill` has made the folder anew.

    Other processes that install the same home wait until the block ends.

    Raises:
        ProvisionFailed: `fill` failed, nothing half-done stays; or `find` sees nothing even then.
    """
    home = home.resolve()
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = find(home)
        if found is None:
            _build(home, fill)
            found = find(home)
        if found is None:
            raise ProvisionFailed(f"{home} is incomplete just after its installation; try again")
        yield found


def read_stamp(home: Path, pins: Sequence[str]) -> dict[str, Any] | None:
    """What `write_stamp` wrote; None if it never did, or for other pins."""
    try:
        stamp: dict[str, Any] = json.loads((home / _STAMP).read_text())
    except FileNotFoundError:
        return None
    return stamp if stamp["pins"] == list(pins) else None


def write_stamp(home: Path, pins: Sequence[str], **facts: object) -> None:
    """To be called last: the stamp's presence means that the folder is complete."""
    (home / _STAMP).write_text(json.dumps({"pins": list(pins), **facts}, indent=2))


def pip_install(python: str | Path, *arguments: str) -> None:
    """Without dependencies: whoever pins names them all."""
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--no-deps"]
    run(
        [*pip, *arguments],
        "check that this Python has pip, that the package index can be reached and that glibc "
        "is 2.35 or newer",
    )


def run(command: list[str], remedy: str) -> None:
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if ended.returncode != 0:
        raise ProvisionFailed(
            f"`{' '.join(command)}` ended with {ended.returncode}; {remedy}:\n"
            f"{ended.stdout[-_SHOWN_CHARACTERS:].strip()}"
        )


def _build(home: Path, fill: Callable[[Path], None]) -> None:
    for abandoned in home.parent.glob(f".{home.name}.*.building"):
        shutil.rmtree(abandoned)
    building = Path(tempfile.mkdtemp(prefix=f".{home.name}.", suffix=".building", dir=home.parent))
    try:
        fill(building)
        if home.exists():
            shutil.rmtree(home)
        building.rename(home)
    finally:
        shutil.rmtree(building, ignore_errors=True)
