"""How many exports at once the machine can hold."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_KIB = 1024
_MIB = 1 << 20
# Peak resident memory of an export's worker: 411 MiB without weights, 498 to 632 MiB for the
# example's models of 10 to 91 MiB, 1,902 MiB for a table of 390 MiB. The weights are there as
# float32, twice that as float64 for the reference, and on their way into the file.
_WORKER_BYTES = 600 * _MIB
_COPIES_OF_WEIGHTS = 4
# Left to everybody else; what is free now need not be free in a minute.
_SHARE = 0.8
_CGROUPS = Path("/sys/fs/cgroup")


def needed_bytes(weights_bytes: int) -> int:
    """What exporting a model with so many bytes of weights takes at its peak."""
    return _WORKER_BYTES + _COPIES_OF_WEIGHTS * weights_bytes


def usable_cores() -> int:
    """Those that this process may run on, or what its cgroup (v2) lets it use of them."""
    cores = len(os.sched_getaffinity(0))
    with suppress(OSError):
        quota, period = (_cgroup() / "cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, int(quota) // int(period)))
    return cores


def usable_bytes() -> int:
    """Memory that may be taken without anybody being killed for it."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    free = next(int(line[1]) * _KIB for line in lines if line[0] == "MemAvailable:")
    with suppress(OSError):
        limit = (_cgroup() / "memory.max").read_text().strip()
        if limit != "max":
            free = min(free, int(limit) - _unreclaimable_bytes())
    return int(free * _SHARE)


def _unreclaimable_bytes() -> int:
    """What the cgroup holds, less the files in it that the kernel can drop at once."""
    lines = map(str.split, (_cgroup() / "memory.stat").read_text().splitlines())
    held = {name: int(value) for name, value in lines}
    cached = held["active_file"] + held["inactive_file"]
    return int((_cgroup() / "memory.current").read_text()) - cached


def _cgroup() -> Path:
    """Where the files of a v2 cgroup are: at the root, as seen from inside a container."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    path = next((line for line in lines if line.startswith("0::/")), "0::/")
    return _CGROUPS / path.removeprefix("0::/")


class Room:
    """Memory to share between threads: each takes what it needs and waits until it is there."""

    def __init__(self, total_bytes: int) -> None:
        self._total_bytes = total_bytes
        self._taken_bytes = 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, wanted_bytes: int) -> Iterator[None]:
        """More than there is in all is granted to one that is alone: it may yet do."""
        with self._changed:
            self._changed.wait_for(lambda: self._fits(wanted_bytes))
            self._taken_bytes += wanted_bytes
        try:
            yield
        finally:
            with self._changed:
                self._taken_bytes -= wanted_bytes
                self._changed.notify_all()

    def _fits(self, wanted_bytes: int) -> bool:
        return not self._taken_bytes or self._taken_bytes + wanted_bytes <= self._total_bytes
