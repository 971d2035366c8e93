"""How sure a check must be, and what follows from how sure it is."""

from collections.abc import Mapping
from dataclasses import dataclass

from sidecar.core.verdict import Evidence, Ruling

PASS_ALPHA = 0.05
"""Chance that a check passes what it must not, however often one looks."""
FAIL_ALPHA = 0.01
"""Chance that any check of a trial fails what it must not: each check has its part of it."""


@dataclass(frozen=True, slots=True)
class Odds:
    """How well what was seen goes with two hypotheses, as p-values that hold at any time.

    `p_bad` of "so bad that it must not pass", `p_good` of "so good that it must not fail".
    """

    p_bad: float
    p_good: float

    def ruling(self, fail_alpha: float) -> Ruling:
        if self.p_good <= fail_alpha:
            return Ruling.FAIL
        return Ruling.PASS if self.p_bad <= PASS_ALPHA else Ruling.INCONCLUSIVE

    @property
    def numbers(self) -> Mapping[str, float]:
        return {"p_bad": self.p_bad, "p_good": self.p_good}


def missing(check: str, note: str) -> Evidence:
    return Evidence(check=check, ruling=Ruling.INCONCLUSIVE, note=note)
