"""What a step of a release is decided from, and what it is."""

from dataclasses import dataclass, replace

from sidecar.core.ensembles import failure_beneath
from sidecar.core.fleet import CheckKind, Server, Snapshot
from sidecar.core.release import HOLDS_BOTH, Release, ReleaseState
from sidecar.core.trial import Trial
from sidecar.core.verdict import Evidence
from sidecar.core.wanted import Progress, placement, progress


@dataclass(frozen=True, slots=True)
class Move:
    """Where to, and why. `against`: because of what the version itself did."""

    state: ReleaseState
    note: str
    evidence: tuple[Evidence, ...] = ()
    against: bool = False


def is_stored(version: int | None, release: Release, snapshot: Snapshot) -> bool:
    stored = snapshot.models.get(release.model)
    return stored is not None and version in stored.versions


def has_lost_base(release: Release, snapshot: Snapshot) -> bool:
    """Whether the version that is held beside the new one has gone from the store."""
    return (
        release.state in HOLDS_BOTH
        and release.base is not None
        and not release.keeps_one
        and not is_stored(release.base, release, snapshot)
    )


def found_on(release: Release, snapshot: Snapshot, server: Server) -> Progress | None:
    """What failed before the release came to this state is no evidence against it."""
    wanted = placement(snapshot, server, release.model)
    if wanted is None:
        return None
    found = progress(snapshot, server, release.model, wanted)
    failure = found.failure
    if failure is None and not found.held:
        failure = failure_beneath(snapshot, server, release.model, wanted)
    is_old = failure is not None and failure.at_s < release.entered_at_s
    return replace(found, failure=None if is_old else failure)


def watched(release: Release, snapshot: Snapshot) -> Trial | None:
    return snapshot.trials.get((release.id, CheckKind.GUARD))


def watched_s(release: Release, snapshot: Snapshot) -> float:
    trial = watched(release, snapshot)
    return trial.watched_s if trial else 0.0


def next_share(release: Release) -> int | None:
    later = [share for share in release.strategy.shift if share > (release.share or 0)]
    return later[0] if later else None
