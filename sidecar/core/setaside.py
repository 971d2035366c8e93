"""Quarantine: a model that failed too often is left alone for a while, and says why."""

from collections.abc import Iterator
from dataclasses import replace

from sidecar.core.actions import Readmit, SetAside
from sidecar.core.faults import (
    QUARANTINE_AFTER,
    FaultKind,
    classify,
    ends_with_a_restart,
    is_passing,
    quarantine_until_s,
)
from sidecar.core.fleet import Failure, Quarantine, Server, Snapshot
from sidecar.core.release import Release, ReleaseState
from sidecar.core.wanted import placement, progress

OUT_OF_MEMORY_TRIES = 2
ENDED_BADLY = {ReleaseState.REFUSED, ReleaseState.ROLLED_BACK}


def readmissions(snapshot: Snapshot, now_s: float) -> Iterator[Readmit]:
    """A newer version, or a good answer, ends a quarantine; so may a server that comes back."""
    found_at_s = max(view.found_at_s for view in snapshot.servers.values())
    for model, quarantine in sorted(snapshot.quarantine.items()):
        stored = snapshot.models.get(model)
        if stored is None:
            continue
        if stored.newest > quarantine.newest:
            yield Readmit(model=model, reason=f"version {stored.newest} is new")
        elif snapshot.servers[Server.SERVING].answers(model):
            yield Readmit(model=model, reason="it answers rightly again")
        elif (
            quarantine.since_s < found_at_s
            and quarantine.holds(now_s)
            and ends_with_a_restart(quarantine.kind)
        ):
            over = replace(quarantine, until_s=now_s)
            yield Readmit(model=model, reason="a server has started since", over=over)


def set_asides(snapshot: Snapshot, now_s: float) -> Iterator[SetAside]:
    for (server, model), failure in sorted(snapshot.failures.items()):
        known = snapshot.quarantine.get(model)
        if (
            server is Server.SERVING
            and model in snapshot.models
            and snapshot.active_release(model) is None
            and (known is None or failure.at_s > known.since_s)
            and _speaks_of_now(snapshot, model)
            and is_hopeless(failure)
        ):
            yield set_aside(snapshot, model, failure.reason, now_s)
    for model, release in sorted(snapshot.releases.items()):
        known = snapshot.quarantine.get(model)
        ended_at_s = release.steps[-1].at_s
        if (
            release.state in ENDED_BADLY
            and release.base is None
            and model in snapshot.models
            and model not in snapshot.serving
            and snapshot.models[model].newest == release.version
            and snapshot.is_wanted(model)
            and (known is None or ended_at_s > known.since_s)
            and not _was_asked_since(snapshot, model, ended_at_s)
            and not is_of_before(snapshot, release)
        ):
            yield set_aside(snapshot, model, release.reason, now_s)


def is_hopeless(failure: Failure) -> bool:
    """Whether another try at once is no use."""
    kind = classify(failure.reason, lost=failure.lost)
    if failure.lost:
        return False
    if kind is FaultKind.NO_GPU:
        return True
    if kind is FaultKind.OUT_OF_MEMORY:
        return failure.attempts >= OUT_OF_MEMORY_TRIES
    return failure.attempts >= QUARANTINE_AFTER


def _speaks_of_now(snapshot: Snapshot, model: str) -> bool:
    wanted = placement(snapshot, Server.SERVING, model)
    if wanted is None:
        return False
    return progress(snapshot, Server.SERVING, model, wanted).failure is not None


def _was_asked_since(snapshot: Snapshot, model: str, at_s: float) -> bool:
    desired = snapshot.desired.get(model)
    return desired is not None and desired.loaded and desired.requested_at_s > at_s


def is_of_before(snapshot: Snapshot, release: Release) -> bool:
    """Whether a release ended by no fault of its version, before somebody waited for the model."""
    waited_for = (release.model, *snapshot.needed_by(release.model))
    kept_s = [snapshot.kept[each].since_s for each in waited_for if each in snapshot.kept]
    return not release.rejected and any(at_s > release.steps[-1].at_s for at_s in kept_s)


def set_aside(snapshot: Snapshot, model: str, reason: str, now_s: float) -> SetAside:
    """Longer each time; for good where trying again cannot help."""
    known = snapshot.quarantine.get(model)
    times = known.times + 1 if known else 1
    kind = classify(reason, lost=False)
    return SetAside(
        model=model,
        quarantine=Quarantine(
            since_s=now_s,
            until_s=quarantine_until_s(times, now_s) if is_passing(kind) else None,
            times=times,
            newest=snapshot.models[model].newest,
            kind=kind,
            reason=reason,
        ),
    )
