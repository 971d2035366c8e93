"""From the promotion on: the switch, what is watched after it, and the way back."""

from collections.abc import Callable, Mapping

from sidecar.core.fleet import Server, Snapshot
from sidecar.core.judge import judge_soak
from sidecar.core.moves import Move, found_on, next_share, watched, watched_s
from sidecar.core.policy import Policy
from sidecar.core.release import Release, ReleaseState
from sidecar.core.verdict import Evidence, Ruling
from sidecar.core.wanted import Progress, serving_versions

S = ReleaseState


def _promoting(release: Release, snapshot: Snapshot, policy: Policy, _now_s: float) -> Move | None:
    found = found_on(release, snapshot, Server.SERVING)
    if found is None:
        return Move(S.FINISHING, "the model is not loaded on serving; nothing to switch")
    if not found.held:
        return _back(found)
    if release.base is None:
        return Move(S.FINISHING, "first version: nothing to soak against")
    there = f"versions {release.base} and {release.version} are"
    if release.keeps_one:
        there = f"version {release.version} is alone, after version {release.base} had left:"
    note = f"{there} loaded, warmed and probed"
    if release.strategy.shift:
        return Move(S.SHIFTING, f"{note}; {release.strategy.shift[0]} % of the requests")
    return Move(S.SOAKING, f"{note}; soaking for {soak_of(release, policy):g} s")


def _shifting(release: Release, snapshot: Snapshot, policy: Policy, _now_s: float) -> Move | None:
    found = found_on(release, snapshot, Server.SERVING)
    if found is None:
        return Move(S.FINISHING, "the model was unloaded; nothing to shift")
    worse = _worse(release, snapshot, found)
    if worse is not None or not found.held:
        return worse
    if watched_s(release, snapshot) - release.watched_from_s < release.strategy.bake_s:
        return None
    share = next_share(release)
    watched = f"as good as version {release.base} for {release.strategy.bake_s:g} s"
    if share is None:
        soak_s = soak_of(release, policy)
        return Move(S.SOAKING, f"{watched}; all requests, soaking for {soak_s:g} s")
    return Move(S.SHIFTING, f"{watched}; {share} % of the requests")


def _soaking(release: Release, snapshot: Snapshot, policy: Policy, _now_s: float) -> Move | None:
    found = found_on(release, snapshot, Server.SERVING)
    if found is None:
        return Move(S.FINISHING, "the model was unloaded; nothing to soak")
    worse = _worse(release, snapshot, found)
    # A soak that nobody could watch to its end has proven nothing.
    if worse is not None or not found.held:
        return worse
    soak_s = soak_of(release, policy)
    if (
        is_steered(release, snapshot)
        or watched_s(release, snapshot) - release.watched_from_s < soak_s
    ):
        return None
    return Move(S.FINISHING, f"soak of {soak_s:g} s is over", _soak_evidence(release, snapshot))


def soak_of(release: Release, policy: Policy) -> float:
    """How long both versions are watched after the switch, seconds."""
    said = release.strategy.soak_s
    return policy.soak_s if said is None else said


def is_steered(release: Release, snapshot: Snapshot) -> bool:
    """Whether the gateway still names versions that this release is about to drop."""
    return bool(release.strategy.shift) and release.model in snapshot.routed


def _worse(release: Release, snapshot: Snapshot, found: Progress) -> Move | None:
    """What speaks for going back: a server that fails, or answers that are worse."""
    trial = watched(release, snapshot)
    if trial is not None:
        verdict = judge_soak(trial, release.strategy)
        if verdict.ruling is Ruling.FAIL:
            note = f"on serving: {verdict.note}"
            return Move(S.ROLLING_BACK, note, verdict.evidence, against=True)
    return None if found.held else _back(found)


def _soak_evidence(release: Release, snapshot: Snapshot) -> tuple[Evidence, ...]:
    trial = watched(release, snapshot)
    return judge_soak(trial, release.strategy).evidence if trial else ()


def _finishing(release: Release, snapshot: Snapshot, _policy: Policy, _now_s: float) -> Move | None:
    found = found_on(release, snapshot, Server.SERVING)
    if found is None:
        return Move(S.DONE, f"version {release.version} is recorded; the model is not loaded")
    if found.held:
        return Move(S.DONE, f"version {release.version} serves alone")
    return _back(found)


def _restoring(release: Release, snapshot: Snapshot, _policy: Policy, _now_s: float) -> Move | None:
    found = found_on(release, snapshot, Server.SERVING)
    if found is None:
        return Move(S.ROLLING_BACK, "the model is not loaded on serving; nothing to switch")
    if found.held:
        return Move(S.ROLLING_BACK, f"version {release.base} is loaded again")
    if found.failure is not None and not found.failure.lost:
        problem = f"version {release.base} cannot be brought back: {found.failure.reason}"
        return Move(S.DONE, f"{problem}; version {release.version} keeps serving")
    return None


def _rolling_back(
    release: Release, snapshot: Snapshot, _policy: Policy, _now_s: float
) -> Move | None:
    found = found_on(release, snapshot, Server.SERVING)
    view = snapshot.servers[Server.SERVING]
    is_gone = view.problem is None and view.is_unloaded(release.model)
    if found is None:
        return Move(S.ROLLED_BACK, release.reason) if is_gone else None
    if is_gone and found.failure is not None and not found.failure.lost:
        also = f"version {release.base} cannot be loaded either: {found.failure.reason}"
        return Move(S.ROLLED_BACK, f"{release.reason.rstrip(' ;')}; {also}")
    is_alone = release.version not in serving_versions(snapshot, release.model)
    return Move(S.ROLLED_BACK, release.reason) if found.held and is_alone else None


def _resting(_release: Release, _snapshot: Snapshot, _policy: Policy, _now_s: float) -> None:
    return None


def _back(found: Progress) -> Move | None:
    failure = found.failure
    if failure is None or failure.lost:
        return None
    note = f"on serving: {failure.reason}"
    return Move(S.ROLLING_BACK, note, against=not failure.blameless)


SWITCHING: Mapping[ReleaseState, Callable[[Release, Snapshot, Policy, float], Move | None]] = {
    S.PROMOTING: _promoting,
    S.SHIFTING: _shifting,
    S.SOAKING: _soaking,
    S.FINISHING: _finishing,
    S.DONE: _resting,
    S.RESTORING: _restoring,
    S.ROLLING_BACK: _rolling_back,
    S.ROLLED_BACK: _resting,
    S.REFUSED: _resting,
}
