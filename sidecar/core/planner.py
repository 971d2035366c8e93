"""`plan(snapshot, policy, now_s)`: what to record and what to do next.

Level-triggered: the plan follows from the snapshot alone, so it does not matter which
wake-up was lost or where the last run was cut off. Notes come first: while there is
something to record, nothing is done, and the next plan starts from the record.

What holds after each prefix of a plan: a version that serves is dropped only by a release
that has proven another one, or when nobody wants the model; nothing loads on `serving` that
has not been proven on `canary`; a server with a problem is left alone.
"""

from collections.abc import Iterator

from contract.intent import Tier
from sidecar.core.actions import (
    Check,
    Ensure,
    Note,
    Plan,
    Remove,
    SaveRelease,
    SaveServing,
    Settle,
    Work,
)
from sidecar.core.advance import advance, roll_back
from sidecar.core.fleet import CheckKind, OperationKind, Server, Snapshot
from sidecar.core.operations import settle
from sidecar.core.policy import Policy, retry_at_s
from sidecar.core.release import Release, ReleaseState, admit, release_id
from sidecar.core.wanted import Placement, placement, progress, serving_versions

INTRODUCED_BY = "pilotlight"


def plan(snapshot: Snapshot, policy: Policy, now_s: float) -> Plan:
    """The next things to do, each with its reason; deterministic."""
    notes = (
        *_advances(snapshot, policy, now_s),
        *_adoptions(snapshot),
        *_introductions(snapshot, now_s),
        *_settled(snapshot, now_s),
    )
    if notes:
        return Plan(notes=notes, wake_at_s=now_s)
    work = (*_removals(snapshot, now_s), *_loads(snapshot, policy, now_s), *_checks(snapshot))
    return Plan(work=work, wake_at_s=_wake_at_s(snapshot, now_s))


def _advances(snapshot: Snapshot, policy: Policy, now_s: float) -> Iterator[Note]:
    for model, release in sorted(snapshot.releases.items()):
        after = _rolled_back_by_request(release, snapshot, now_s)
        if after is release:
            after = advance(release, snapshot, policy, now_s)
        if after is release:
            continue
        if after.state is ReleaseState.DONE and release.state is ReleaseState.FINISHING:
            yield SaveServing(model=model, version=release.version, reason=after.reason)
        if after.state is ReleaseState.ROLLED_BACK and release.base is not None:
            yield SaveServing(model=model, version=release.base, reason=after.reason)
        yield SaveRelease(release=after)


def _rolled_back_by_request(release: Release, snapshot: Snapshot, now_s: float) -> Release:
    for operation in snapshot.operations:
        if (
            operation.kind is OperationKind.ROLLBACK
            and operation.release_id == release.id
            and release.can_roll_back
            and not release.turned_round_since(operation.created_at_s)
        ):
            return roll_back(release, actor=operation.actor, at_s=now_s)
    return release


def _adoptions(snapshot: Snapshot) -> Iterator[Note]:
    """What a server already serves is the truth where the record is lost."""
    for name, model in sorted(snapshot.models.items()):
        ready = snapshot.servers[Server.SERVING].ready(name) & model.versions.keys()
        if ready and name not in snapshot.serving and not snapshot.active_release(name):
            yield SaveServing(model=name, version=max(ready), reason="found serving, no record")


def _introductions(snapshot: Snapshot, now_s: float) -> Iterator[Note]:
    """A wanted model that has never served goes the way of every release, without a base."""
    for name, model in sorted(snapshot.models.items()):
        if not snapshot.is_wanted(name) or name in snapshot.serving:
            continue
        if snapshot.servers[Server.SERVING].ready(name):
            continue
        release = snapshot.releases.get(name)
        if release is None or _worth_another_try(release, snapshot, model.newest):
            yield SaveRelease(
                release=admit(
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
    asked_again = desired is not None and desired.requested_at_s > release.steps[-1].at_s
    return newest != release.version or asked_again


def _settled(snapshot: Snapshot, now_s: float) -> Iterator[Note]:
    for operation in snapshot.operations:
        ended = settle(operation, snapshot, now_s)
        if ended is not None:
            yield Settle(operation=ended)


def _removals(snapshot: Snapshot, now_s: float) -> Iterator[Work]:
    for server, view in snapshot.servers.items():
        if view.problem is not None:
            continue
        for model in sorted(view.staged.keys() | view.index.keys()):
            there = model in view.staged or not view.is_unloaded(model)
            if not there or (server, model) in snapshot.busy:
                continue
            failure = snapshot.failures.get((server, model))
            if (
                failure
                and not failure.config
                and now_s < retry_at_s(failure.attempts, failure.at_s)
            ):
                continue
            reason = _reason_to_remove(snapshot, server, model)
            if reason:
                yield Remove(server=server, model=model, reason=reason)


def _reason_to_remove(snapshot: Snapshot, server: Server, model: str) -> str | None:
    """Why a server should let go of a model, else None.

    A model that vanished from the store keeps serving: an unmounted store must not take
    traffic down.
    """
    if server is Server.SERVING:
        if model not in snapshot.models or serving_versions(snapshot, model):
            return None
        if not snapshot.is_wanted(model):
            return "nobody wants it: its tier is cold and no load was asked for"
        release = snapshot.active_release(model)
        return release.reason if release and release.state is ReleaseState.ROLLING_BACK else None
    wanted = placement(snapshot, server, model)
    if wanted is None:
        return "no release needs it on canary"
    view = snapshot.servers[server]
    if not view.is_unloaded(model) and view.staged.get(model) != wanted.config:
        # A reload of the same version would fail silently; a fresh load cannot.
        return "the next step of its release starts from a fresh load"
    return None


def _loads(snapshot: Snapshot, policy: Policy, now_s: float) -> Iterator[Work]:
    for server, view in snapshot.servers.items():
        if view.problem is not None:
            continue
        free = policy.parallel_loads - sum(1 for busy, _ in snapshot.busy if busy is server)
        due = sorted(
            (_load_order(snapshot, model), model)
            for model in snapshot.models
            if _is_due(snapshot, server, model, now_s)
        )
        for _, model in due[: max(0, free)]:
            wanted = placement(snapshot, server, model)
            if wanted is not None:
                reason = _reason_to_load(snapshot, server, model, wanted)
                yield Ensure(server=server, model=model, placement=wanted, reason=reason)


def _is_due(snapshot: Snapshot, server: Server, model: str, now_s: float) -> bool:
    wanted = placement(snapshot, server, model)
    if wanted is None or (server, model) in snapshot.busy:
        return False
    if server is Server.CANARY and _reason_to_remove(snapshot, server, model):
        return False
    found = progress(snapshot, server, model, wanted)
    failure = found.failure
    return not found.held and (
        failure is None or now_s >= retry_at_s(failure.attempts, failure.at_s)
    )


def _load_order(snapshot: Snapshot, model: str) -> tuple[bool, int]:
    """Hot before cold; the largest first, because it takes longest."""
    stored = snapshot.models[model]
    bytes_on_disk = stored.versions[stored.newest].manifest.cost.disk_bytes
    return stored.tier is not Tier.HOT, -bytes_on_disk


def _reason_to_load(snapshot: Snapshot, server: Server, model: str, wanted: Placement) -> str:
    release = snapshot.active_release(model)
    if release is not None:
        return f"release of version {release.version} is {release.state}"
    ready = snapshot.servers[server].ready(model)
    if ready == frozenset(wanted.versions):
        return "already loaded there: to be adopted once it answers rightly"
    if snapshot.models[model].tier is Tier.HOT:
        return "its tier is hot"
    return "a load was asked for"


def _checks(snapshot: Snapshot) -> Iterator[Work]:
    for model, release in sorted(snapshot.releases.items()):
        if release.id in snapshot.checking:
            continue
        if release.state is ReleaseState.ADMITTED:
            yield Check(kind=CheckKind.FILES, release=release, config="", reason="before any load")
        elif release.state is ReleaseState.VERIFYING:
            wanted = placement(snapshot, Server.CANARY, model)
            if wanted and progress(snapshot, Server.CANARY, model, wanted).held:
                yield Check(
                    kind=CheckKind.GOLDEN,
                    release=release,
                    config=wanted.config,
                    reason="before any warm-up by Triton itself",
                )


def _wake_at_s(snapshot: Snapshot, now_s: float) -> float | None:
    times = [
        release.soak_until_s
        for release in snapshot.releases.values()
        if release.soak_until_s is not None and release.soak_until_s > now_s
    ]
    times += [
        retry
        for failure in snapshot.failures.values()
        if (retry := retry_at_s(failure.attempts, failure.at_s)) > now_s
    ]
    return min(times, default=None)
