"""What real loads of a version took."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sidecar.core.memory import Device
from sidecar.core.steady import Curve

NEWEST_WEIGHT = 0.3
"""Share of the newest load in a learned figure; loads vary with what else the machine does."""
LOADS_WEIGHED = 5
"""The newest loads, from which it is taken what a model holds."""
OUTVOTE = 3
"""From so many on the largest is left out. Of a GPU the growth is read, to which another process
may have added: such a load must not keep a model out of the budget, for then it would never be
loaded and weighed again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What real loads of one version took, the newest weighing most; seconds and bytes.

    `read_s` is bringing its files into the page cache when they were not there, `load_s`
    load and Triton's own warm-up with the files there, `warm_up_s` what came after until the
    latency was steady; `curves` are of the newest load. `weighed_bytes` is what the last
    `LOADS_WEIGHED` loads held, the newest last; `held_bytes` the most of these, of `OUTVOTE` and
    more without the largest.
    """

    loads: int = 0
    read_s: float | None = None
    load_s: float | None = None
    warm_up_s: float | None = None
    held_bytes: Mapping[Device, int] = field(default_factory=dict)
    weighed_bytes: Mapping[Device, tuple[int, ...]] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()


def learn(
    known: Learned | None,
    *,
    read_s: float | None,
    load_s: float,
    warm_up_s: float,
    held_bytes: Mapping[Device, int],
    curves: tuple[Curve, ...],
) -> Learned:
    """`read_s` None: the files were in the page cache before."""
    before = known or Learned()
    weighed = {**_weighings(before)}
    for device, held in held_bytes.items():
        weighed[device] = (*weighed.get(device, ()), held)[-LOADS_WEIGHED:]
    return replace(
        before,
        loads=before.loads + 1,
        read_s=before.read_s if read_s is None else _mixed(before.read_s, read_s),
        load_s=_mixed(before.load_s, load_s),
        warm_up_s=_mixed(before.warm_up_s, warm_up_s),
        held_bytes={device: _most(each) for device, each in weighed.items()},
        weighed_bytes=weighed,
        curves=curves,
    )


def _weighings(known: Learned) -> Mapping[Device, tuple[int, ...]]:
    """Before they were kept one by one, only the most of them was."""
    return known.weighed_bytes or {device: (held,) for device, held in known.held_bytes.items()}


def _most(weighed: tuple[int, ...]) -> int:
    return sorted(weighed)[-2] if len(weighed) >= OUTVOTE else max(weighed)


def _mixed(before: float | None, now: float) -> float:
    return now if before is None else NEWEST_WEIGHT * now + (1 - NEWEST_WEIGHT) * before
