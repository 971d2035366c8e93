"""What the servers are to load: who claims memory, in which order, and who may start now."""

from collections.abc import Iterator, Mapping

from sidecar.core.actions import Blocked, Ensure, Keep, SetAside, Work
from sidecar.core.admission import Admission, Claim, Rooms
from sidecar.core.ensembles import awaited_part, is_tied
from sidecar.core.faults import FaultKind, classify
from sidecar.core.fleet import Server, Snapshot, VersionState
from sidecar.core.ledger import added_bytes
from sidecar.core.memory import CPU
from sidecar.core.policy import Policy
from sidecar.core.removals import reason_to_remove
from sidecar.core.residency import arrivals, is_set_aside
from sidecar.core.setaside import set_aside
from sidecar.core.wanted import Placement, is_resting, placement, progress, wanted_models
from sidecar.core.worth import Worth, needed_because


def claims(snapshot: Snapshot, worth: Worth, now_s: float) -> tuple[Claim, ...]:
    """All loads that are due, and those that somebody waits for, most urgent first."""
    due = [
        (_load_order(snapshot, model), _claim(snapshot, worth, server, model))
        for server, view in snapshot.servers.items()
        if view.problem is None
        for model in _worth_a_look(snapshot, server)
        if _is_due(snapshot, server, model, now_s)
    ]
    waited_for = [
        (
            _load_order(snapshot, model),
            Claim(server=Server.SERVING, model=model, need=worth.brought(model)),
        )
        for model in arrivals(snapshot, now_s)
    ]
    ordered = sorted([*due, *waited_for], key=lambda each: (*each[0], each[1].server))
    return tuple(claim for _, claim in ordered)


def _worth_a_look(snapshot: Snapshot, server: Server) -> set[str]:
    """The models that a server may be to hold: most of a large fleet are not among them."""
    active = {name for name, release in snapshot.releases.items() if release.is_active}
    released = active & snapshot.models.keys()
    if server is Server.SERVING:
        return wanted_models(snapshot) | released
    beside = {part for model in released for part in snapshot.composing(model)}
    return released | (beside & snapshot.models.keys())


def _claim(snapshot: Snapshot, worth: Worth, server: Server, model: str) -> Claim:
    """What a due load adds to what the server holds of the model."""
    is_apart = server is Server.CANARY and worth.policy.canary_apart
    need = {} if is_apart else added_bytes(snapshot, worth.gpus, server, model)
    return Claim(server=server, model=model, need=need)


def kept_for(blocked: Mapping[str, Blocked], rooms: Rooms, now_s: float) -> Iterator[Keep]:
    """Models that somebody waits for, on the CPU where the GPU is full and the policy allows."""
    worth = rooms.worth
    for model in arrivals(rooms.snapshot, now_s):
        obstacle = blocked.get(model)
        if obstacle is None:
            yield Keep(model=model, reason="a request waits for it", waited_for=True)
        elif worth.policy.cpu_while_full and obstacle.device != CPU and worth.can_go_to_cpu(model):
            need = worth.needed(model, on_cpu=True)
            if rooms.fits(need):
                rooms.take(need)
                reason = f"a request waits for it, and {obstacle.device} is full"
                yield Keep(model=model, reason=reason, waited_for=True, on_cpu=True)


def rescues(
    snapshot: Snapshot, claims: tuple[Claim, ...], rooms: Rooms, now_s: float
) -> Iterator[SetAside]:
    """A server that ran out of memory gets room for one more try, or the model goes aside."""
    for claim in claims:
        if not _awaits_room(snapshot, claim) or rooms.is_anybody_leaving():
            continue
        if not rooms.make_again(claim) and not rooms.gone:
            failure = snapshot.failures[claim.server, claim.model]
            yield set_aside(snapshot, claim.model, failure.reason, now_s)


def _awaits_room(snapshot: Snapshot, claim: Claim) -> bool:
    """Whether the server has run out of memory under a claim, and none was given back since.

    After its quarantine a model is simply tried again, and a release ends by itself.
    """
    failure = snapshot.failures.get((claim.server, claim.model))
    if claim.server is not Server.SERVING or failure is None or failure.lost:
        return False
    if snapshot.active_release(claim.model) is not None:
        return False
    quarantine = snapshot.quarantine.get(claim.model)
    was_set_aside = quarantine is not None and quarantine.since_s >= failure.at_s
    return (
        not was_set_aside
        and classify(failure.reason, lost=False) is FaultKind.OUT_OF_MEMORY
        and snapshot.unloaded_at_s < failure.at_s
    )


def loads(
    snapshot: Snapshot, policy: Policy, claims: tuple[Claim, ...], admission: Admission
) -> Iterator[Work]:
    """Admitted claims, as many as a server may load at a time."""
    free = {
        server: policy.parallel_loads
        - sum(busy is server or snapshot.shadows for busy, _ in snapshot.busy)
        for server in snapshot.servers
    }
    for claim in claims:
        server, model = claim.server, claim.model
        wanted = placement(snapshot, server, model)
        if free[server] <= 0 or wanted is None or (server, model) not in admission.admitted:
            continue
        if _awaits_room(snapshot, claim):
            continue
        for taken in snapshot.servers if snapshot.shadows else (server,):
            free[taken] -= 1
        reason = _reason_to_load(snapshot, server, model, wanted)
        yield Ensure(server=server, model=model, placement=wanted, reason=reason)


def _is_due(snapshot: Snapshot, server: Server, model: str, now_s: float) -> bool:
    wanted = placement(snapshot, server, model)
    if wanted is None or (server, model) in snapshot.busy:
        return False
    # Loaded again before it has gone, it would be in memory twice. What is loading though we do
    # nothing was begun by a process before this one, and is adopted when it is there.
    under_way = {VersionState.UNLOADING, VersionState.LOADING}
    if under_way.intersection(snapshot.servers[server].index.get(model, {}).values()):
        return False
    if server is Server.SERVING and is_set_aside(snapshot, model, now_s):
        return snapshot.active_release(model) is not None
    if reason_to_remove(snapshot, server, model):
        return False
    is_in_turn = not is_tied(snapshot, server, model) and (
        awaited_part(snapshot, server, model, wanted) is None
    )
    if not is_in_turn or not _can_be_staged(snapshot, server, model, wanted):
        return False
    found = progress(snapshot, server, model, wanted)
    failure = found.failure
    return not found.held and not (failure and is_resting(failure, now_s))


def _can_be_staged(snapshot: Snapshot, server: Server, model: str, wanted: Placement) -> bool:
    """What is loaded already takes no stage, and what is staged only one that the server sees."""
    view = snapshot.servers[server]
    problem = view.stage_problem
    if problem is None:
        return True
    is_loaded = view.ready(model) == frozenset(wanted.versions)
    return view.staged.get(model) == wanted.config and (is_loaded or not problem.blinds)


def _load_order(snapshot: Snapshot, model: str) -> tuple[bool, bool, int, float, int, str]:
    """Who is waited for, then hot, then by priority; the largest first: it takes longest.

    A model goes before the most urgent of the ensembles that need it.
    """
    stored = snapshot.models[model]
    urgency = min(_urgency(snapshot, each) for each in (model, *snapshot.needed_by(model)))
    return (*urgency, -stored.versions[stored.newest].manifest.cost.disk_bytes, model)


def _urgency(snapshot: Snapshot, model: str) -> tuple[bool, bool, int, float]:
    return (
        model not in snapshot.waiting,
        not snapshot.is_hot(model),
        -snapshot.models[model].intent.priority,
        snapshot.waiting.get(model, 0.0),
    )


def _reason_to_load(snapshot: Snapshot, server: Server, model: str, wanted: Placement) -> str:
    release = snapshot.active_release(model)
    if release is not None:
        return f"release of version {release.version} is {release.state}"
    ready = snapshot.servers[server].ready(model)
    if ready == frozenset(wanted.versions):
        return "already loaded there: to be adopted once it answers rightly"
    if snapshot.is_hot(model):
        return "its tier is hot"
    kept = snapshot.kept.get(model)
    if kept is not None:
        return kept.reason
    return needed_because(snapshot, model) or "a load was asked for"
