"""Warm-up until the latency no longer falls."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from contract.latency import is_as_fast

RUNS_BACK = 2
BACK_SHARE = 0.25
"""Above what was steady once: what nobody notices, as in the generator's measurements."""
KEPT_FIRST = 32
KEPT_LATER = 32
BARS = "▁▂▃▄▅▆▇█"
FULL_HEIGHT_RATIO = 2.0
"""A sparkline's full height is at least this ratio, so that noise does not look like a fall."""
CLOCK_MS = 0.001
"""The least latency that a sparkline tells from none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Latencies of one shape in ordinary requests after a load.

    `latencies_ms` are the first `KEPT_FIRST` and an even choice of at most `KEPT_LATER` of the
    later ones, in order; `runs` counts all. `steady_ms` is the median of the last window,
    `steady` whether the latency had settled by then.
    """

    shape: str
    latencies_ms: tuple[float, ...]
    steady: bool
    steady_ms: float
    first_ms: float
    runs: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SteadyRule:
    """Settled is a latency whose median no longer falls from one `window` of runs to the next.

    It may still be lower by the share `tolerance`, or by half a millisecond. `max_runs` and
    `max_s` end the warm-up of a shape that never settles.

    How often the rule stops a synthetic curve although the next request is still more than a
    quarter above steady (1000 curves each, log-normal noise of 2 %, 10 % and 30 %; the tests
    repeat a part):

        only noise, or each second request twice as slow     never; median run 12, p99 21
        10x at first, the excess falls by 1/e in 1 to 4 runs never; median run 15 to 30
        the same in 8 runs                                   0 %, 0 %, 31 %
        the same in 16 runs                                  0 %, 67 %, 100 %
        10x for 12 runs or fewer, then steady                never; for longer always
        5 % less with each of 60 runs                        0 %, 0.5 %
        2 % less with each of 60 runs                        0 %, 97 %

    No curve that settles went on to 100 runs. Real ones, 40 shapes of the example's models on a
    busy machine, took 12 to 22. A window of 8 sees slower falls (2 % instead of
    31 %) and costs four requests more for each shape of each load; with one of 5 a plateau may
    be two runs shorter.
    """

    window: int = 6
    tolerance: float = 0.05
    max_runs: int = 100
    max_s: float = 60.0

    def is_steady(self, latencies_ms: Sequence[float]) -> bool:
        if len(latencies_ms) < 2 * self.window:
            return False
        before_ms = statistics.median(latencies_ms[-2 * self.window : -self.window])
        now_ms = statistics.median(latencies_ms[-self.window :])
        return is_as_fast(before_ms, now_ms, share=self.tolerance)

    def is_back(self, latencies_ms: Sequence[float], steady_ms: float) -> bool:
        """Whether a version is as fast as it was when it had settled after an earlier load."""
        newest = latencies_ms[-RUNS_BACK:]
        return len(newest) == RUNS_BACK and is_as_fast(max(newest), steady_ms, share=BACK_SHARE)

    def is_exhausted(self, *, runs: int, seconds: float) -> bool:
        return runs >= self.max_runs or seconds >= self.max_s

    def curve(
        self, shape: str, latencies_ms: Sequence[float], *, seconds: float, steady: bool
    ) -> Curve:
        """What is kept of a warm-up of one run or more."""
        return Curve(
            shape=shape,
            latencies_ms=_thinned(latencies_ms),
            steady=steady,
            steady_ms=statistics.median(latencies_ms[-self.window :]),
            first_ms=latencies_ms[0],
            runs=len(latencies_ms),
            seconds=seconds,
        )


DEFAULT_RULE = SteadyRule()


def sparkline(curve: Curve) -> str:
    """One character for each kept run; logarithmic, from the lowest latency upwards."""
    runs_ms = [max(latency_ms, CLOCK_MS) for latency_ms in curve.latencies_ms]
    lowest_ms = min(runs_ms)
    full = math.log(max(max(runs_ms) / lowest_ms, FULL_HEIGHT_RATIO))
    heights = (math.log(run_ms / lowest_ms) / full for run_ms in runs_ms)
    return "".join(BARS[round(height * (len(BARS) - 1))] for height in heights)


def _thinned(latencies_ms: Sequence[float]) -> tuple[float, ...]:
    later = latencies_ms[KEPT_FIRST:]
    step = max(1, math.ceil(len(later) / KEPT_LATER))
    return (*latencies_ms[:KEPT_FIRST], *later[::step])
