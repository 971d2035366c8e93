"""What is the case, in words for people: warmth of each model, and whether we are ready."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from contract.intent import Tier
from sidecar.core.actions import Blocked
from sidecar.core.driving import pending
from sidecar.core.ensembles import awaited_part, part_is_missing, waits_to_be_proven
from sidecar.core.fleet import Mode, Server, Snapshot
from sidecar.core.moves import has_lost_base, is_stored
from sidecar.core.release import CAN_PROMOTE, ON_CANARY, Release, ReleaseState
from sidecar.core.wanted import Placement, placement, progress, unproven_part
from sidecar.core.worth import needed_because

NOTHING: Mapping[str, Blocked] = MappingProxyType({})


class Warmth(StrEnum):
    """How far a model is from answering at full speed.

    `disk`: only in the store. `page_cache`: its files are in the memory of the machine. `cpu`:
    it serves on the CPU, because its GPU is full. `loaded`: Triton has it. `warmed`: loaded,
    warmed up, and the health query was answered rightly.
    """

    DISK = "disk"
    PAGE_CACHE = "page_cache"
    CPU = "cpu"
    LOADED = "loaded"
    WARMED = "warmed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelStatus:
    """One model now. `serving` is the recorded version; `ready` those that Triton serves.

    `rejected` are versions that are not released again as they are, and why; `pending` is the
    one that a train would release now.
    """

    name: str
    tier: Tier
    warmth: Warmth
    serving: int | None
    ready: tuple[int, ...]
    versions: tuple[int, ...]
    rejected: Mapping[int, str]
    pending: int | None
    release_id: str | None
    reason: str


def model_status(
    snapshot: Snapshot, model: str, blocked: Mapping[str, Blocked] = NOTHING
) -> ModelStatus:
    """`blocked` is that of the present plan."""
    stored = snapshot.models[model]
    view = snapshot.servers[Server.SERVING]
    release = snapshot.releases.get(model)
    return ModelStatus(
        name=model,
        tier=stored.tier,
        warmth=warmth(snapshot, model),
        serving=snapshot.serving.get(model),
        ready=tuple(sorted(view.ready(model))),
        versions=tuple(sorted(stored.versions)),
        rejected={
            version: rejection.reason
            for (name, version), rejection in snapshot.rejected.items()
            if name == model
        },
        pending=_pending(snapshot, model),
        release_id=release.id if release else None,
        reason=_reason(snapshot, model, blocked),
    )


def _pending(snapshot: Snapshot, model: str) -> int | None:
    """While a release goes on, the next one is not thought of."""
    if snapshot.active_release(model) is not None:
        return None
    stored, serving = snapshot.models[model], snapshot.serving.get(model)
    found = pending(stored, serving, snapshot.releases.get(model), snapshot.rejected)
    return None if isinstance(found, str) else found.version


def waits_for(release: Release, snapshot: Snapshot, blocked: Mapping[str, Blocked]) -> str | None:
    """What a release cannot go on without now; None while it can, and when it has ended.

    `blocked` is that of the present plan.
    """
    if not release.is_active:
        return None
    return (
        _person_awaited(release)
        or _server_awaited(release, snapshot)
        or _canary_awaited(release, snapshot)
        or _gateway_awaited(release, snapshot)
        or _base_awaited(release, snapshot)
        or _repair_awaited(release, snapshot)
        or _memory_awaited(release, blocked)
    )


def _person_awaited(release: Release) -> str | None:
    if release.paused_by is not None:
        return f"a person to resume it: {release.paused_by} has paused it"
    is_asking = release.state is ReleaseState.AWAITING
    return "a person to promote or abort it" if is_asking else None


def _server_awaited(release: Release, snapshot: Snapshot) -> str | None:
    if snapshot.mode is not Mode.RUNNING:
        return f"the sidecar, which is {snapshot.mode}"
    if release.state is ReleaseState.ADMITTED:
        return None
    server = Server.CANARY if release.state in ON_CANARY else Server.SERVING
    view = snapshot.servers[server]
    problem = view.problem or view.stage_problem
    return None if problem is None else f"{server}: {problem}"


def _canary_awaited(release: Release, snapshot: Snapshot) -> str | None:
    """Before and on canary, an ensemble waits for its models, and they for it."""
    part = unproven_part(snapshot, release.model)
    if release.state in ON_CANARY | {ReleaseState.ADMITTED} and part is not None:
        return _part_awaited(snapshot, part)
    if release.state is ReleaseState.ADMITTED:
        return waits_to_be_proven(snapshot, release.model)
    wanted = placement(snapshot, Server.CANARY, release.model)
    if release.state not in ON_CANARY or wanted is None:
        return None
    part = awaited_part(snapshot, Server.CANARY, release.model, wanted)
    if part is None:
        return None
    failure = snapshot.failures.get((Server.CANARY, part))
    why = f": {failure.reason}" if failure else ""
    return f"{part}, a model of its steps, on canary{why}"


def _part_awaited(snapshot: Snapshot, part: str) -> str:
    if part not in snapshot.models:
        return part_is_missing(part)
    release = snapshot.active_release(part)
    if release is not None and not snapshot.is_wanted(part):
        reason = f"release of version {release.version}: {release.state}: {release.reason}"
    else:
        reason = _reason(snapshot, part)
    return f"{part}, a model of its steps: {reason}"


def _gateway_awaited(release: Release, snapshot: Snapshot) -> str | None:
    is_routed = snapshot.routed.get(release.model) == release.weights
    if release.state is not ReleaseState.PINNING or is_routed:
        return None
    return f"the gateway to send every request to version {release.base}"


def _base_awaited(release: Release, snapshot: Snapshot) -> str | None:
    is_going_back = release.state is ReleaseState.ROLLING_BACK and release.base is not None
    if is_going_back and not is_stored(release.base, release, snapshot):
        end = f"`abort`, which keeps version {release.version},"
    elif has_lost_base(release, snapshot):
        promotes = release.state in CAN_PROMOTE
        end = "`promote`, which goes on without it," if promotes else "`abort`"
    else:
        return None
    return f"version {release.base}, which is no longer in the store; {end} ends that"


def _repair_awaited(release: Release, snapshot: Snapshot) -> str | None:
    """What stands in its way, is not the version's fault, and is tried again."""
    is_before = release.state in ON_CANARY | {ReleaseState.ADMITTED}
    server = Server.CANARY if is_before else Server.SERVING
    failure = snapshot.failures.get((server, release.model))
    if failure is None or not failure.blameless or failure.at_s < release.entered_at_s:
        return None
    return f"another try: {failure.reason}"


def _memory_awaited(release: Release, blocked: Mapping[str, Blocked]) -> str | None:
    obstacle = blocked.get(release.model)
    return None if obstacle is None else f"memory: {obstacle}"


def unready(snapshot: Snapshot, blocked: Mapping[str, Blocked] = NOTHING) -> list[str]:
    """What keeps us from being ready, one sentence each; empty when we are.

    `blocked` is that of the present plan.

    Ready means: each hot model answers on the serving server. It does not matter what cold
    models do, and a promotion does not matter while a proven version answers. A store that
    vanishes does not matter while what was loaded from it answers.
    """
    view = snapshot.servers[Server.SERVING]
    if view.problem is not None:
        return [f"serving server: {view.problem}"]
    if snapshot.mode is Mode.DRAINING:
        return ["draining, because somebody asked for it"]
    found = [
        f"{name}: {_reason(snapshot, name, blocked)}"
        for name in sorted(snapshot.hot_models())
        if not view.answers(name)
    ]
    if snapshot.models or view.verified:
        return found
    return list(snapshot.store_problems)


def warmth(snapshot: Snapshot, model: str) -> Warmth:
    view = snapshot.servers[Server.SERVING]
    if view.problem is not None or not view.ready(model):
        return Warmth.PAGE_CACHE if model in snapshot.cached else Warmth.DISK
    if not view.answers(model):
        return Warmth.LOADED
    kept = snapshot.kept.get(model)
    return Warmth.CPU if kept is not None and kept.on_cpu else Warmth.WARMED


def _reason(snapshot: Snapshot, model: str, blocked: Mapping[str, Blocked] = NOTHING) -> str:
    problem = snapshot.servers[Server.SERVING].problem
    release = snapshot.active_release(model)
    if problem is not None:
        return f"serving server: {problem}"
    quarantine = snapshot.quarantine.get(model)
    if quarantine is not None and not snapshot.servers[Server.SERVING].answers(model):
        return str(quarantine)
    if not snapshot.is_wanted(model):
        departure = snapshot.departures.get(model)
        return departure.reason if departure else "not asked for yet"
    if release is not None:
        awaited = _server_awaited(release, snapshot) or _canary_awaited(release, snapshot)
        waits = f"waits for {awaited}" if awaited else release.reason
        return f"release of version {release.version}: {release.state}: {waits}"
    return _reason_at_rest(snapshot, model, blocked)


def _reason_at_rest(snapshot: Snapshot, model: str, blocked: Mapping[str, Blocked]) -> str:
    wanted = placement(snapshot, Server.SERVING, model)
    if wanted is not None:
        found = progress(snapshot, Server.SERVING, model, wanted)
        if found.failure is not None:
            return found.failure.reason
        if not found.held:
            return _reason_not_held(snapshot, model, wanted, blocked)
        return _loaded_because(snapshot, model)
    release = snapshot.releases.get(model)
    if release is not None and model not in snapshot.serving:
        return f"version {release.version} was {release.state}: {release.reason}"
    return f"version {snapshot.serving.get(model)} is not in the store"


def _reason_not_held(
    snapshot: Snapshot, model: str, wanted: Placement, blocked: Mapping[str, Blocked]
) -> str:
    stage_problem = snapshot.servers[Server.SERVING].stage_problem
    if stage_problem:
        return f"serving server: {stage_problem}"
    part = awaited_part(snapshot, Server.SERVING, model, wanted)
    if part is not None:
        return f"waits for {_part_awaited(snapshot, part)}"
    return f"waits for memory: {blocked[model]}" if model in blocked else "loading"


def _loaded_because(snapshot: Snapshot, model: str) -> str:
    """Short enough to tell rows of a table apart."""
    desired, kept = snapshot.desired.get(model), snapshot.kept.get(model)
    if snapshot.is_hot(model):
        return "hot"
    if desired is not None and desired.loaded:
        return f"asked for by a person at {_clock(desired.requested_at_s)}"
    if kept is None:
        return needed_because(snapshot, model) or "loaded, warmed and probed"
    if kept.waited_for:
        on_cpu = ", on the CPU: its GPU is full" if kept.on_cpu else ""
        return f"for a request at {_clock(kept.since_s)}{on_cpu}"
    return f"since {_clock(kept.since_s)}: {kept.reason}"


def _clock(at_s: float) -> str:
    """Hour and minute in UTC, as the log has them: `06:28Z`."""
    minutes = int(at_s // 60)
    return f"{minutes // 60 % 24:02}:{minutes % 60:02}Z"
