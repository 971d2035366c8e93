"""`plan(snapshot, policy, now_s)`: what to record and what to do next.

Level-triggered: the plan follows from the snapshot alone, so it does not matter which
wake-up was lost or where the last run was cut off. Notes come first: while there is
something to record, nothing is done, and the next plan starts from the record.

What holds after each prefix of a plan: a version that serves is dropped only by a release
that has proven another one, or when nobody wants the model; nothing loads on `serving` that
has not been proven on `canary`; nothing loads that would pass the memory budget at its peak;
a server with a problem is left alone.
"""

from collections.abc import Iterator
from math import inf

from contract.bytes import format_bytes
from sidecar.core.actions import (
    Keep,
    LetGo,
    Note,
    Plan,
    Restart,
    SaveRelease,
    SaveServing,
    SaveTrain,
    Settle,
    Work,
    saved,
)
from sidecar.core.admission import Rooms, admit
from sidecar.core.advance import advance
from sidecar.core.ahead import read_aheads
from sidecar.core.checks import checks, round_times_s
from sidecar.core.driving import drive
from sidecar.core.fleet import (
    DriftKind,
    Server,
    Snapshot,
)
from sidecar.core.ledger import ledger
from sidecar.core.loads import claims, kept_for, loads, rescues
from sidecar.core.operations import settle
from sidecar.core.policy import OnDrift, Policy, Recycle, retry_at_s
from sidecar.core.release import Release, ReleaseState, release_id
from sidecar.core.release import admit as admit_release
from sidecar.core.removals import removals
from sidecar.core.requested import heeded
from sidecar.core.residency import (
    dismissals,
    idle_at_s,
    is_orphan,
    is_set_aside,
    moves,
    prewarm_every_s,
    prewarms,
)
from sidecar.core.setaside import is_of_before, readmissions, set_asides
from sidecar.core.stuck import give_up, untangled
from sidecar.core.wanted import wanted_models
from sidecar.core.worth import Worth

INTRODUCED_BY = "pilotlight"


def plan(snapshot: Snapshot, policy: Policy, now_s: float) -> Plan:
    """The next things to do, each with its reason; deterministic."""
    notes = (
        *_driven(snapshot, now_s),
        *_advances(snapshot, policy, now_s),
        *_adoptions(snapshot),
        *_concessions(snapshot, policy),
        *_introductions(snapshot, now_s),
        *_settled(snapshot, now_s),
        *readmissions(snapshot, now_s),
        *set_asides(snapshot, now_s),
    )
    if notes:
        return Plan(notes=notes, wake_at_s=now_s)
    worth = Worth(snapshot, policy, now_s)
    rooms = Rooms(snapshot, ledger(snapshot, policy), worth)
    for departure in dismissals(snapshot, worth, now_s):
        rooms.dismiss(departure)
    wanted = claims(snapshot, worth, now_s)
    admission = admit(wanted, rooms)
    kept = tuple(kept_for(admission.blocked, rooms, now_s))
    helped = {note.model for note in kept}
    blocked = {name: each for name, each in admission.blocked.items() if name not in helped}
    notes = (
        *give_up(snapshot, policy, blocked, now_s),
        *kept,
        *rescues(snapshot, wanted, rooms, now_s),
    )
    notes = notes or tuple(untangled(snapshot, blocked, now_s))
    rooms.relieve()
    is_tick = now_s >= snapshot.prewarmed_at_s + prewarm_every_s(snapshot)
    if is_tick and not wanted and not rooms.gone:
        notes += tuple(moves(snapshot, worth, rooms, now_s))
        notes += tuple(prewarms(snapshot, policy, worth, rooms, now_s))
    notes += tuple(rooms.gone.values())
    if notes:
        return Plan(notes=notes, blocked=blocked, prewarmed=is_tick, wake_at_s=now_s)
    work = (
        *removals(snapshot, now_s),
        *loads(snapshot, policy, wanted, admission),
        *checks(snapshot, now_s),
        *_restarts(snapshot, policy),
        *(read_aheads(snapshot, policy, worth) if is_tick else ()),
    )
    return Plan(
        work=work,
        blocked=blocked,
        prewarmed=is_tick,
        wake_at_s=_wake_at_s(snapshot, worth, now_s),
    )


def _driven(snapshot: Snapshot, now_s: float) -> Iterator[Note]:
    """Before releases move: a train must see how each of its own has ended."""
    for train in snapshot.trains.values():
        after, begun = drive(train, snapshot, now_s)
        for release in begun:
            yield SaveRelease(release=release)
        if after != train:
            yield SaveTrain(before=train, after=after)


def _advances(snapshot: Snapshot, policy: Policy, now_s: float) -> Iterator[Note]:
    for model, release in sorted(snapshot.releases.items()):
        after = heeded(release, snapshot, now_s)
        if after is release:
            after = advance(release, snapshot, policy, now_s)
        if after is release:
            continue
        is_new = snapshot.serving.get(model) != release.version
        if after.state is ReleaseState.DONE and is_new:
            yield SaveServing(model=model, version=release.version, reason=after.reason)
        if after.state is ReleaseState.ROLLED_BACK and release.base is not None:
            yield SaveServing(model=model, version=release.base, reason=after.reason)
        yield from saved(after, now_s)


def _adoptions(snapshot: Snapshot) -> Iterator[Note]:
    """What a server already serves is the truth where the record is lost."""
    view = snapshot.servers[Server.SERVING]
    for name in sorted(view.index.keys() & snapshot.models.keys() - snapshot.serving.keys()):
        ready = view.ready(name) & snapshot.models[name].versions.keys()
        if ready and not snapshot.active_release(name):
            yield SaveServing(model=name, version=max(ready), reason="found serving, no record")
            if not snapshot.is_wanted(name) and name not in snapshot.desired:
                yield Keep(model=name, reason="found serving, no record")
    for name in sorted(view.verified.keys() & snapshot.serving.keys() & snapshot.models.keys()):
        if is_orphan(snapshot, name):
            yield Keep(model=name, reason="it serves, and nobody has let it go")


def _concessions(snapshot: Snapshot, policy: Policy) -> Iterator[Note]:
    """Where the policy says so, what somebody else did to a proven model stands."""
    if policy.on_drift is not OnDrift.ADOPT:
        return
    for model, drift in snapshot.drift.items():
        if drift.kind is DriftKind.UNLOADED and model in snapshot.kept:
            yield LetGo(model=model, reason="somebody else unloaded it")
        elif drift.kind is DriftKind.LOADED and drift.versions == (snapshot.serving.get(model),):
            yield Keep(model=model, reason="somebody else loaded it")


def _introductions(snapshot: Snapshot, now_s: float) -> Iterator[Note]:
    """A wanted model that has never served goes the way of every release, without a base."""
    view = snapshot.servers[Server.SERVING]
    for name in sorted(wanted_models(snapshot) - snapshot.serving.keys()):
        if is_set_aside(snapshot, name, now_s) or view.ready(name):
            continue
        model = snapshot.models[name]
        release = snapshot.releases.get(name)
        if release is None or _worth_another_try(release, snapshot, model.newest):
            yield SaveRelease(
                release=admit_release(
                    release_id=release_id(name, model.newest, now_s),
                    model=name,
                    version=model.newest,
                    base=None,
                    actor=INTRODUCED_BY,
                    at_s=now_s,
                )
            )


def _worth_another_try(release: Release, snapshot: Snapshot, newest: int) -> bool:
    if release.is_active:
        return False
    desired = snapshot.desired.get(release.model)
    ended_at_s = release.steps[-1].at_s
    asked_again = desired is not None and desired.requested_at_s > ended_at_s
    quarantine = snapshot.quarantine.get(release.model)
    is_over = quarantine is not None and quarantine.since_s >= ended_at_s
    has_changed = asked_again or is_over or is_of_before(snapshot, release)
    return newest != release.version or has_changed


def _settled(snapshot: Snapshot, now_s: float) -> Iterator[Note]:
    for operation in snapshot.operations:
        ended = settle(operation, snapshot, now_s)
        if ended is not None:
            yield Settle(operation=ended)


def _restarts(snapshot: Snapshot, policy: Policy) -> Iterator[Work]:
    """Only while nobody waits and nothing is in flight; all comes back from the record."""
    is_quiet = not snapshot.busy and not snapshot.waiting and not snapshot.checking
    if (
        policy.recycle is Recycle.DO
        and snapshot.leaked_bytes > policy.leak_limit_bytes
        and snapshot.servers[Server.SERVING].problem is None
        and is_quiet
    ):
        leaked = format_bytes(snapshot.leaked_bytes)
        yield Restart(server=Server.SERVING, reason=f"failed loads have kept {leaked}")


def _wake_at_s(snapshot: Snapshot, worth: Worth, now_s: float) -> float | None:
    times = round_times_s(snapshot)
    times += [
        retry
        for failure in snapshot.failures.values()
        if (retry := retry_at_s(failure.attempts, failure.at_s)) > now_s
    ]
    times += [
        quarantine.until_s
        for quarantine in snapshot.quarantine.values()
        if quarantine.until_s is not None and quarantine.until_s > now_s
    ]
    times += [
        idle_s
        for model in snapshot.kept
        if model in snapshot.models and (idle_s := idle_at_s(snapshot, worth, model)) < inf
    ]
    return min((at_s for at_s in times if at_s > now_s), default=None)
