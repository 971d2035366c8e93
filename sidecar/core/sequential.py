"""Tests that may be looked at after every observation, and stopped at any time.

A test of fixed size that is looked at again and again rejects a true hypothesis sooner or later.
These do not: evidence is the money of somebody who bets against the hypothesis, at odds that are
fair if it is true, so that it grows beyond 1 / alpha with probability alpha at most, whenever and
however often one looks (Ville 1939). Nobody knows the best stake beforehand, so it is spread
evenly over many (mixtures: Robbins 1970; Howard, Ramdas, McAuliffe, Sekhon, Annals of Statistics
49(2), 2021; bets on bounded means: Waudby-Smith, Ramdas, JRSS B 86(1), 2024). For a rate this is
the mean likelihood ratio over a grid of alternatives. A mean over finitely many stakes is a
mixture itself: the grid costs power, never validity.

What must hold: given all that came before, each observation's mean is on the hypothesis' side.
The observations need not be independent or alike.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

STAKES = np.sin((np.arange(256) + 0.5) * np.pi / 512) ** 2
"""Shares of what one can lose at most, in (0, 1); dense at both ends, as Jeffreys' prior is: for
small effects, which need many observations, and for few observations, which need large ones."""


def evidence_above(hits: int, trials: int, rate: float) -> float:
    """Against "a hit has at most this chance", which is above 0; a natural logarithm."""
    return evidence_of_gain({1 - rate: hits, -rate: trials - hits})


def evidence_below(hits: int, trials: int, rate: float) -> float:
    """Against "a hit has at least this chance", which is below 1; a natural logarithm."""
    return evidence_of_gain({rate - 1: hits, rate: trials - hits})


def evidence_of_gain(counts: Mapping[float, int]) -> float:
    """Against "the mean is 0 or below", a natural logarithm.

    `counts` has all values that can occur, at least one of them below 0, and how often they did.
    """
    wealth = np.asarray(tuple(counts.values())) @ _log_factors(tuple(counts))
    most = float(np.max(wealth))
    return most + float(np.log(np.mean(np.exp(wealth - most))))


def p_value(evidence: float) -> float:
    """How likely that much evidence is at most, at any time, if the hypothesis is true."""
    return float(np.exp(-max(evidence, 0.0)))


@lru_cache(maxsize=128)
def _log_factors(values: tuple[float, ...]) -> NDArray[np.float64]:
    """What each value does to each stake, shape (values, stakes)."""
    shares: NDArray[np.float64] = np.outer(values, STAKES) / -min(values)
    return np.log1p(shares)
