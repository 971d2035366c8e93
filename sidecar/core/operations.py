"""When an operation that somebody asked for has ended, and how; and what it waits for."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from sidecar.core.actions import Blocked
from sidecar.core.ensembles import part_is_missing, quarantine_of
from sidecar.core.fleet import Mode, Operation, OperationKind, Server, Snapshot
from sidecar.core.release import Release, ReleaseState
from sidecar.core.requested import can_heed, is_base_stored
from sidecar.core.status import waits_for
from sidecar.core.wanted import placement, progress


def settle(operation: Operation, snapshot: Snapshot, now_s: float) -> Operation | None:
    """The ended operation, or None while it goes on."""
    result = _ENDED[operation.kind](operation, snapshot, now_s)
    if result is None:
        return None
    return replace(operation, finished_at_s=now_s, error=result or None)


def awaited(operation: Operation, snapshot: Snapshot, blocked: Mapping[str, Blocked]) -> str | None:
    """What an operation cannot go on without now; None while it can, and when it has ended.

    `blocked` is that of the present plan.
    """
    if operation.finished_at_s is not None:
        return None
    if operation.kind in {OperationKind.LOAD, OperationKind.UNLOAD}:
        return _awaited_by_model(operation, snapshot, blocked)
    release = snapshot.releases.get(operation.model)
    if release is None or _was_followed(operation, release):
        return None
    return waits_for(release, snapshot, blocked)


def _awaited_by_model(
    operation: Operation, snapshot: Snapshot, blocked: Mapping[str, Blocked]
) -> str | None:
    model, view = operation.model, snapshot.servers[Server.SERVING]
    if snapshot.mode is not Mode.RUNNING:
        return f"the sidecar, which is {snapshot.mode}"
    if problem := view.problem or view.stage_problem:
        return f"{Server.SERVING}: {problem}"
    if model not in snapshot.models:
        return f"the store, where {model} is missing"
    release = snapshot.active_release(model)
    if release is not None and model not in snapshot.serving:
        waits = waits_for(release, snapshot, blocked)
        return waits and f"the release of version {release.version}, which waits for {waits}"
    if operation.kind is OperationKind.LOAD and model in blocked:
        return f"memory: {blocked[model]}"
    failure = snapshot.failures.get((Server.SERVING, model))
    is_news = failure is not None and failure.at_s >= operation.created_at_s
    return f"another try: {failure.reason}" if failure and is_news else None


# Each function below returns None while the operation goes on, "" when it succeeded, else
# the error.


def _load(operation: Operation, snapshot: Snapshot, now_s: float) -> str | None:
    model = operation.model
    if not snapshot.is_wanted(model):
        return "superseded: the model was asked to be unloaded"
    quarantine = quarantine_of(snapshot, model, now_s)
    if quarantine is not None:
        return f"in quarantine: {quarantine}"
    missing = [part for part in snapshot.composing(model) if part not in snapshot.models]
    if missing:
        return part_is_missing(missing[0])
    wanted = placement(snapshot, Server.SERVING, model)
    if wanted is None:
        return _first_version(operation, snapshot)
    found = progress(snapshot, Server.SERVING, model, wanted)
    if found.held:
        return ""
    failure = found.failure
    is_news = failure and not failure.lost and failure.at_s >= operation.created_at_s
    return failure.reason if failure and is_news else None


def _first_version(operation: Operation, snapshot: Snapshot) -> str | None:
    release = snapshot.releases.get(operation.model)
    if release and not release.is_active and release.steps[-1].at_s >= operation.created_at_s:
        return f"version {release.version}: {release.reason}"
    return None


def _unload(operation: Operation, snapshot: Snapshot, _now_s: float) -> str | None:
    model = operation.model
    if snapshot.is_hot(model) or snapshot.is_asked_for(model):
        return "superseded: the model was asked to be loaded"
    kept, desired = snapshot.kept.get(model), snapshot.desired.get(model)
    if kept is not None and desired is not None and kept.since_s > desired.requested_at_s:
        return "superseded: a request came for the model"
    ensembles = snapshot.needed_by(model)
    if ensembles:
        return f"it stays, needed by ensemble {', '.join(ensembles)}: unload that first"
    view = snapshot.servers[Server.SERVING]
    gone = view.problem is None and view.is_unloaded(model) and model not in view.staged
    return "" if gone else None


def _release(operation: Operation, snapshot: Snapshot, _now_s: float) -> str | None:
    release = snapshot.releases.get(operation.model)
    if _was_followed(operation, release):
        return "another release has followed; this one's end is in its own record"
    if release is None or release.is_active:
        return None
    return "" if release.state is ReleaseState.DONE else f"{release.state}: {release.reason}"


def _rollback(operation: Operation, snapshot: Snapshot, _now_s: float) -> str | None:
    release = snapshot.releases.get(operation.model)
    if _was_followed(operation, release):
        return "another release has followed; this one's end is in its own record"
    if release is None or release.is_active:
        return None
    if not release.turned_round_since(operation.created_at_s):
        # A release that went back by itself just before has nothing left to roll back.
        return None if release.can_roll_back else ""
    return release.reason if release.state is ReleaseState.DONE else ""


def _heeded(operation: Operation, snapshot: Snapshot, _now_s: float) -> str | None:
    """A request about a release, which may have moved on before it was heeded."""
    release = snapshot.releases.get(operation.model)
    if release is None or _was_followed(operation, release):
        return "another release has followed; this one's end is in its own record"
    if release.has_heeded(operation.id):
        return ""
    if can_heed(release, operation.kind, has_base=is_base_stored(release, snapshot)):
        return None
    return f"too late to {operation.kind}: the release is {release.state}: {release.reason}"


def _abort(operation: Operation, snapshot: Snapshot, now_s: float) -> str | None:
    result = _heeded(operation, snapshot, now_s)
    release = snapshot.releases.get(operation.model)
    is_going_back = result == "" and release is not None and release.is_active
    return None if is_going_back else result


def _was_followed(operation: Operation, newest: Release | None) -> bool:
    return newest is not None and newest.id != operation.release_id


_ENDED: dict[OperationKind, Callable[[Operation, Snapshot, float], str | None]] = {
    OperationKind.LOAD: _load,
    OperationKind.UNLOAD: _unload,
    OperationKind.RELEASE: _release,
    OperationKind.ROLLBACK: _rollback,
    OperationKind.PROMOTE: _heeded,
    OperationKind.PAUSE: _heeded,
    OperationKind.RESUME: _heeded,
    OperationKind.ABORT: _abort,
}
