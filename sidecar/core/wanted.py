"""What each server should hold, derived from records and releases alone."""

from dataclasses import dataclass

from sidecar.core.fleet import Failure, Server, Snapshot, StoredModel
from sidecar.core.policy import retry_at_s
from sidecar.core.release import BEFORE_PROMOTION, ON_CANARY, WITHOUT_WARMUP, Release, ReleaseState
from sidecar.core.stage_config import stage_config


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Exactly these versions of a model on a server, under this config.

    `lead` is the version whose config (batching, instances, warm-up data) it is.
    """

    versions: tuple[int, ...]
    lead: int
    config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a placement is: held and proven, failed, or neither yet."""

    held: bool
    failure: Failure | None


def wanted_models(snapshot: Snapshot) -> set[str]:
    """Those that the serving server is to hold: few of a large fleet."""
    hot = snapshot.hot_models()
    asked = {name for name, desired in snapshot.desired.items() if desired.loaded}
    chosen = hot | asked | snapshot.kept.keys()
    needed = {part for part in snapshot.ensembles if snapshot.needed_by(part)}
    return (chosen | needed) & snapshot.models.keys()


def serving_versions(snapshot: Snapshot, model: str) -> tuple[int, ...]:
    """Versions that the serving server is to hold, ascending; empty when it is not to.

    Both versions stay from the promotion until the soak is over: rolling back is then a
    change of policy that Triton does in place. A version that the gateway still names stays
    until it does so no longer.
    """
    if not snapshot.is_wanted(model):
        return ()
    release = snapshot.active_release(model)
    recorded = snapshot.serving.get(model)
    if release is None or release.state in BEFORE_PROMOTION:
        versions: set[int | None] = {recorded}
    elif release.state is ReleaseState.ROLLING_BACK:
        is_named = release.version in snapshot.routed.get(model, {})
        versions = {release.base, release.version} if is_named else {release.base}
    elif release.state is ReleaseState.FINISHING or release.keeps_one:
        versions = {release.version}
    else:
        versions = {release.base, release.version}
    return _ascending(versions)


def _ascending(versions: set[int | None]) -> tuple[int, ...]:
    return tuple(sorted(version for version in versions if version is not None))


def placement(snapshot: Snapshot, server: Server, model: str) -> Placement | None:
    """What a server should hold of a model; None when nothing, or when the store lacks it."""
    stored = snapshot.models.get(model)
    if stored is None:
        return None
    release = snapshot.active_release(model)
    if server is Server.SERVING:
        versions = serving_versions(snapshot, model)
        kept = snapshot.kept.get(model)
        on_cpu = kept is not None and kept.on_cpu
        return _placement(stored, release, versions, warmup=True, on_cpu=on_cpu)
    if release is not None and release.state in ON_CANARY:
        return _on_canary(snapshot, stored, release)
    if not _is_needed_on_canary(snapshot, model):
        return None
    return _placement(stored, None, _ascending({snapshot.serving.get(model)}), warmup=True)


def _on_canary(snapshot: Snapshot, stored: StoredModel, release: Release) -> Placement | None:
    if release.state is ReleaseState.AWAITING and not is_mirrored(snapshot, stored.name):
        return None
    if unproven_part(snapshot, stored.name) is not None:
        return None
    held: set[int | None] = {release.version}
    if release.state is ReleaseState.COMPARING:
        held.add(release.base)
    warmup = release.state not in WITHOUT_WARMUP and not snapshot.shadows
    return _placement(stored, release, _ascending(held), warmup=warmup)


def _is_needed_on_canary(snapshot: Snapshot, model: str) -> bool:
    """Whether the release of an ensemble needs the model's serving version beside it.

    A shadow is served by the models of the server that it shares.
    """
    return not snapshot.shadows and any(
        release.state in ON_CANARY
        and model in snapshot.composing(ensemble)
        and _on_canary(snapshot, snapshot.models[ensemble], release) is not None
        for ensemble in snapshot.ensembles.get(model, ())
        if (release := snapshot.active_release(ensemble)) is not None
    )


def unproven_part(snapshot: Snapshot, model: str) -> str | None:
    """The first model of an ensemble's steps with which it cannot be proven now.

    It has not served yet, is missing in the store, or another version of it is being released.
    """
    for part in snapshot.composing(model):
        release = snapshot.active_release(part)
        is_changing = release is not None and release.state is not ReleaseState.ADMITTED
        if part not in snapshot.models or part not in snapshot.serving or is_changing:
            return part
    return None


def is_mirrored(snapshot: Snapshot, model: str) -> bool:
    """Whether canary is to get copies of the model's requests.

    Only for these it holds a version that waits for a person, who may take days.
    """
    said = snapshot.steering.get(model)
    return said is not None and said.mirror > 0


def _placement(
    stored: StoredModel,
    release: Release | None,
    versions: tuple[int, ...],
    *,
    warmup: bool,
    on_cpu: bool = False,
) -> Placement | None:
    if not versions or any(version not in stored.versions for version in versions):
        return None
    lead = _lead(release, versions)
    config = stage_config(
        stored.versions[lead].config, versions=versions, warmup=warmup, on_cpu=on_cpu
    )
    return Placement(versions=versions, lead=lead, config=config)


def _lead(release: Release | None, versions: tuple[int, ...]) -> int:
    if release is not None and release.version in versions:
        return release.version
    return versions[-1]


def is_resting(failure: Failure, now_s: float) -> bool:
    """Whether it is too early for another try.

    Not when it failed in the future: the clock was set back since.
    """
    return failure.at_s <= now_s < retry_at_s(failure.attempts, failure.at_s)


def progress(snapshot: Snapshot, server: Server, model: str, wanted: Placement) -> Progress:
    """How far `wanted` is; a failure counts while it speaks of exactly this placement.

    While something is being done to the model there, what is seen may be about to change.
    """
    view = snapshot.servers[server]
    verified = view.verified.get(model)
    held = (
        view.problem is None
        and (server, model) not in snapshot.busy
        and view.ready(model) == view.answers(model) == frozenset(wanted.versions)
        and view.staged.get(model) == wanted.config
        and verified is not None
        and verified.config == wanted.config
    )
    failure = snapshot.failures.get((server, model))
    speaks_of_this = failure is not None and failure.config == wanted.config
    return Progress(held=held, failure=failure if speaks_of_this and not held else None)
