"""Whether a new version may replace the one that serves, from what both did with the same requests.

Each check passes, fails, or is inconclusive; docs/judge.md has the reasons and the error rates.

A version that does not deserve it passes with probability `PASS_ALPHA` at most: all checks must
pass, so the one that it violates must err, and none needs a correction for the others
(intersection-union test: Berger 1982). One that deserves it fails by chance with probability
`FAIL_ALPHA` at most: that is divided among the checks that can. Both hold however often one looks.
The order of scores is the exception: it passes as long as nothing speaks against it.
"""

from collections.abc import Iterator
from dataclasses import replace

from sidecar.core.latency import latencies, races
from sidecar.core.leak import leak
from sidecar.core.odds import FAIL_ALPHA, missing
from sidecar.core.outputs import outputs_against_base, outputs_against_golden
from sidecar.core.sequential import evidence_above, p_value
from sidecar.core.strategy import Strategy
from sidecar.core.trial import Served, Trial
from sidecar.core.verdict import Evidence, Ruling, Verdict

MORE_FAILURES = 0.01
"""By how much the failing share of clients' requests may rise."""


def judge_comparison(trial: Trial, strategy: Strategy) -> Verdict:
    """Of the two versions side by side on canary.

    An obstacle stands for everything that is not known because of it.
    """
    ordered = sum(each.has_order for each in trial.outputs.values())
    fail_alpha = FAIL_ALPHA / (ordered + len(trial.races) + 1)
    evidence = (
        _answers(trial),
        *outputs_against_base(trial, strategy, fail_alpha),
        *latencies(trial, strategy, fail_alpha),
        *leak(trial.memory),
    )
    if trial.obstacle is not None:
        against = (each for each in evidence if each.ruling is Ruling.FAIL)
        evidence = (missing("comparison", trial.obstacle), *against)
    return Verdict(evidence=evidence)


def judge_soak(trial: Trial, strategy: Strategy) -> Verdict:
    """Of the new version while it serves: passes as long as nothing speaks against it."""
    fail_alpha = FAIL_ALPHA / (len(trial.races) + 1)
    found = (
        *outputs_against_golden(trial),
        *races(trial, strategy, fail_alpha),
        *leak(trial.memory),
        *_traffic(trial, fail_alpha),
    )
    unless_it_fails = (
        each if each.ruling is Ruling.FAIL else replace(each, ruling=Ruling.PASS) for each in found
    )
    return Verdict(evidence=(_watched(trial), *unless_it_fails))


def served_since(trial: Trial, version: int) -> Served:
    """What a server has counted in the trial; it counts from 0 again after a load."""
    before = trial.served_before.get(version, Served())
    now = trial.served.get(version, Served())
    if now.succeeded < before.succeeded or now.failed < before.failed:
        return now
    return Served(succeeded=now.succeeded - before.succeeded, failed=now.failed - before.failed)


def _answers(trial: Trial) -> Evidence:
    if trial.failures:
        return _failed(trial, f"of the requests that version {trial.base} answered")
    if trial.unasked:
        # A rare request may be the one that matters.
        return missing("answers", f"{trial.unasked} different requests are still to be asked")
    if not trial.requests and not any(race.pairs for race in trial.races.values()):
        return missing("answers", "no request has been answered by both versions yet")
    return Evidence(
        check="answers",
        ruling=Ruling.PASS,
        note=f"answered {trial.requests} different requests, {trial.recorded} of them recorded",
        numbers={"requests": trial.requests, "recorded": trial.recorded},
    )


def _failed(trial: Trial, which: str) -> Evidence:
    return Evidence(
        check="answers",
        ruling=Ruling.FAIL,
        note=f"version {trial.version} failed on {trial.failures} {which}: {trial.failure}",
        numbers={"failures": trial.failures},
    )


def _watched(trial: Trial) -> Evidence:
    if trial.failures:
        return _failed(trial, "of our requests while it served")
    if trial.obstacle is not None or not trial.rounds:
        return missing("answers", trial.obstacle or "nobody has looked at it yet")
    note = f"watched for {trial.watched_s:.0f} s in {trial.rounds} rounds"
    return Evidence(
        check="answers",
        ruling=Ruling.PASS,
        note=note,
        numbers={"rounds": trial.rounds, "watched_s": trial.watched_s},
    )


def _traffic(trial: Trial, fail_alpha: float) -> Iterator[Evidence]:
    """Does a larger share of clients' requests fail than failed with the old version?

    The larger of the old version's shares, before the trial and in it, is the reference: what
    clients do wrong hits both. A limit that rises only takes evidence away.
    """
    new = served_since(trial, trial.version)
    shares = [
        each.failed / (each.failed + each.succeeded)
        for each in (trial.served_before.get(trial.base, Served()), served_since(trial, trial.base))
        if each.failed + each.succeeded
    ]
    limit = max(shares, default=0.0) + MORE_FAILURES
    requests = new.succeeded + new.failed
    if not requests:
        return
    p_good = p_value(evidence_above(new.failed, requests, limit))
    yield Evidence(
        check="traffic",
        ruling=Ruling.FAIL if p_good <= fail_alpha else Ruling.PASS,
        note=f"{new.failed} of {requests} requests of clients failed; {limit:.1%} may",
        numbers={
            "requests": requests,
            "failed_share": new.failed / requests,
            "limit_share": limit,
            "p_good": p_good,
        },
    )
