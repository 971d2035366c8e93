"""Before the promotion: what moves a version on that has met no request of a client."""

from collections.abc import Callable, Mapping

from sidecar.core.ensembles import built_with_others, waits_to_be_proven
from sidecar.core.fleet import CheckKind, Outcome, Server, Snapshot
from sidecar.core.judge import judge_comparison
from sidecar.core.moves import Move, found_on
from sidecar.core.peak import shortfall
from sidecar.core.policy import Policy
from sidecar.core.release import Release, ReleaseState
from sidecar.core.strategy import Approval
from sidecar.core.verdict import Evidence, Ruling, Verdict
from sidecar.core.wanted import Progress, placement

S = ReleaseState


def onward(release: Release, snapshot: Snapshot) -> ReleaseState:
    """Where a version goes that may have traffic."""
    is_loaded = placement(snapshot, Server.SERVING, release.model) is not None
    return S.PINNING if release.strategy.shift and is_loaded else S.PROMOTING


def _admitted(release: Release, snapshot: Snapshot, policy: Policy, now_s: float) -> Move | None:
    outcome = snapshot.outcomes.get((release.id, CheckKind.FILES))
    if outcome is None:
        return None
    if not outcome.passed:
        return Move(S.REFUSED, outcome.note, against=True)
    if waits_to_be_proven(snapshot, release.model):
        return None
    obstacle = built_with_others(snapshot, release.model, release.version)
    obstacle = obstacle or shortfall(release, snapshot, policy, now_s)
    if obstacle is not None:
        return Move(S.REFUSED, obstacle)
    return Move(S.CANARY_LOADING, outcome.note)


def _canary_loading(
    release: Release, snapshot: Snapshot, policy: Policy, _now_s: float
) -> Move | None:
    return _on_canary(release, snapshot, policy, S.VERIFYING, "loaded on canary without warm-up")


def _verifying(release: Release, snapshot: Snapshot, policy: Policy, _now_s: float) -> Move | None:
    return _checked(release, snapshot, policy, CheckKind.GOLDEN, S.CANARY_WARMING)


def _canary_warming(
    release: Release, snapshot: Snapshot, policy: Policy, _now_s: float
) -> Move | None:
    then = S.PROMOTING if release.base is None else S.MEASURING
    note = "model_warmup passed on canary"
    if snapshot.composing(release.model):
        note = "an ensemble has no warm-up of its own: its models are warm"
    elif snapshot.shadows:
        note = (
            "model_warmup is left to serving: the shadow shares its server, which a failing "
            "warm-up can kill; the same requests were answered as ordinary ones"
        )
    return _on_canary(release, snapshot, policy, then, note)


def _measuring(release: Release, snapshot: Snapshot, policy: Policy, _now_s: float) -> Move | None:
    then = S.COMPARING
    if not release.strategy.compares:
        manual = release.strategy.approval is Approval.MANUAL
        then = S.AWAITING if manual else onward(release, snapshot)
    return _checked(release, snapshot, policy, CheckKind.MEASURE, then)


def _comparing(release: Release, snapshot: Snapshot, policy: Policy, _now_s: float) -> Move | None:
    trial = snapshot.trials.get((release.id, CheckKind.COMPARE))
    if trial is None:
        found = found_on(release, snapshot, Server.CANARY)
        if found is not None and found.failure is not None and not found.failure.lost:
            beside = f"version {release.base} cannot be loaded beside it on canary"
            return asked(release, f"{beside}: {found.failure.reason}")
        return _canary_failed(found, snapshot, policy)
    verdict = judge_comparison(trial, release.strategy)
    if verdict.ruling is Ruling.FAIL:
        return Move(S.REFUSED, f"on canary: {verdict.note}", verdict.evidence, against=True)
    if verdict.ruling is Ruling.PASS:
        return _passed(release, snapshot, verdict)
    if trial.obstacle or trial.watched_s >= release.strategy.longest_comparison_s:
        return asked(release, verdict.note, verdict.evidence)
    return _canary_failed(found_on(release, snapshot, Server.CANARY), snapshot, policy)


def _passed(release: Release, snapshot: Snapshot, verdict: Verdict) -> Move:
    count = len(verdict.evidence)
    note = f"no worse than version {release.base} in {count} checks, all on the same requests"
    if release.strategy.approval is Approval.MANUAL:
        asks = f"{note}; waits for :promote or :abort, as its strategy says"
        return Move(S.AWAITING, asks, verdict.evidence)
    return Move(onward(release, snapshot), note, verdict.evidence)


def asked(release: Release, why: str, evidence: tuple[Evidence, ...] = ()) -> Move:
    note = f"not known whether version {release.version} is as good: {why}"
    return Move(S.AWAITING, f"{note}; a person must say :promote or :abort", evidence)


def _awaiting(_release: Release, _snapshot: Snapshot, _policy: Policy, _now_s: float) -> None:
    return None


def _checked(
    release: Release, snapshot: Snapshot, policy: Policy, kind: CheckKind, then: ReleaseState
) -> Move | None:
    outcome: Outcome | None = snapshot.outcomes.get((release.id, kind))
    if outcome is None:
        return _canary_failed(found_on(release, snapshot, Server.CANARY), snapshot, policy)
    if outcome.passed:
        return Move(then, outcome.note, outcome.evidence)
    return Move(S.REFUSED, outcome.note, outcome.evidence, against=True)


def _on_canary(
    release: Release, snapshot: Snapshot, policy: Policy, then: ReleaseState, note: str
) -> Move | None:
    found = found_on(release, snapshot, Server.CANARY)
    return Move(then, note) if found and found.held else _canary_failed(found, snapshot, policy)


def _canary_failed(found: Progress | None, snapshot: Snapshot, policy: Policy) -> Move | None:
    failure = found.failure if found else None
    if failure is None:
        return None
    if not failure.lost:
        return Move(S.REFUSED, f"on canary: {failure.reason}", against=not failure.blameless)
    # A shadow that is lost has taken the serving server down with it.
    most = 1 if snapshot.shadows else policy.lost_attempts
    if failure.attempts >= most and not failure.blameless:
        lost = f"the canary server was lost {failure.attempts} times: {failure.reason}"
        return Move(S.REFUSED, lost, against=True)
    return None


def _pinning(release: Release, snapshot: Snapshot, _policy: Policy, _now_s: float) -> Move | None:
    if placement(snapshot, Server.SERVING, release.model) is None:
        return Move(S.PROMOTING, "the model is not loaded on serving; nothing to shift")
    found = found_on(release, snapshot, Server.SERVING)
    if found is not None and found.failure is not None and not found.failure.lost:
        silent = f"version {release.base} does not answer: {found.failure.reason}"
        return Move(S.PROMOTING, f"{silent}; nothing to shift")
    if snapshot.routed.get(release.model) == release.weights:
        return Move(S.PROMOTING, f"the gateway sends every request to version {release.base}")
    return None


PROVING: Mapping[ReleaseState, Callable[[Release, Snapshot, Policy, float], Move | None]] = {
    S.ADMITTED: _admitted,
    S.CANARY_LOADING: _canary_loading,
    S.VERIFYING: _verifying,
    S.CANARY_WARMING: _canary_warming,
    S.MEASURING: _measuring,
    S.COMPARING: _comparing,
    S.AWAITING: _awaiting,
    S.PINNING: _pinning,
}
