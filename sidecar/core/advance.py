"""When a release moves on: one function per state, from evidence alone.

Missing evidence moves nothing forward. A server that does not answer is not evidence against a
version, except on the canary when it was lost `Policy.lost_attempts` times in a row.
"""

from dataclasses import replace

from sidecar.core.ensembles import built_with_others
from sidecar.core.fleet import Server, Snapshot
from sidecar.core.moves import Move, has_lost_base, is_stored, next_share, watched_s
from sidecar.core.policy import Policy
from sidecar.core.proving import PROVING, asked
from sidecar.core.release import BEFORE_PROMOTION, PROMOTED, WATCHED, Release, ReleaseState
from sidecar.core.switching import SWITCHING

S = ReleaseState

_FORWARD = frozenset(S) - {S.REFUSED, S.ROLLING_BACK, S.ROLLED_BACK}
_MOVES = {**PROVING, **SWITCHING}


def advance(release: Release, snapshot: Snapshot, policy: Policy, now_s: float) -> Release:
    """The release as far as the snapshot lets it go in one step; itself when it must wait."""
    if _needs_the_store(release, snapshot):
        return release
    move = _missing(release, snapshot) or _MOVES[release.state](release, snapshot, policy, now_s)
    if move is None:
        return release
    if release.paused_by is not None and move.state in _FORWARD:
        return release
    return _moved(release, snapshot, move, now_s)


def _moved(release: Release, snapshot: Snapshot, move: Move, now_s: float) -> Release:
    seen_s = watched_s(release, snapshot)
    if move.state is release.state:
        after = release.remarked(at_s=now_s, note=move.note, evidence=move.evidence)
        return replace(after, share=next_share(release), watched_from_s=seen_s)
    after = release.entered(move.state, at_s=now_s, note=move.note, evidence=move.evidence)
    if move.state in WATCHED:
        share = release.strategy.shift[0] if move.state is S.SHIFTING else None
        after = replace(after, share=share, watched_from_s=seen_s)
    return replace(after, rejected=release.rejected or move.against)


def _needs_the_store(release: Release, snapshot: Snapshot) -> bool:
    """An unmounted store is no evidence, neither for a version nor against it.

    What the store has lost and the server still holds can be gone back to.
    """
    if release.state in PROMOTED:
        is_there = is_stored(release.version, release, snapshot)
        return not is_there or (has_lost_base(release, snapshot) and _holds_base(release, snapshot))
    return release.state is S.RESTORING and release.model not in snapshot.models


def _holds_base(release: Release, snapshot: Snapshot) -> bool:
    view = snapshot.servers[Server.SERVING]
    return view.problem is not None or release.base in view.ready(release.model)


def _missing(release: Release, snapshot: Snapshot) -> Move | None:
    if release.state in BEFORE_PROMOTION and not is_stored(release.version, release, snapshot):
        return Move(S.REFUSED, f"version {release.version} is no longer in the store")
    if release.state in BEFORE_PROMOTION - {S.ADMITTED}:
        # A model of an ensemble can be rolled back at any time.
        obstacle = built_with_others(snapshot, release.model, release.version)
        if obstacle is not None:
            return Move(S.REFUSED, obstacle)
    if release.state is S.COMPARING and not is_stored(release.base, release, snapshot):
        return asked(release, f"version {release.base} is no longer in the store")
    if has_lost_base(release, snapshot):
        base = f"version {release.base} is neither in the store nor loaded any more"
        return Move(S.FINISHING, f"{base}: nothing to go back to")
    if release.state is S.RESTORING and not is_stored(release.base, release, snapshot):
        problem = f"version {release.base} cannot be brought back: it is no longer in the store"
        return Move(S.DONE, f"{problem}; version {release.version} keeps serving")
    return None
