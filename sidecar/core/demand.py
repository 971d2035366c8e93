"""How often a model is asked for: what is remembered of its requests, and what to expect.

Requests are learned of by reading counters once per second or so, hence as "so many since
then". Times are seconds since 1970, or on any other clock that only moves forward. Formulas
and constants come from the study in POLICY.md; its sections are named where they are used.

A gap is a time of at least a second without a request. Shorter pauses belong to a burst and
are no gaps: nothing can be unloaded and reloaded within them, a poll does not see them, and a
burst of thousands must not wash out what was learned of the gaps between bursts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from math import exp, log, pow, sqrt
from statistics import fmean, pstdev

HORIZONS_S: Mapping[str, float] = {"1m": 60.0, "10m": 600.0, "1h": 3600.0, "24h": 86_400.0}
REMEMBERED = 16
"""Times of requests, and the longest of the look-backs below."""
LOOK_BACKS = (1, 2, 4, 8, 16)

SHORTEST_GAP_S = 1.0
BINS = 34
BIN_RATIO = 1.5
"""Bin i holds gaps of 1.5^i to 1.5^(i+1) seconds; the last one begins at 7.5 days."""
DECAY = 0.995
"""Of the quick histogram, for each gap that is added."""
WEEK_S = 7 * 86_400.0
"""The slow histogram decays with time, or many short gaps would hide the rare long ones."""
PRIOR = 0.3
"""Gaps of one's own that the fleet's habits are worth."""

REGULAR_GAPS = 6
REGULAR_SPREAD = 0.25
REGULAR_MEAN_S = 30.0
OVERDUE_SHARE = 0.05
NEAREST_S = 2.0
"""No request is expected sooner than this."""

CACHED = 16_384

_LOG_RATIO = log(BIN_RATIO)
_EDGES_S = tuple(BIN_RATIO**i for i in range(BINS + 1))
_WIDTHS_S = tuple(high - low for low, high in pairwise(_EDGES_S))
_HORIZONS = tuple(HORIZONS_S.values())
_TEN_MINUTES = _HORIZONS.index(600.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What is remembered of one model's requests; there was at least one.

    `recent` are the last 16 times, newest last. `counts` are requests in the order of
    `HORIZONS_S`, each weighing exp(-age / horizon) at the newest request. `by_hour` counts
    requests by hour of the clock's day. `gaps` is the histogram of the last 200 gaps or so,
    quick to learn. `week_gaps` is that of about a week, `week_gaps_s` the time in those gaps and
    `week_bursts_s` the time between them. `burst_since_s` is when the last gap ended.
    """

    requests: int
    first_s: float
    recent: tuple[float, ...]
    counts: tuple[float, ...]
    by_hour: tuple[int, ...]
    gaps: tuple[float, ...]
    week_gaps: tuple[float, ...]
    week_gaps_s: float
    week_bursts_s: float
    burst_since_s: float

    @property
    def last_s(self) -> float:
        return self.recent[-1]


def arrived(demand: Demand | None, *, count: int, since_s: float, until_s: float) -> Demand:
    """Add `count` >= 1 requests, spread evenly over the interval with the last at its end.

    A clock that was set back stands still here until it has caught up.
    """
    if demand is not None:
        since_s = max(since_s, demand.last_s)
        until_s = max(until_s, since_s)
    step_s = (until_s - since_s) / count
    first_s = since_s + step_s if count > 1 else until_s
    newest = tuple(until_s - step_s * back for back in range(min(count, REMEMBERED) - 1, -1, -1))
    if demand is None:
        demand = _nothing_yet(first_s)
    gaps, week_gaps = demand.gaps, demand.week_gaps
    gaps_s, bursts_s = demand.week_gaps_s, demand.week_bursts_s
    burst_since_s = demand.burst_since_s
    if demand.recent and (gap_s := first_s - demand.recent[-1]) >= SHORTEST_GAP_S:
        fade = exp((burst_since_s - first_s) / WEEK_S)
        gaps = _with_gaps(gaps, gap_s, 1, DECAY)
        week_gaps = _with_gaps(week_gaps, gap_s, 1, fade)
        gaps_s = fade * gaps_s + gap_s
        bursts_s = fade * bursts_s + demand.recent[-1] - burst_since_s
        burst_since_s = first_s
    if count > 1 and step_s >= SHORTEST_GAP_S:
        fade = exp(-step_s / WEEK_S)
        gaps = _with_gaps(gaps, step_s, count - 1, DECAY)
        week_gaps = _with_gaps(week_gaps, step_s, count - 1, fade)
        gaps_s = fade ** (count - 1) * gaps_s + _weight(count - 1, fade) * step_s
        bursts_s = fade ** (count - 1) * bursts_s
        burst_since_s = until_s
    elapsed_s = until_s - demand.recent[-1] if demand.recent else 0.0
    hour = int(until_s // 3600) % 24
    by_hour = demand.by_hour
    return Demand(
        requests=demand.requests + count,
        first_s=demand.first_s,
        recent=(demand.recent + newest)[-REMEMBERED:],
        counts=tuple(
            [
                before * exp(-elapsed_s / horizon_s)
                + count * _mean_decay((until_s - since_s) / horizon_s)
                for before, horizon_s in zip(demand.counts, _HORIZONS, strict=True)
            ]
        ),
        by_hour=(*by_hour[:hour], by_hour[hour] + count, *by_hour[hour + 1 :]),
        gaps=gaps,
        week_gaps=week_gaps,
        week_gaps_s=gaps_s,
        week_bursts_s=bursts_s,
        burst_since_s=burst_since_s,
    )


def rates(demand: Demand, now_s: float) -> Mapping[str, float]:
    """Requests per second, over about each of `HORIZONS_S`."""
    idle_s = now_s - demand.last_s
    return {
        name: count * exp(-idle_s / horizon_s) / horizon_s
        for (name, horizon_s), count in zip(HORIZONS_S.items(), demand.counts, strict=True)
    }


def rate_10m(demand: Demand, now_s: float) -> float:
    """As in `rates`: who would wait for one load together (section 2)."""
    return demand.counts[_TEN_MINUTES] * exp((demand.last_s - now_s) / 600.0) / 600.0


@dataclass(frozen=True, slots=True)
class Pool:
    """Habits of the whole fleet: of gaps that reach a bin, the share that ends in it.

    Two digits, so that what follows from them stays the same while the habits do.
    """

    hazards: tuple[float, ...]


def pooled(demands: Iterable[Demand]) -> Pool:
    """Add up all histograms. The newest request of all stands for the present.

    Gaps that are still open count among those that reached a bin: models that are asked for
    once and never again teach patience its limit. All bins start equal, with one gap in total.
    """
    known = tuple(demands)
    ended = [
        sum(column) for column in zip((1 / BINS,) * BINS, *(d.gaps for d in known), strict=True)
    ]
    still_open = [0.0] * BINS
    now_s = max((demand.last_s for demand in known), default=0.0)
    for demand in known:
        still_open[_bin(now_s - demand.last_s)] += 1
    # A gap in bin i has reached bin i; an open gap of that age has outlived only the ones before.
    reached = _sums_from(ended)
    outlived = [*_sums_from(still_open)[1:], 0]
    shares = (
        gone / (ends + lives) for gone, ends, lives in zip(ended, reached, outlived, strict=True)
    )
    return Pool(tuple(float(f"{share:.2g}") for share in shares))


def expected_rate(demand: Demand, pool: Pool, now_s: float) -> float:
    """Requests per second to expect of a model if it is kept now: r of section 2.

    Regular models: one request as soon as the next is due. Others: the geometric mean of how
    often they were asked for and of how soon gaps of this length have ended.
    """
    next_s = _next(demand, now_s)
    if next_s is not None:
        due_s, spread_s = next_s
        return 1.0 / max(due_s - spread_s - now_s, NEAREST_S)
    reuse = _reuse_rate(demand.gaps, pool.hazards, _bin(now_s - demand.last_s))
    return sqrt(gap_rate(demand, now_s) * reuse)


def gap_rate(demand: Demand, now_s: float) -> float:
    """Requests per second: geometric mean of the rates since the 1st, 2nd, 4th... last one.

    Where there are fewer, the rate since the first request stands in. The second that is added
    to each time keeps a request of this moment finite.
    """
    recent = demand.recent
    known = len(recent)
    later_s = max(now_s, demand.last_s) + 1.0
    since_first = demand.requests / (later_s - demand.first_s)
    product = 1.0
    for back in LOOK_BACKS:
        product *= back / (later_s - recent[-back]) if back <= known else since_first
    return pow(product, 1 / len(LOOK_BACKS))


def next_burst_s(demand: Demand, now_s: float) -> float | None:
    """When the next request of a regular model is due; None for others and when overdue."""
    due = _next(demand, now_s)
    return due[0] if due else None


def cold_starts_per_hour(demand: Demand, idle_timeout_s: float) -> float:
    """How often a request would meet an unloaded model: gaps longer than the timeout per hour.

    From about the last week; tell nobody before a day has been seen (section 4).
    """
    if not demand.week_gaps_s:
        return 0.0
    limit_s = idle_timeout_s / _stretch(demand)
    longer = sum(
        weight * log(high / max(low, limit_s)) / _LOG_RATIO
        for weight, (low, high) in zip(demand.week_gaps, pairwise(_EDGES_S), strict=True)
        if high > limit_s
    )
    return 3600.0 * longer / (demand.week_gaps_s + demand.week_bursts_s)


def held_share(demand: Demand, idle_timeout_s: float) -> float:
    """Share of the time, 0 to 1, that the model is loaded when it leaves after the timeout."""
    if not demand.week_gaps_s:
        return 0.0
    stretch = _stretch(demand)
    limit_s = idle_timeout_s / stretch
    absent_s = stretch * sum(
        weight * _mean_excess_s(low, high, limit_s)
        for weight, (low, high) in zip(demand.week_gaps, pairwise(_EDGES_S), strict=True)
    )
    return 1.0 - absent_s / (demand.week_gaps_s + demand.week_bursts_s)


def break_even_per_hour(*, price: float, gib: float, wait_s: float) -> float:
    """Requests per hour above which always loaded beats never kept.

    `price`: cold-start seconds that one GiB-hour is worth; `wait_s`: of one cold start.
    """
    return price * gib / wait_s


def idle_timeout_s(*, price: float, gib: float, wait_s: float) -> float:
    """The idle time whose memory costs as much as the next cold start (section 4).

    At most twice the cost of knowing the next request, whenever that comes.
    """
    return 3600.0 * wait_s / (price * gib) if price * gib > 0 else float("inf")


def keep_warm_value(demand: Demand, *, wait_s: float, gib: float, idle_timeout_s: float) -> float:
    """What holding always saves over leaving when idle: cold-start seconds per GiB-hour.

    Worth it where this reaches the price. 0 where the timeout keeps the model loaded anyway.
    """
    extra_gib = gib * (1.0 - held_share(demand, idle_timeout_s))
    saved_s = cold_starts_per_hour(demand, idle_timeout_s) * wait_s
    return saved_s / extra_gib if extra_gib > 0 else 0.0


def _nothing_yet(first_s: float) -> Demand:
    return Demand(
        requests=0,
        first_s=first_s,
        recent=(),
        counts=(0.0,) * len(_HORIZONS),
        by_hour=(0,) * 24,
        gaps=(0.0,) * BINS,
        week_gaps=(0.0,) * BINS,
        week_gaps_s=0.0,
        week_bursts_s=0.0,
        burst_since_s=first_s,
    )


def _bin(gap_s: float) -> int:
    return min(BINS - 1, int(log(gap_s) / _LOG_RATIO)) if gap_s > SHORTEST_GAP_S else 0


def _weight(gaps: int, decay: float) -> float:
    """Of that many gaps added one after the other, each decaying those before."""
    return (1.0 - decay**gaps) / (1.0 - decay)


def _with_gaps(
    known: tuple[float, ...], gap_s: float, count: int, decay: float
) -> tuple[float, ...]:
    faded = decay**count
    histogram = [faded * weight for weight in known]
    histogram[_bin(gap_s)] += _weight(count, decay)
    return tuple(histogram)


def _mean_decay(age: float) -> float:
    """Mean of exp(-x) for x from 0 to `age`."""
    return (1.0 - exp(-age)) / age if age > 0 else 1.0


def _sums_from(values: list[float]) -> list[float]:
    """Of each value and all behind it."""
    return list(accumulate(reversed(values)))[::-1]


def _mean_excess_s(low_s: float, high_s: float, limit_s: float) -> float:
    """By how much gaps of a bin exceed a limit on average; their logarithms are spread evenly."""
    low_s = max(low_s, limit_s)
    if low_s >= high_s:
        return 0.0
    return (high_s - low_s - limit_s * log(high_s / low_s)) / _LOG_RATIO


def _stretch(demand: Demand) -> float:
    """Time in gaps, as a multiple of what their bins alone would make it."""
    in_bins_s = sum(
        weight * _mean_excess_s(low, high, 0.0)
        for weight, (low, high) in zip(demand.week_gaps, pairwise(_EDGES_S), strict=True)
    )
    return demand.week_gaps_s / in_bins_s


def _next(demand: Demand, now_s: float) -> tuple[float, float] | None:
    """When a regular model's request is due, and the spread of its gaps."""
    rhythm = _rhythm(demand.recent)
    if rhythm is None:
        return None
    mean_s, spread_s = rhythm
    due_s = demand.last_s + mean_s
    overdue_s = due_s + 2 * spread_s + OVERDUE_SHARE * mean_s
    return (due_s, spread_s) if now_s <= overdue_s else None


@lru_cache(CACHED)
def _rhythm(recent: tuple[float, ...]) -> tuple[float, float] | None:
    """Mean and standard deviation of the last gaps of a regular model, else None."""
    if len(recent) <= REGULAR_GAPS or recent[-1] - recent[-1 - REGULAR_GAPS] < (
        REGULAR_GAPS * REGULAR_MEAN_S
    ):
        return None
    gaps = [recent[-back] - recent[-back - 1] for back in range(1, REGULAR_GAPS + 1)]
    mean_s = fmean(gaps)
    spread_s = pstdev(gaps, mean_s)
    return (mean_s, spread_s) if spread_s <= REGULAR_SPREAD * mean_s else None


@lru_cache(CACHED)
def _reuse_rate(gaps: tuple[float, ...], fleet: tuple[float, ...], age: int) -> float:
    """Most likely reuses per second held, over all times that one could hold on for.

    `age` is the bin of the present idle time. In each later bin, the share of gaps that end
    there is one's own, with the fleet's for a prior.
    """
    reached = sum(gaps[age:])
    survives, held_s, best = 1.0, 0.0, 0.0
    for ended, width_s, share in zip(gaps[age:], _WIDTHS_S[age:], fleet[age:], strict=True):
        hazard = min(1.0, (ended + PRIOR * share) / (max(reached, ended) + PRIOR))
        held_s += survives * width_s * (1.0 - hazard / 2)
        survives *= 1.0 - hazard
        best = max(best, (1.0 - survives) / held_s)
        reached -= ended
    return best
