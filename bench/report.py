"""What all benchmarks print, and where they work."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

MIB = 2**20
PATIENCE_S = 600.0


@contextmanager
def new_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pilotlight-bench-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def print_row(*fields: object) -> None:
    print(f"| {' | '.join(map(str, fields))} |", flush=True)


def machine() -> str:
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    return (
        f"{os.cpu_count()} cores {platform.machine()}, {psutil.virtual_memory().total / 1e9:.0f} "
        f"GB, Python {platform.python_version()}, load average {load}"
    )


def must(found: bool, what: str) -> None:  # noqa: FBT001 (a word for it)
    if not found:
        sys.exit(f"{what} did not come within {PATIENCE_S:g} s")


def tell(text: str) -> None:
    """Progress; the figures alone go to standard output."""
    print(text, file=sys.stderr, flush=True)


def cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
