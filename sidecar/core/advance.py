"""When a release moves on: one function per state, from evidence alone.

Missing evidence moves nothing. A server that does not answer is not evidence against a
version, except on the canary when it was lost `Policy.lost_attempts` times in a row.
"""

from collections.abc import Callable
from dataclasses import replace

from sidecar.core.fleet import CheckKind, Server, Snapshot
from sidecar.core.policy import Policy
from sidecar.core.release import BEFORE_PROMOTION, Release, ReleaseState
from sidecar.core.wanted import Progress, placement, progress

S = ReleaseState
Move = tuple[ReleaseState, str] | None


def advance(release: Release, snapshot: Snapshot, policy: Policy, now_s: float) -> Release:
    """The release as far as the snapshot lets it go in one step; itself when it must wait."""
    if _needs_the_store(release, snapshot):
        return release
    move = _missing(release, snapshot) or _MOVES[release.state](release, snapshot, policy, now_s)
    if move is None:
        return release
    state, note = move
    entered = release.entered(state, at_s=now_s, note=note)
    if state is S.SOAKING:
        return replace(entered, soak_until_s=now_s + policy.soak_s)
    return entered


def roll_back(release: Release, *, actor: str, at_s: float) -> Release:
    """The release turned round by request.

    Before the promotion it ends refused; with both versions loaded it goes straight back;
    when it is done, the old version is brought back first.
    """
    note = f"rollback requested by {actor}"
    if release.state in BEFORE_PROMOTION:
        return release.entered(S.REFUSED, at_s=at_s, note=note)
    state = S.RESTORING if release.state is S.DONE else S.ROLLING_BACK
    return release.entered(state, at_s=at_s, note=note)


def _needs_the_store(release: Release, snapshot: Snapshot) -> bool:
    """An unmounted store is no evidence, neither for a version nor against it."""
    if release.state in (S.PROMOTING, S.SOAKING, S.FINISHING):
        return not _is_stored(release.version, release, snapshot)
    return release.state is S.RESTORING and release.model not in snapshot.models


def _missing(release: Release, snapshot: Snapshot) -> Move:
    if release.state in BEFORE_PROMOTION and not _is_stored(release.version, release, snapshot):
        return S.REFUSED, f"version {release.version} is no longer in the store"
    if release.state is S.RESTORING and not _is_stored(release.base, release, snapshot):
        problem = f"version {release.base} cannot be brought back: it is no longer in the store"
        return S.DONE, f"{problem}; version {release.version} keeps serving"
    return None


def _is_stored(version: int | None, release: Release, snapshot: Snapshot) -> bool:
    stored = snapshot.models.get(release.model)
    return stored is not None and version in stored.versions


def _admitted(release: Release, snapshot: Snapshot, _policy: Policy, _now_s: float) -> Move:
    outcome = snapshot.outcomes.get((release.id, CheckKind.FILES))
    if outcome is None:
        return None
    return (S.CANARY_LOADING if outcome.passed else S.REFUSED), outcome.note


def _canary_loading(release: Release, snapshot: Snapshot, policy: Policy, _now_s: float) -> Move:
    return _on_canary(release, snapshot, policy, S.VERIFYING, "loaded on canary without warm-up")


def _verifying(release: Release, snapshot: Snapshot, policy: Policy, _now_s: float) -> Move:
    outcome = snapshot.outcomes.get((release.id, CheckKind.GOLDEN))
    if outcome is not None:
        return (S.CANARY_WARMING if outcome.passed else S.REFUSED), outcome.note
    return _canary_failed(_progress(release, snapshot, Server.CANARY), policy)


def _canary_warming(release: Release, snapshot: Snapshot, policy: Policy, _now_s: float) -> Move:
    return _on_canary(release, snapshot, policy, S.PROMOTING, "model_warmup passed on canary")


def _on_canary(
    release: Release, snapshot: Snapshot, policy: Policy, then: ReleaseState, note: str
) -> Move:
    found = _progress(release, snapshot, Server.CANARY)
    return (then, note) if found and found.held else _canary_failed(found, policy)


def _canary_failed(found: Progress | None, policy: Policy) -> Move:
    failure = found.failure if found else None
    if failure is None:
        return None
    if not failure.lost:
        return S.REFUSED, f"on canary: {failure.reason}"
    if failure.attempts >= policy.lost_attempts:
        return S.REFUSED, f"the canary server was lost {failure.attempts} times: {failure.reason}"
    return None


def _promoting(release: Release, snapshot: Snapshot, policy: Policy, _now_s: float) -> Move:
    found = _progress(release, snapshot, Server.SERVING)
    if found is None:
        return S.FINISHING, "the model is not loaded on serving; nothing to switch"
    if not found.held:
        return _back(found)
    if release.base is None:
        return S.FINISHING, "first version: nothing to soak against"
    both = f"versions {release.base} and {release.version} loaded, warmed and probed"
    return S.SOAKING, f"{both}; soaking for {policy.soak_s:g} s"


def _soaking(release: Release, snapshot: Snapshot, _policy: Policy, now_s: float) -> Move:
    found = _progress(release, snapshot, Server.SERVING)
    if found is not None and not found.held:
        # A soak that nobody could watch to its end has proven nothing.
        return _back(found)
    if release.soak_until_s is not None and now_s >= release.soak_until_s:
        return S.FINISHING, "soak is over"
    return None


def _finishing(release: Release, snapshot: Snapshot, _policy: Policy, _now_s: float) -> Move:
    found = _progress(release, snapshot, Server.SERVING)
    if found is None:
        return S.DONE, f"version {release.version} is recorded; the model is not loaded"
    if found.held:
        return S.DONE, f"version {release.version} serves alone"
    return _back(found)


def _restoring(release: Release, snapshot: Snapshot, _policy: Policy, _now_s: float) -> Move:
    found = _progress(release, snapshot, Server.SERVING)
    if found is None:
        return S.ROLLING_BACK, "the model is not loaded on serving; nothing to switch"
    if found.held:
        return S.ROLLING_BACK, f"version {release.base} is loaded again"
    if found.failure is not None and not found.failure.lost:
        problem = f"version {release.base} cannot be brought back: {found.failure.reason}"
        return S.DONE, f"{problem}; version {release.version} keeps serving"
    return None


def _rolling_back(release: Release, snapshot: Snapshot, _policy: Policy, _now_s: float) -> Move:
    found = _progress(release, snapshot, Server.SERVING)
    if found is None:
        view = snapshot.servers[Server.SERVING]
        gone = view.problem is None and view.is_unloaded(release.model)
        return (S.ROLLED_BACK, release.reason) if gone else None
    return (S.ROLLED_BACK, release.reason) if found.held else None


def _resting(_release: Release, _snapshot: Snapshot, _policy: Policy, _now_s: float) -> Move:
    return None


def _back(found: Progress) -> Move:
    if found.failure is None or found.failure.lost:
        return None
    return S.ROLLING_BACK, f"on serving: {found.failure.reason}"


def _progress(release: Release, snapshot: Snapshot, server: Server) -> Progress | None:
    """What failed before the release came to this state is no evidence against it."""
    wanted = placement(snapshot, server, release.model)
    if wanted is None:
        return None
    found = progress(snapshot, server, release.model, wanted)
    is_old = found.failure is not None and found.failure.at_s < release.steps[-1].at_s
    return replace(found, failure=None) if is_old else found


_MOVES: dict[ReleaseState, Callable[[Release, Snapshot, Policy, float], Move]] = {
    S.ADMITTED: _admitted,
    S.CANARY_LOADING: _canary_loading,
    S.VERIFYING: _verifying,
    S.CANARY_WARMING: _canary_warming,
    S.PROMOTING: _promoting,
    S.SOAKING: _soaking,
    S.FINISHING: _finishing,
    S.DONE: _resting,
    S.RESTORING: _restoring,
    S.ROLLING_BACK: _rolling_back,
    S.ROLLED_BACK: _resting,
    S.REFUSED: _resting,
}
