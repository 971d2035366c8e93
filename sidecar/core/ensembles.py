"""Ensembles: models that are chains of others, which must be there before and leave after them.

An ensemble is proven with the versions of its models that serve, and its golden samples speak of
these alone: an ensemble and its models are released one after the other, its models first.
"""

from collections.abc import Iterator
from dataclasses import replace

from sidecar.core.fleet import Failure, Quarantine, Server, Snapshot
from sidecar.core.release import ReleaseState
from sidecar.core.setaside import is_hopeless
from sidecar.core.wanted import Placement, placement, progress, unproven_part


def awaited_part(snapshot: Snapshot, server: Server, model: str, wanted: Placement) -> str | None:
    """The first model of an ensemble's steps that is to be on a server before it and is not."""
    return next(awaited_parts(snapshot, server, model, wanted), None)


def awaited_parts(
    snapshot: Snapshot, server: Server, model: str, wanted: Placement
) -> Iterator[str]:
    at = Server.SERVING if snapshot.shadows else server
    for part in sorted(snapshot.models[model].composing(*wanted.versions)):
        placed = placement(snapshot, at, part)
        if placed is None or not progress(snapshot, at, part, placed).held:
            yield part


def failure_beneath(
    snapshot: Snapshot, server: Server, model: str, wanted: Placement
) -> Failure | None:
    """Why a model that is to be there before an ensemble cannot be: no evidence against that.

    One that is being released may be at fault itself, and goes back then.
    """
    at = Server.SERVING if snapshot.shadows else server
    for part in awaited_parts(snapshot, server, model, wanted):
        placed = placement(snapshot, at, part)
        if placed is None or snapshot.active_release(part) is not None:
            continue
        failure = progress(snapshot, at, part, placed).failure
        if failure is not None and is_hopeless(failure):
            reason = f"{part}, a model of its steps: {failure.reason}"
            return replace(failure, reason=reason, blameless=True)
    return None


def is_tied(snapshot: Snapshot, server: Server, model: str) -> bool:
    """Whether Triton is about to load an ensemble, with which it looks at its models too."""
    at = Server if snapshot.shadows else (server,)
    return any(
        (each, ensemble) in snapshot.busy
        for ensemble in snapshot.ensembles.get(model, ())
        for each in at
    )


def has_outer(snapshot: Snapshot, server: Server, model: str) -> bool:
    """Whether an ensemble that is leaving a server is still there, which it is to leave first.

    Triton takes an ensemble down with any of its models.
    """
    at = Server if snapshot.shadows else (server,)
    return any(
        placement(snapshot, each, ensemble) is None
        and (
            ensemble in snapshot.servers[each].staged
            or not snapshot.servers[each].is_unloaded(ensemble)
        )
        for ensemble in snapshot.ensembles.get(model, ())
        for each in at
    )


def quarantine_of(snapshot: Snapshot, model: str, now_s: float) -> Quarantine | None:
    """The model's own, or that of a model without which it cannot be loaded."""
    for needed in (model, *snapshot.composing(model)):
        found = snapshot.quarantine.get(needed)
        if found is not None and found.holds(now_s):
            of = "" if needed == model else f"{needed}, a model of its steps: "
            return replace(found, reason=f"{of}{found.reason}")
    return None


def part_is_missing(part: str) -> str:
    return f"{part}, a model of its steps: it is not in the store; build it, or mend the ensemble"


def waits_to_be_proven(snapshot: Snapshot, model: str) -> str | None:
    """What keeps a release from beginning for the sake of an ensemble, else None."""
    part = unproven_part(snapshot, model) or next(
        filter(snapshot.active_release, snapshot.composing(model)), None
    )
    if part is not None:
        return f"{part}, a model of its steps"
    for ensemble in snapshot.ensembles.get(model, ()):
        release = snapshot.active_release(ensemble)
        is_under_way = release is not None and release.state is not ReleaseState.ADMITTED
        if is_under_way and model in snapshot.composing(ensemble):
            return f"the release of ensemble {ensemble}, which is made of it"
    return None


def built_with_others(snapshot: Snapshot, model: str, version: int) -> str | None:
    """Why the golden samples of an ensemble say nothing of the models that serve, else None."""
    composing = snapshot.models[model].versions[version].manifest.composing or {}
    for part, built_with in composing.items():
        serves = snapshot.serving.get(part)
        if serves != built_with:
            return (
                f"its golden samples were made with version {built_with} of {part}, of which "
                f"version {serves} serves: release that version first, or build the ensemble anew"
            )
    return None
