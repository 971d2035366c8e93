"""All reads of one cycle, into one frozen snapshot."""

import asyncio
from dataclasses import dataclass, replace

from sidecar.core.fleet import Profile, Server, ServerView, Snapshot
from sidecar.core.spec import with_intents_of, with_specs
from sidecar.errors import ServerError, StateUnavailable
from sidecar.runtime.board import Pair
from sidecar.runtime.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What was seen. With a `problem`, the record could not be read and is that of before."""

    snapshot: Snapshot
    problem: StateUnavailable | None = None


async def observe(
    world: World, before: Snapshot | None, profile: Profile = Profile.PRODUCTION
) -> Observation:
    """Look at everything once. A server that does not answer is a fact of the snapshot.

    Raises:
        StateUnavailable: the record cannot be read and there is none of before.
    """
    board = world.board
    # Before anything is looked at: who comes later has not been seen to.
    waiting = world.waiting.since_s
    busy, checking = frozenset(board.busy), frozenset(board.checking)
    models, problems = await world.store.known()
    views = await asyncio.gather(*(_view(world, server, busy) for server in Server))
    seen = Snapshot(
        models=models,
        servers=dict(zip(Server, views, strict=True)),
        busy=busy,
        checking=checking,
        failures=dict(board.failures),
        outcomes=dict(board.outcomes),
        store_problems=problems,
        profile=profile,
        waiting=waiting,
        demand=dict(board.demand),
        learned=dict(board.learned),
        readings=dict(board.readings),
        departures=dict(board.departures),
        leaving=frozenset(board.leaving),
        aged=dict(board.aged),
        traffic=board.traffic,
        cached=frozenset(board.cached),
        pressure=board.pressure,
        leaked_bytes=board.leaked_bytes,
        watched_since_s=board.watched_since_s,
        prewarmed_at_s=board.prewarmed_at_s,
        unloaded_at_s=board.unloaded_at_s,
    )
    try:
        return Observation(snapshot=await _with_record(world, seen))
    except StateUnavailable as error:
        if before is None:
            raise
        return Observation(snapshot=_with_record_of(before, seen), problem=error)


async def _with_record(world: World, seen: Snapshot) -> Snapshot:
    records = world.records
    snapshot = replace(
        seen,
        models=with_specs(seen.models, await records.specs()),
        desired=await records.desired(),
        serving=await records.serving(),
        releases=await records.releases(),
        operations=await records.operations(),
        kept=await records.kept(),
        quarantine=await records.quarantine(),
        steering=await records.all_steering(),
        mode=await records.mode(),
    )
    world.board.keep_outcomes({r.id for r in snapshot.releases.values() if r.is_active})
    return snapshot


def _with_record_of(before: Snapshot, seen: Snapshot) -> Snapshot:
    return replace(
        seen,
        models=with_intents_of(before.models, seen.models),
        desired=before.desired,
        serving=before.serving,
        releases=before.releases,
        operations=before.operations,
        kept=before.kept,
        quarantine=before.quarantine,
        steering=before.steering,
        mode=before.mode,
    )


async def _view(world: World, server: Server, busy: frozenset[Pair]) -> ServerView:
    port, board = world.servers[server], world.board
    try:
        staged = await world.stages[server].read()
    except OSError as error:
        board.lost(server)
        return ServerView(problem=f"its stage cannot be read: {error}")
    try:
        await port.check()
        index = await port.index()
    except ServerError as error:
        board.lost(server)
        return ServerView(problem=str(error), staged=staged)
    board.saw_index(server, index, busy)
    return ServerView(index=index, staged=staged, verified=board.verified(server))
