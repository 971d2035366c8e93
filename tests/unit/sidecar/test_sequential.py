"""Error rates are computed, not simulated: over all ways in which hits and misses can come."""

import math
from collections.abc import Callable
from functools import partial

import pytest

from sidecar.core.sequential import (
    STAKES,
    evidence_above,
    evidence_below,
    evidence_of_gain,
    p_value,
)

RATES = [0.01, 0.1, 0.5, 0.8]


def chance(hits: int, trials: int, rate: float) -> float:
    return math.comb(trials, hits) * rate**hits * (1 - rate) ** (trials - hits)


def chance_of_ever(rejects: Callable[[int, int], bool], rate: float, trials: int) -> float:
    """That a test that is looked at after each of so many trials rejects at least once."""
    going_on = {0: 1.0}
    for trial in range(1, trials + 1):
        after: dict[int, float] = {}
        for hits, weight in going_on.items():
            after[hits] = after.get(hits, 0.0) + weight * (1 - rate)
            after[hits + 1] = after.get(hits + 1, 0.0) + weight * rate
        going_on = {hits: weight for hits, weight in after.items() if not rejects(hits, trial)}
    return 1 - math.fsum(going_on.values())


def rejects_below(hits: int, trials: int, *, rate: float, alpha: float) -> bool:
    return p_value(evidence_below(hits, trials, rate)) <= alpha


def rejects_below_once(hits: int, trials: int, *, rate: float) -> bool:
    """The usual test of fixed size, at 5 %: 1.645 standard errors."""
    error = math.sqrt(rate * (1 - rate) / trials)
    return trials >= 10 and hits / trials <= rate - 1.645 * error


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("evidence", [evidence_above, evidence_below])
def test_the_bet_is_fair_if_the_rate_is_the_one_that_is_bet_against(
    rate: float, evidence: Callable[[int, int, float], float]
) -> None:
    money = [chance(hits, 40, rate) * math.exp(evidence(hits, 40, rate)) for hits in range(41)]
    assert math.fsum(money) == pytest.approx(1)


@pytest.mark.parametrize("rate", RATES)
def test_the_bet_loses_if_the_hypothesis_holds_with_room(rate: float) -> None:
    money = [
        chance(hits, 40, 0.9 * rate) * math.exp(evidence_above(hits, 40, rate))
        for hits in range(41)
    ]
    assert math.fsum(money) < 1


def test_for_a_rate_the_bet_is_the_mean_likelihood_ratio() -> None:
    rates = 0.3 + 0.7 * STAKES
    ratios = (rates / 0.3) ** 7 * ((1 - rates) / 0.7) ** 5
    assert evidence_above(7, 12, 0.3) == pytest.approx(math.log(ratios.mean()))


def test_below_mirrors_above() -> None:
    assert evidence_below(3, 50, 0.2) == pytest.approx(evidence_above(47, 50, 0.8))


@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_looking_after_every_trial_does_not_raise_the_error_rate(rate: float, alpha: float) -> None:
    rejects = partial(rejects_below, rate=rate, alpha=alpha)
    assert 0 < chance_of_ever(rejects, rate, 300) <= alpha


def test_a_test_of_fixed_size_errs_far_more_often_when_it_is_looked_at_again_and_again() -> None:
    rejects = partial(rejects_below_once, rate=0.5)
    assert chance_of_ever(rejects, 0.5, 300) > 0.25


@pytest.mark.parametrize(("true", "trials"), [(0.1, 20), (0.25, 70), (0.4, 500)])
def test_a_true_difference_is_found_with_few_trials(true: float, trials: int) -> None:
    rejects = partial(rejects_below, rate=0.5, alpha=0.05)
    assert chance_of_ever(rejects, true, trials) > 0.9


@pytest.mark.parametrize(
    ("trials", "rate"),
    [(6, 0.5), (19, 0.8)],
    ids=["six pairs, none of them slow", "nineteen vectors, each with the same top"],
)
def test_so_few_trials_can_be_enough(trials: int, rate: float) -> None:
    assert p_value(evidence_above(trials, trials, rate)) <= 0.05
    assert p_value(evidence_above(trials - 1, trials - 1, rate)) > 0.05


@pytest.mark.parametrize(("checks", "pairs"), [(2, 5), (8, 5), (9, 6), (30, 6)])
def test_so_few_pairs_of_scores_in_the_other_order_can_be_enough(checks: int, pairs: int) -> None:
    assert p_value(evidence_below(0, pairs, 0.8)) <= 0.01 / checks
    assert p_value(evidence_below(0, pairs - 1, 0.8)) > 0.01 / checks


def test_nothing_seen_is_no_evidence() -> None:
    assert evidence_above(0, 0, 0.5) == 0
    assert p_value(evidence_above(0, 0, 0.5)) == 1
    assert p_value(evidence_above(0, 100, 0.5)) == 1


def test_millions_of_trials_are_neither_too_many_nor_too_much_alike() -> None:
    assert p_value(evidence_above(10**7, 10**7, 0.01)) == 0
    assert p_value(evidence_above(502_000, 10**6, 0.5)) < 0.05
    assert p_value(evidence_above(500_000, 10**6, 0.5)) > 0.5


def test_more_than_two_outcomes_can_be_bet_on() -> None:
    balanced = {-1.1: 200, -0.1: 600, 0.9: 200}
    lopsided = {-1.1: 10, -0.1: 600, 0.9: 390}
    assert p_value(evidence_of_gain(balanced)) > 0.5
    assert p_value(evidence_of_gain(lopsided)) < 1e-6
