"""Whether held bytes go on growing with the requests."""

from collections.abc import Iterator

import numpy as np

from contract.bytes import format_bytes
from sidecar.core.trial import Memory
from sidecar.core.verdict import Evidence, Ruling

FEWEST_READINGS = 3
STRETCHES = 5
LEAST_LEAK_BYTES = 64 * 2**20
LEAK_SHARE = 0.2
"""Of the declared bytes."""


def leak(memory: Memory | None) -> Iterator[Evidence]:
    """A leak grows with the requests, in one stretch of them as in the next.

    What an allocator or another model takes once is no leak, so the first third of the readings
    does not count, and of the growths in `STRETCHES` stretches with the same number of requests
    the median stands for all: two may be as large as they like. A machine where nothing is
    measured has no such evidence at all.
    """
    if memory is None or not memory.readings:
        return
    settled = memory.readings[len(memory.readings) // 3 :]
    (_, first_bytes, first), (_, last_bytes, last) = settled[0], settled[-1]
    growth_bytes = last_bytes - first_bytes
    limit_bytes = max(LEAST_LEAK_BYTES, LEAK_SHARE * memory.declared_bytes)
    _, held_bytes, requests = np.array(settled).T
    ends = np.interp(np.linspace(first, last, STRETCHES + 1), requests, held_bytes)
    steady_bytes = STRETCHES * float(np.median(np.diff(ends)))
    note = f"held bytes grew by {format_bytes(growth_bytes)} in {last - first} requests"
    if len(memory.readings) < FEWEST_READINGS:
        ruling, note = Ruling.INCONCLUSIVE, "held bytes have not been read often enough yet"
    elif growth_bytes <= limit_bytes:
        ruling = Ruling.PASS
    elif len(settled) <= STRETCHES:
        ruling, note = Ruling.INCONCLUSIVE, f"{note}: too few readings to tell a leak from a step"
    elif steady_bytes > limit_bytes:
        ruling, note = Ruling.FAIL, f"{note}, steadily: it leaks"
    else:
        ruling, note = Ruling.PASS, f"{note}, but not steadily"
    yield Evidence(
        check="memory",
        ruling=ruling,
        note=note,
        numbers={
            "readings": len(memory.readings),
            "requests": last - first,
            "held_bytes": last_bytes,
            "growth_bytes": growth_bytes,
            "steady_growth_bytes": steady_bytes,
            "limit_bytes": limit_bytes,
        },
    )
