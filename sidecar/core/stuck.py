"""What becomes of releases and loads for which there is no memory."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from sidecar.core.actions import (
    Blocked,
    LetGo,
    Note,
    SaveRelease,
    SaveServing,
    Settle,
    saved,
)
from sidecar.core.advance import advance
from sidecar.core.ensembles import awaited_parts, waits_to_be_proven
from sidecar.core.fleet import Failure, OperationKind, Server, Snapshot
from sidecar.core.policy import Policy
from sidecar.core.release import BEFORE_PROMOTION, ON_CANARY, PROMOTED, Release, ReleaseState
from sidecar.core.wanted import placement, progress

S = ReleaseState


def give_up(
    snapshot: Snapshot, policy: Policy, blocked: Mapping[str, Blocked], now_s: float
) -> Iterator[Note]:
    """A release or a load that cannot fit ends, and says what it would have taken.

    What was kept and fits no more is let go: nobody waits for it.
    """
    final = {model: obstacle for model, obstacle in blocked.items() if obstacle.is_final}
    for operation in snapshot.operations:
        obstacle = _obstacle(snapshot, Server.SERVING, operation.model, final)
        if operation.kind is OperationKind.LOAD and obstacle is not None:
            error = f"{obstacle}; it is loaded as soon as there is room"
            yield Settle(operation=replace(operation, finished_at_s=now_s, error=error))
    for model, obstacle in _held_up(snapshot, final).items():
        yield from _given_up(snapshot.releases[model], snapshot, policy, obstacle, now_s)
    for model in snapshot.kept if final else ():
        obstacle = _obstacle(snapshot, Server.SERVING, model, final)
        if obstacle is not None and not _is_needed(snapshot, model, obstacle.model):
            yield LetGo(model=model, reason=str(obstacle))


def _is_needed(snapshot: Snapshot, model: str, part: str) -> bool:
    """Whether a release or a request needs a model that lacks room for this part of it."""
    return (
        snapshot.active_release(model) is not None
        or snapshot.active_release(part) is not None
        or not snapshot.waiting.keys().isdisjoint((part, *snapshot.needed_by(part)))
    )


def _held_up(snapshot: Snapshot, blocked: Mapping[str, Blocked]) -> dict[str, Blocked]:
    """Models whose release cannot go on for want of memory, and for what."""
    found = {
        model: _obstacle(snapshot, _server_of(release), model, blocked)
        for model, release in snapshot.releases.items()
        if blocked and release.is_active
    }
    return {model: obstacle for model, obstacle in found.items() if obstacle is not None}


def _obstacle(
    snapshot: Snapshot, server: Server, model: str, blocked: Mapping[str, Blocked]
) -> Blocked | None:
    """What there is no room for: the model, or one of its steps that is to be there before it."""
    wanted = placement(snapshot, server, model)
    if wanted is None:
        awaited = iter(snapshot.composing(model))
    elif progress(snapshot, server, model, wanted).held:
        return None
    else:
        awaited = awaited_parts(snapshot, server, model, wanted)
    return next((blocked[each] for each in (model, *awaited) if each in blocked), None)


def _server_of(release: Release) -> Server:
    return Server.CANARY if release.state in ON_CANARY else Server.SERVING


def _given_up(
    release: Release, snapshot: Snapshot, policy: Policy, obstacle: Blocked, now_s: float
) -> Iterator[Note]:
    if release.state is S.ROLLING_BACK:
        yield from _back_in_the_record(release, snapshot, obstacle, now_s)
        return
    server = _server_of(release)
    wanted = placement(snapshot, server, release.model)
    failed = Failure(
        reason=str(obstacle),
        lost=False,
        attempts=1,
        at_s=now_s,
        config=wanted.config if wanted else "",
        blameless=True,
    )
    seen = replace(snapshot, failures={(server, release.model): failed})
    after = advance(release, seen, policy, now_s)
    if after is not release:
        yield SaveRelease(release=after)


def _back_in_the_record(
    release: Release, snapshot: Snapshot, obstacle: Blocked, now_s: float
) -> Iterator[Note]:
    """A rollback ends when nothing of the model is loaded any more, and nothing can be."""
    view = snapshot.servers[Server.SERVING]
    if release.base is None or view.problem is not None or not view.is_unloaded(release.model):
        return
    later = f"version {release.base} is loaded as soon as there is room: {obstacle}"
    note = f"{release.reason.rstrip(' ;')}; {later}"
    back = release.entered(S.ROLLED_BACK, at_s=now_s, note=note)
    yield SaveServing(model=release.model, version=release.base, reason=note)
    yield from saved(back, now_s)


def untangled(
    snapshot: Snapshot, blocked: Mapping[str, Blocked], now_s: float
) -> Iterator[SaveRelease]:
    """The youngest release gives way when none of those that go on can go on any more.

    Each of them holds what another one needs, or what a request waits for. It says nothing about
    the version.
    """
    active = [release for release in snapshot.releases.values() if release.is_active]
    held_up = _held_up(snapshot, blocked)
    stuck = [release for release in active if release.model in held_up]
    if snapshot.busy or snapshot.checking or not stuck:
        return
    if any(_goes_on(release, snapshot) for release in active if release not in stuck):
        return
    youngest = max(stuck, key=lambda release: (release.steps[0].at_s, release.id))
    others = ", ".join(sorted(release.model for release in active if release is not youngest))
    others = f"the releases of {others}" if others else _requests_held_up(snapshot, blocked)
    if not others or youngest.state not in BEFORE_PROMOTION | PROMOTED:
        return
    note = (
        f"{held_up[youngest.model]}; {others} hold it and cannot go on either: "
        "release it again when they have ended"
    )
    state = S.REFUSED if youngest.state in BEFORE_PROMOTION else S.ROLLING_BACK
    yield SaveRelease(release=youngest.entered(state, at_s=now_s, note=note))


def _requests_held_up(snapshot: Snapshot, blocked: Mapping[str, Blocked]) -> str:
    """Where nobody who waits can be answered for want of memory, for what they wait; else empty."""
    waiting = snapshot.waiting.keys() & snapshot.models.keys()
    if any(blocked.keys().isdisjoint((each, *snapshot.composing(each))) for each in waiting):
        return ""
    return f"requests for {', '.join(sorted(waiting))}" if waiting else ""


def _goes_on(release: Release, snapshot: Snapshot) -> bool:
    """A person may take days, and so may another release that is waited for."""
    waits = release.state is S.ADMITTED and waits_to_be_proven(snapshot, release.model)
    return release.state is not S.AWAITING and release.paused_by is None and not waits
