"""Which evidence is to be gathered now for the releases that go on."""

from collections.abc import Iterator

from sidecar.core.actions import Check
from sidecar.core.ensembles import waits_to_be_proven
from sidecar.core.fleet import CheckKind, Failure, Server, Snapshot
from sidecar.core.release import ReleaseState
from sidecar.core.trial import Trial
from sidecar.core.wanted import is_resting, placement, progress

EVERY_S = {CheckKind.COMPARE: 0.1, CheckKind.GUARD: 1.0}
"""Between the end of a round and the next, for the others on the server."""

S = ReleaseState

_CHECKS: dict[ReleaseState, tuple[CheckKind, Server | None, str]] = {
    S.ADMITTED: (CheckKind.FILES, None, "before any load"),
    S.VERIFYING: (CheckKind.GOLDEN, Server.CANARY, "before any warm-up by Triton itself"),
    S.MEASURING: (CheckKind.MEASURE, Server.CANARY, "before it is held against another version"),
    S.COMPARING: (CheckKind.COMPARE, Server.CANARY, "before any request of a client"),
    S.SHIFTING: (CheckKind.GUARD, Server.SERVING, "while requests are shifted to it"),
    S.SOAKING: (CheckKind.GUARD, Server.SERVING, "while the version before is still there"),
}


def checks(snapshot: Snapshot, now_s: float) -> Iterator[Check]:
    for model, release in sorted(snapshot.releases.items()):
        found = _CHECKS.get(release.state)
        if found is None or release.id in snapshot.checking:
            continue
        kind, server, reason = found
        trial = snapshot.trials.get((release.id, kind))
        if release.paused_by is not None and kind is not CheckKind.GUARD:
            continue
        if release.state is S.ADMITTED and waits_to_be_proven(snapshot, model) is not None:
            continue
        failure = snapshot.failures.get((server or Server.CANARY, model))
        if _is_too_early(kind, trial, failure, now_s):
            continue
        if server is None:
            yield Check(kind=kind, release=release, config="", reason=reason)
            continue
        wanted = placement(snapshot, server, model)
        if wanted is not None and progress(snapshot, server, model, wanted).held:
            yield Check(
                kind=kind, release=release, config=wanted.config, reason=reason, trial=trial
            )


def _is_too_early(
    kind: CheckKind, trial: Trial | None, failure: Failure | None, now_s: float
) -> bool:
    """After the last round, or after what is not the version's fault.

    A clock that was set back makes nobody wait.
    """
    if failure is not None and failure.blameless and is_resting(failure, now_s):
        return True
    return trial is not None and 0 <= now_s - trial.looked_at_s < EVERY_S[kind]


def round_times_s(snapshot: Snapshot) -> list[float]:
    """When the next rounds are due."""
    return [
        trial.looked_at_s + EVERY_S[kind]
        for release in snapshot.releases.values()
        if release.state in _CHECKS
        and (kind := _CHECKS[release.state][0]) in EVERY_S
        and (trial := snapshot.trials.get((release.id, kind))) is not None
    ]
