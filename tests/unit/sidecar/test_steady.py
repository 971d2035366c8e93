"""The rule against curves whose true latency is known; chance is seeded."""

import itertools
import math
import random
from collections.abc import Callable, Iterator

import pytest
from pydantic import TypeAdapter

from contract.latency import is_as_fast
from sidecar.core.steady import DEFAULT_RULE, KEPT_FIRST, KEPT_LATER, Curve, SteadyRule, sparkline

STEADY_MS = 20.0
CURVES = 200
Level = Callable[[int], float]


def decaying(runs: float) -> Level:
    """Ten times steady at first; the excess falls by 1/e in so many runs."""
    return lambda run: STEADY_MS * (1 + 9 * math.exp(-run / runs))


def dropping(after: int) -> Level:
    return lambda run: 10 * STEADY_MS if run < after else STEADY_MS


def sinking(share: float) -> Level:
    """For sixty runs."""
    return lambda run: STEADY_MS * (1 - share) ** (min(run, 60) - 60)


def flat(run: int) -> float:
    return STEADY_MS


def noisy(
    level: Level, noise: float, seed: int, *, outliers: float = 0, factor: float = 10
) -> Iterator[float]:
    chance = random.Random(seed)  # noqa: S311
    run = 0
    while True:
        outlier = factor if chance.random() < outliers else 1
        yield level(run) * math.exp(chance.gauss(0, noise)) * outlier
        run += 1


def runs_until_it_stops(latencies: Iterator[float], rule: SteadyRule = DEFAULT_RULE) -> int:
    taken: list[float] = []
    while not rule.is_steady(taken) and not rule.is_exhausted(runs=len(taken), seconds=0):
        taken.append(next(latencies))
    return len(taken)


def stops(level: Level, noise: float, **disturbed: float) -> list[int]:
    return [runs_until_it_stops(noisy(level, noise, seed, **disturbed)) for seed in range(CURVES)]


def share_too_early(level: Level, runs: list[int]) -> float:
    """Of the curves whose next request a caller would still find slow."""
    slow = [run for run in runs if not is_as_fast(level(run), STEADY_MS, share=0.25)]
    return len(slow) / len(runs)


@pytest.mark.parametrize("noise", [0.02, 0.1, 0.3])
@pytest.mark.parametrize(
    "level",
    [flat, decaying(1), decaying(2), decaying(4), dropping(1), dropping(6), dropping(12)],
    ids=["flat", "decay 1", "decay 2", "decay 4", "drop 1", "drop 6", "drop 12"],
)
def test_a_curve_that_settles_soon_is_not_left_early_and_always_left(
    level: Level, noise: float
) -> None:
    runs = stops(level, noise)

    assert share_too_early(level, runs) == 0
    assert max(runs) < 50


@pytest.mark.parametrize(
    ("level", "noise", "at_most"),
    [(decaying(8), 0.1, 0.01), (decaying(16), 0.02, 0.01), (sinking(0.05), 0.1, 0.03)],
    ids=["decay 8", "decay 16", "sinking"],
)
def test_a_slow_fall_is_seen_where_it_is_larger_than_the_noise(
    level: Level, noise: float, at_most: float
) -> None:
    runs = stops(level, noise)

    assert share_too_early(level, runs) <= at_most
    assert max(runs) < DEFAULT_RULE.max_runs


@pytest.mark.parametrize(
    "disturbed", [{"outliers": 0.05}, {"outliers": 0.5, "factor": 2}], ids=["outliers", "bimodal"]
)
def test_disturbed_requests_neither_end_a_warm_up_nor_prolong_it_much(
    disturbed: dict[str, float],
) -> None:
    assert share_too_early(decaying(2), stops(decaying(2), 0.05, **disturbed)) == 0
    assert max(stops(flat, 0.05, **disturbed)) < 30


def test_two_windows_must_be_seen() -> None:
    rule = SteadyRule(window=3)

    assert not rule.is_steady([7.0] * 5)
    assert rule.is_steady([7.0] * 6)


def test_half_a_millisecond_is_no_fall() -> None:
    rule = SteadyRule(window=2)

    assert rule.is_steady([1.0, 1.0, 0.5, 0.5])
    assert not rule.is_steady([1.1, 1.1, 0.5, 0.5])


def test_what_rises_has_settled() -> None:
    """A machine that grows busy does not keep a model from being ready."""
    assert SteadyRule(window=2).is_steady([10.0, 10.0, 90.0, 90.0])


def test_runs_and_seconds_are_bounded() -> None:
    rule = SteadyRule(max_runs=10, max_s=5.0)

    assert not rule.is_exhausted(runs=9, seconds=4.9)
    assert rule.is_exhausted(runs=10, seconds=0.0)
    assert rule.is_exhausted(runs=1, seconds=5.0)


def test_a_curve_keeps_the_beginning_and_an_even_choice_of_the_rest() -> None:
    latencies = [float(run) for run in range(1000, 0, -1)]

    curve = DEFAULT_RULE.curve("batch 8", latencies, seconds=2.5, steady=False)

    assert curve.latencies_ms[:KEPT_FIRST] == tuple(latencies[:KEPT_FIRST])
    later = curve.latencies_ms[KEPT_FIRST:]
    assert len(later) <= KEPT_LATER
    assert {before - after for before, after in itertools.pairwise(later)} == {31.0}
    assert (curve.first_ms, curve.steady_ms, curve.runs) == (1000.0, 3.5, 1000)
    assert not curve.steady


def test_a_curve_survives_json() -> None:
    curve = DEFAULT_RULE.curve("batch 8, len 128", [40.0] + [2.0] * 20, seconds=0.25, steady=True)
    codec = TypeAdapter(Curve)

    assert codec.validate_json(codec.dump_json(curve)) == curve
    assert curve.steady


@pytest.mark.parametrize(
    ("latencies", "expected"),
    [
        ([400.0, 90.0, 30.0, 10.0, 10.0, 11.0], "█▅▃▁▁▁"),
        ([10.0, 10.2, 9.9, 10.1], "▁▁▁▁"),
        ([10.0, 15.0, 20.0], "▁▅█"),
        ([5.0], "▁"),
        ([1.0, 0.0], "█▁"),
    ],
)
def test_a_sparkline_shows_the_fall_and_not_the_noise(
    latencies: list[float], expected: str
) -> None:
    assert sparkline(DEFAULT_RULE.curve("batch 1", latencies, seconds=1.0, steady=True)) == expected
