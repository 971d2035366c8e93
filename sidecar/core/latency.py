"""What pairs of latencies say about the new version."""

from collections.abc import Iterator
from statistics import median

from sidecar.core.odds import Odds, missing
from sidecar.core.sequential import (
    evidence_above,
    evidence_below,
    evidence_of_gain,
    p_value,
)
from sidecar.core.strategy import Strategy
from sidecar.core.trial import FAR, Race, Trial
from sidecar.core.verdict import Evidence, Ruling

MOST_FAR_SLOWER = 0.1
"""Share of pairs, beyond those that are as much faster."""

MOST_FAR_FASTER = 0.015
"""Share of pairs, up to which what is far slower is held against the version.

On a machine that others keep busy, a thread stays for seconds on the busier core: one of two equal
versions was far slower in 20 to 26 % of the pairs then, and far faster in 2 to 5 %. On a quiet one
1 % are far faster at most (bench/RESULTS.md, 2026-11-22).
"""


def latencies(trial: Trial, strategy: Strategy, fail_alpha: float) -> Iterator[Evidence]:
    """Each shape, and all of them together for the tail."""
    if strategy.latency_margin is None:
        return
    if not trial.races:
        yield missing("latency", "no pair of answers has been timed yet")
        return
    yield from races(trial, strategy, fail_alpha)
    yield _tail(trial, fail_alpha)


def races(trial: Trial, strategy: Strategy, fail_alpha: float) -> Iterator[Evidence]:
    if strategy.latency_margin is None:
        return
    for shape, race in trial.races.items():
        if race.latest:
            yield _race(trial, shape, race, strategy.latency_margin, fail_alpha)
        else:
            yield missing(f"latency: {shape}", f"{shape}: no pair of answers has been timed yet")


def _race(trial: Trial, shape: str, race: Race, margin: float, fail_alpha: float) -> Evidence:
    """A sign test: is at least half of the pairs slower than the margin allows, or at most?"""
    odds = Odds(
        p_bad=p_value(evidence_below(race.slower, race.pairs, 0.5)),
        p_good=p_value(evidence_above(race.slower, race.pairs, 0.5)),
    )
    ruling = odds.ruling(fail_alpha)
    base_ms = median(pair.base_ms for pair in race.latest)
    version_ms = median(pair.version_ms for pair in race.latest)
    note = (
        f"{shape}: more than {margin:.0%} slower than version {trial.base} in {race.slower} of "
        f"{race.pairs} pairs, {_ms(version_ms)} against {_ms(base_ms)}"
    )
    if ruling is Ruling.INCONCLUSIVE:
        note += ", too few to tell"
    return Evidence(
        check=f"latency: {shape}",
        ruling=ruling,
        note=note,
        numbers={
            "pairs": race.pairs,
            "slower_share": race.slower / race.pairs,
            "median_ratio": median(pair.version_ms / pair.base_ms for pair in race.latest),
            "version_median_ms": version_ms,
            "base_median_ms": base_ms,
            "margin": margin,
            **odds.numbers,
        },
    )


def _tail(trial: Trial, fail_alpha: float) -> Evidence:
    """Is it far slower much more often than far faster?

    Noise alone makes many pairs of two equal versions far apart, but as many either way.
    """
    pairs = sum(race.pairs for race in trial.races.values())
    slower = sum(race.far_slower for race in trial.races.values())
    faster = sum(race.far_faster for race in trial.races.values())
    near, most = pairs - slower - faster, MOST_FAR_SLOWER
    odds = Odds(
        p_bad=p_value(evidence_of_gain({most - 1: slower, most: near, most + 1: faster})),
        p_good=p_value(evidence_of_gain({1 - most: slower, -most: near, -1 - most: faster})),
    )
    is_noisy = faster > MOST_FAR_FASTER * pairs
    ruling = odds.ruling(fail_alpha)
    if ruling is Ruling.FAIL and is_noisy:
        ruling = Ruling.INCONCLUSIVE
    note = (
        f"more than {FAR:g} times as slow as version {trial.base} in {slower} of {pairs} pairs, "
        f"more than {FAR:g} times as fast in {faster}"
    )
    if ruling is Ruling.INCONCLUSIVE:
        note += "; others keep the machine busy" if is_noisy else ", too few to tell"
    return Evidence(
        check="tail",
        ruling=ruling,
        note=note,
        numbers={
            "pairs": pairs,
            "far_slower_share": slower / max(pairs, 1),
            "far_faster_share": faster / max(pairs, 1),
            **odds.numbers,
        },
    )


def _ms(latency_ms: float) -> str:
    return f"{latency_ms:.3g} ms"
