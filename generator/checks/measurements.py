"""Numbers out of noisy timings. Pure."""

import statistics
from collections.abc import Sequence

from contract.latency import is_as_fast
from contract.manifest import ShapeCost
from generator.reports import ProbeReport

# What a caller could not tell from steady.
_STEADY_SHARE = 0.25


def steady_ms(times_ms: Sequence[float]) -> float:
    """Median of the second half."""
    return statistics.median(times_ms[len(times_ms) // 2 :])


def runs_until_steady(times_ms: Sequence[float]) -> int:
    """Executions to spend before one is as fast as it gets; at least 1.

    The first execution within 25 % or 0.5 ms of the steady latency is as fast as it gets,
    those before it are the ones to spend. An execution has to be run to be known, hence 1.
    """
    steady = steady_ms(times_ms)
    as_fast = (is_as_fast(taken, steady, share=_STEADY_SHARE) for taken in times_ms)
    return max(1, list(as_fast).index(True))


def quietest(reports: Sequence[ProbeReport]) -> ProbeReport:
    """The smallest value of each timing, the largest of each memory figure.

    Other processes only ever add time. Without this, a hiccup in one probe would ask for
    another warm-up count, and two versions that serve alike would get different configs.
    """
    return ProbeReport(
        private_bytes=max(report.private_bytes for report in reports),
        further_private_bytes=max(report.further_private_bytes for report in reports),
        shared_bytes=max(report.shared_bytes for report in reports),
        peak_bytes=max(report.peak_bytes for report in reports),
        load_s=min(report.load_s for report in reports),
        shapes=tuple(
            _quietest_shape(costs) for costs in zip(*(r.shapes for r in reports), strict=True)
        ),
    )


def _quietest_shape(costs: Sequence[ShapeCost]) -> ShapeCost:
    return ShapeCost(
        batch=costs[0].batch,
        dims=costs[0].dims,
        first_ms=min(cost.first_ms for cost in costs),
        steady_ms=min(cost.steady_ms for cost in costs),
        runs_until_steady=min(cost.runs_until_steady for cost in costs),
    )
