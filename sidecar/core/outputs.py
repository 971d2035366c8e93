"""What two versions' outputs say about the new one."""

from collections.abc import Iterator, Mapping
from math import isfinite

import numpy as np

from sidecar.core.agreement import Agreement
from sidecar.core.odds import Odds, missing
from sidecar.core.sequential import evidence_above, evidence_below, p_value
from sidecar.core.strategy import Outputs, Strategy
from sidecar.core.trial import Trial
from sidecar.core.verdict import Evidence, Ruling


def outputs_against_base(trial: Trial, strategy: Strategy, fail_alpha: float) -> Iterator[Evidence]:
    """Of one request each. What may fail by chance: largest elements, and the order of scores."""
    if strategy.outputs is Outputs.ANY:
        return
    if not trial.outputs:
        yield missing("outputs", "no outputs have been compared yet")
    other = f"version {trial.base}'s"
    for output, agreement in trial.outputs.items():
        if strategy.outputs is Outputs.EQUAL:
            yield _equal(output, agreement, other)
        elif agreement.not_comparable:
            yield _unlike(
                output, agreement, agreement.not_comparable, f"of another kind than {other}"
            )
        elif agreement.rows:
            yield _alike(output, agreement, strategy.least_agreement, fail_alpha)
        else:
            yield _in_order(output, agreement, other, strategy.least_agreement, fail_alpha)


def outputs_against_golden(trial: Trial) -> Iterator[Evidence]:
    for output, agreement in trial.outputs.items():
        yield _equal(output, agreement, "its golden samples")


def _equal(output: str, agreement: Agreement, other: str) -> Evidence:
    different = agreement.requests - agreement.agreeing
    if different:
        return _unlike(output, agreement, different, f"not equal to {other}")
    note = f"{output}: equal to {other} in {agreement.requests} answers"
    return _output(output, Ruling.PASS, note, agreement)


def _unlike(output: str, agreement: Agreement, count: int, how: str) -> Evidence:
    note = f"{count} of {agreement.requests} answers are {how}: {agreement.reason}"
    return _output(output, Ruling.FAIL, note, agreement)


def _output(
    output: str,
    ruling: Ruling,
    note: str,
    agreement: Agreement,
    numbers: Mapping[str, float] | None = None,
) -> Evidence:
    found: dict[str, float] = {"requests": agreement.requests, "agreeing": agreement.agreeing}
    if agreement.errors:
        middle, high = np.quantile(agreement.errors, [0.5, 0.9])
        found |= {"median_error": float(middle), "p90_error": float(high)}
    if isfinite(agreement.largest_error):
        found["largest_error"] = agreement.largest_error
    found |= numbers or {}
    return Evidence(check=f"output: {output}", ruling=ruling, note=note, numbers=found)


def _alike(output: str, agreement: Agreement, least: float, fail_alpha: float) -> Evidence:
    same, rows = agreement.same_top, agreement.rows
    odds = Odds(
        p_bad=p_value(evidence_above(same, rows, least)),
        p_good=p_value(evidence_below(same, rows, least)),
    )
    ruling = odds.ruling(fail_alpha)
    note = f"{output}: the largest element is the same in {same} of {rows} vectors"
    if ruling is Ruling.FAIL:
        note += f", and must be in {least:.0%}"
    elif ruling is Ruling.INCONCLUSIVE:
        note += f", too few to tell from {least:.0%}; more recorded requests would"
    shares = {"rows": rows, "same_top_share": same / rows, "least_share": least}
    return _output(output, ruling, note, agreement, {**shares, **odds.numbers})


def _in_order(
    output: str, agreement: Agreement, other: str, least: float, fail_alpha: float
) -> Evidence:
    """Of pairs of scores: passes until they speak against it, because few may be there."""
    kind = f"{output}: of the same kind as {other} in {agreement.requests} answers"
    same, pairs = agreement.order.same, agreement.order.pairs
    if not pairs:
        return _output(output, Ruling.PASS, kind, agreement)
    p_good = p_value(evidence_below(same, pairs, least))
    numbers = {
        "pairs": pairs,
        "same_order_share": same / pairs,
        "least_share": least,
        "p_good": p_good,
    }
    if p_good <= fail_alpha:
        note = (
            f"{output}: in {same} of {pairs} pairs in the same order as {other}, and must be in "
            f"{least:.0%}"
        )
        return _output(output, Ruling.FAIL, note, agreement, numbers)
    note = f"{kind}, in {same} of {pairs} pairs in the same order"
    return _output(output, Ruling.PASS, note, agreement, numbers)
