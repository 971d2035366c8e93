"""Which models stay loaded: a record per model, changed only for a reason that is told.

A model is kept from the moment that somebody waits for it, or that it is worth loading ahead;
it is let go when its memory is needed for another, when holding it costs more than its next
cold start, or when a person says so.
"""

from collections.abc import Iterator
from itertools import islice
from math import ceil, inf

from contract.intent import Tier
from sidecar.core.actions import Keep, LetGo, Note
from sidecar.core.admission import Rooms, departures
from sidecar.core.fleet import Server, Snapshot
from sidecar.core.memory import CPU
from sidecar.core.policy import Policy
from sidecar.core.ranking import PREWARM_EVERY_S, Resident, choose_prewarms
from sidecar.core.worth import Worth, stays_because

MOVE_AFTER_S = 60.0
"""On the CPU at least so long: a move costs a load."""

VALUED_AT_ONCE = 500
"""Absent models that one plan looks at; valuing so many takes about 5 ms."""


def dismissals(snapshot: Snapshot, worth: Worth, now_s: float) -> Iterator[LetGo]:
    """Kept models that nobody needs any more."""
    for model, kept in sorted(snapshot.kept.items()):
        desired = snapshot.desired.get(model)
        if desired is not None and not desired.loaded and desired.requested_at_s >= kept.since_s:
            yield LetGo(model=model, reason="a person asked to unload it")
        elif model not in snapshot.models:
            continue
        elif is_set_aside(snapshot, model, now_s) and stays_because(snapshot, model) is None:
            yield LetGo(model=model, reason="in quarantine, and nobody waits for it")
        elif now_s >= idle_at_s(snapshot, worth, model):
            idle_s = now_s - worth.last_used_s(model)
            timeout_s = worth.idle_timeout_s(model)
            yield LetGo(
                model=model,
                reason=f"idle for {idle_s:.0f} s; after {timeout_s:.0f} s holding it costs more "
                "than its next cold start",
                numbers={
                    "idle_s": idle_s,
                    "idle_timeout_s": timeout_s,
                    "cold_start_s": worth.counted_s(model),
                    "held_bytes": float(sum(worth.brought(model).values())),
                },
            )


def is_orphan(snapshot: Snapshot, model: str) -> bool:
    """Whether a model serves that was hot until now: it may be busy, and goes when it is idle.

    One that an ensemble needed goes after it.
    """
    return (
        bool(snapshot.servers[Server.SERVING].answers(model))
        and not snapshot.is_wanted(model)
        and not any(
            each in snapshot.desired or each in snapshot.departures
            for each in (model, *snapshot.ensembles.get(model, ()))
        )
        and (Server.SERVING, model) not in snapshot.busy
        and snapshot.active_release(model) is None
    )


def idle_at_s(snapshot: Snapshot, worth: Worth, model: str) -> float:
    """When a kept model will have been idle for too long; infinite when it never will."""
    is_needed = snapshot.needed_by(model) or stays_because(snapshot, model)
    if snapshot.models[model].tier is Tier.WARM or is_needed:
        return inf
    return worth.last_used_s(model) + worth.idle_timeout_s(model)


def arrivals(snapshot: Snapshot, now_s: float) -> tuple[str, ...]:
    """Models that somebody waits for and that are not wanted yet; who waits longest first."""
    return tuple(
        model
        for model, _ in sorted(snapshot.waiting.items(), key=lambda each: (each[1], each[0]))
        if model in snapshot.models
        and not snapshot.is_wanted(model)
        and not is_set_aside(snapshot, model, now_s)
    )


def is_set_aside(snapshot: Snapshot, model: str, now_s: float) -> bool:
    quarantine = snapshot.quarantine.get(model)
    return quarantine is not None and quarantine.holds(now_s)


def moves(snapshot: Snapshot, worth: Worth, rooms: Rooms, now_s: float) -> Iterator[Keep]:
    """Models on the CPU whose GPU has room again; back to where they serve if that fails."""
    for model, kept in sorted(snapshot.kept.items()):
        if model not in snapshot.models or (Server.SERVING, model) in snapshot.busy:
            continue
        failure = snapshot.failures.get((Server.SERVING, model))
        if kept.on_cpu and failure is None and now_s >= kept.since_s + MOVE_AFTER_S:
            need = worth.needed(model)
            if CPU not in need and rooms.fits(need):
                rooms.take(need)
                yield Keep(model=model, reason=f"{', '.join(need)} has room for it again")
        elif not kept.on_cpu and failure is not None and worth.serves_on_cpu(model):
            reason = f"it could not be moved and stays on the CPU: {failure.reason}"
            yield Keep(model=model, reason=reason, on_cpu=True)


def prewarms(
    snapshot: Snapshot, policy: Policy, worth: Worth, rooms: Rooms, now_s: float
) -> Iterator[Note]:
    """Voluntary loads: what is worth its memory more than what would have to go for it.

    Only while no load is in flight, so that none stands in the way of a request.
    """
    if not policy.prewarm or snapshot.busy or snapshot.waiting:
        return
    for device in sorted(rooms.accounts):
        absent = list(_worth_loading(snapshot, policy, worth, device, now_s))
        if not absent:
            continue
        free_bytes = max(0, rooms.soon_free(device))
        chosen = choose_prewarms(absent, rooms.residents(device), free_bytes)
        for candidate, victims in chosen:
            for victim in victims:
                departure = LetGo(
                    model=victim.model,
                    reason=f"evicted for {candidate.model}, which is worth more",
                    evicted=True,
                    score=victim.score,
                    numbers={"score": victim.score, "score_of_other": candidate.score},
                )
                yield from departures(snapshot, departure)
            yield Keep(
                model=candidate.model,
                reason=_reason_to_load_ahead(snapshot, candidate),
                numbers={
                    "score": candidate.score,
                    "held_bytes": candidate.held_bytes,
                    "cold_start_s": worth.counted_s(candidate.model),
                },
            )


def _worth_loading(
    snapshot: Snapshot, policy: Policy, worth: Worth, device: str, now_s: float
) -> Iterator[Resident]:
    """Absent models of a device that may be loaded without being asked for.

    A warm model always may; others where their score pays the memory's price, which only a
    score in cold-start seconds can.
    """
    parts = _parts(snapshot)
    part = int(now_s // prewarm_every_s(snapshot)) % parts
    for model, stored in islice(snapshot.models.items(), part, None, parts):
        if stored.tier is Tier.COLD or (
            stored.tier is not Tier.WARM and model not in snapshot.demand
        ):
            continue
        if (
            snapshot.is_wanted(model)
            or is_set_aside(snapshot, model, now_s)
            or not snapshot.servers[Server.SERVING].is_unloaded(model)
            or _was_unloaded_by_hand(snapshot, worth, model)
        ):
            continue
        need = worth.brought(model)
        if next(iter(need)) != device:
            continue
        score = worth.score(model, need[device])
        if stored.tier is Tier.WARM or (policy.ranking.is_priced and score >= policy.price):
            yield Resident(
                model=model,
                held_bytes=need[device],
                score=score,
                priority=stored.intent.priority,
                parts=snapshot.composing(model),
            )


def prewarm_every_s(snapshot: Snapshot) -> float:
    """A large fleet is looked at in parts, each about every `PREWARM_EVERY_S`."""
    return PREWARM_EVERY_S / _parts(snapshot)


def _parts(snapshot: Snapshot) -> int:
    return max(1, ceil(len(snapshot.models) / VALUED_AT_ONCE))


def _was_unloaded_by_hand(snapshot: Snapshot, worth: Worth, model: str) -> bool:
    """Until the next request after that."""
    desired, demand = snapshot.desired.get(model), worth.demand(model)
    return (
        desired is not None
        and not desired.loaded
        and (demand is None or desired.requested_at_s >= demand.last_s)
    )


def _reason_to_load_ahead(snapshot: Snapshot, candidate: Resident) -> str:
    if snapshot.models[candidate.model].tier is Tier.WARM:
        return "its tier is warm and there is room"
    return (
        f"loaded ahead: it would save {candidate.score:.3g} s of cold starts per hour for each "
        "GiB held"
    )
