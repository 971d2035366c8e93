"""What people ask of a release that goes on, and what becomes of it."""

from collections.abc import Callable
from dataclasses import replace

from sidecar.core.fleet import Operation, OperationKind, Snapshot
from sidecar.core.proving import onward
from sidecar.core.release import (
    BEFORE_PROMOTION,
    CAN_PROMOTE,
    PROMOTED,
    Asked,
    Release,
    ReleaseState,
    release_id,
)

S = ReleaseState


def heeded(release: Release, snapshot: Snapshot, now_s: float) -> Release:
    """The release after the first request that it has not heeded yet; itself without one."""
    for operation in snapshot.operations:
        heed = _HEED.get(operation.kind)
        if heed is None or operation.release_id != release.id:
            continue
        if release.has_heeded(operation.id):
            continue
        if can_heed(release, operation.kind, has_base=is_base_stored(release, snapshot)):
            after = heed(release, operation, snapshot, now_s)
            if after is not release:
                return after
    return release


def can_heed(release: Release, kind: OperationKind, *, has_base: bool) -> bool:
    """Whether the release is where such a request means something.

    `has_base`: whether the store still has the version to which it would go back.
    """
    match kind:
        case OperationKind.ROLLBACK:
            return release.can_roll_back
        case OperationKind.PROMOTE:
            return release.state in CAN_PROMOTE
        case OperationKind.PAUSE:
            return release.paused_by is None and release.state in BEFORE_PROMOTION | PROMOTED
        case OperationKind.RESUME:
            return release.paused_by is not None
        case OperationKind.ABORT:
            is_stuck = release.state is S.ROLLING_BACK and not has_base
            return is_stuck or release.state in BEFORE_PROMOTION | PROMOTED | {S.RESTORING}
        case _:
            return False


def _roll_back(
    release: Release, operation: Operation, _snapshot: Snapshot, now_s: float
) -> Release:
    if release.turned_round_since(operation.created_at_s):
        return release
    asked = Asked(operation.actor, operation.id)
    return roll_back(release, f"rollback requested by {operation.actor}", by=asked, at_s=now_s)


def roll_back(release: Release, note: str, *, by: Asked, at_s: float) -> Release:
    """The release turned round.

    Before the promotion it ends refused; with both versions loaded it goes straight back;
    when it is done, the old version is brought back first, where there is room for both.
    """
    state = S.ROLLING_BACK
    if release.state in BEFORE_PROMOTION:
        state = S.REFUSED
    elif release.state is S.DONE and not release.keeps_one:
        state = S.RESTORING
    return release.entered(state, at_s=at_s, note=note, by=by)


def way_back(release: Release, *, by: Asked, at_s: float) -> Release:
    """A release of its own that goes back from what this one did; its record stays as it ended.

    For one that is done and was followed by others: a model's newest record is the one that moves.
    """
    note = f"rollback of release {release.id} requested by {by.actor}"
    turned = roll_back(release, note, by=by, at_s=at_s)
    name = release_id(release.model, release.version, at_s)
    return replace(turned, id=name, actor=by.actor, steps=turned.steps[-1:])


def _promote(release: Release, operation: Operation, snapshot: Snapshot, now_s: float) -> Release:
    """Past what it waits for: a person, the rest of the shift, the rest of the soak."""
    skipped = {
        S.AWAITING: "approved",
        S.SHIFTING: "rest of the shift skipped",
        S.SOAKING: "rest of the soak skipped",
    }
    state = {S.SHIFTING: S.SOAKING, S.SOAKING: S.FINISHING}.get(release.state)
    note = f"{skipped[release.state]}: promotion requested by {operation.actor}"
    asked = Asked(operation.actor, operation.id)
    return release.entered(state or onward(release, snapshot), at_s=now_s, note=note, by=asked)


def _pause(release: Release, operation: Operation, _snapshot: Snapshot, now_s: float) -> Release:
    note = f"paused by {operation.actor}; it still goes back when the version fails"
    asked = Asked(operation.actor, operation.id)
    return replace(release.remarked(at_s=now_s, note=note, by=asked), paused_by=operation.actor)


def _resume(release: Release, operation: Operation, _snapshot: Snapshot, now_s: float) -> Release:
    asked = Asked(operation.actor, operation.id)
    after = release.remarked(at_s=now_s, note=f"resumed by {operation.actor}", by=asked)
    return replace(after, paused_by=None)


def _abort(release: Release, operation: Operation, snapshot: Snapshot, now_s: float) -> Release:
    """To the next of the two ends: the base serves alone, or the new version does."""
    note = f"aborted by {operation.actor}"
    asked = Asked(operation.actor, operation.id)
    if release.state in (S.RESTORING, S.ROLLING_BACK):
        note = f"{note}; version {release.version} keeps serving"
        return release.entered(S.DONE, at_s=now_s, note=note, by=asked)
    return roll_back(release, note, by=asked, at_s=now_s)


def is_base_stored(release: Release, snapshot: Snapshot) -> bool:
    stored = snapshot.models.get(release.model)
    return stored is not None and release.base in stored.versions


_HEED: dict[OperationKind, Callable[[Release, Operation, Snapshot, float], Release]] = {
    OperationKind.ROLLBACK: _roll_back,
    OperationKind.PROMOTE: _promote,
    OperationKind.PAUSE: _pause,
    OperationKind.RESUME: _resume,
    OperationKind.ABORT: _abort,
}
