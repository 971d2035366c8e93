"""All reads of one cycle, into one frozen snapshot."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from sidecar.core.fleet import Profile, Server, ServerView, Snapshot
from sidecar.core.release import Release
from sidecar.core.routing import nameable
from sidecar.core.spec import with_intents_of, with_specs
from sidecar.errors import ServerError, ServerLost, StageUnusable, StateUnavailable
from sidecar.runtime.board import Pair
from sidecar.runtime.route import Router
from sidecar.runtime.stages import stage_problem
from sidecar.runtime.world import World

PATIENCE_S = 2.0
PATIENCE_WITH_LOST_S = 0.2
GATEWAY = "gateway"
"""Of its troubles events of their own tell."""


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
    waiting = world.waiting.begin_look()
    busy, checking = frozenset(board.busy), frozenset(board.checking)
    patience_s = _patience_s(before)
    views = await asyncio.gather(
        *(_view(world, server, busy, patience_s[server]) for server in Server)
    )
    await _try_to_record(world)
    models, problems = await world.store.known()
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
        routed=world.router.weights,
        cached=frozenset(board.cached),
        pressure=board.pressure,
        shadows=world.is_shadowed,
        troubles=_troubles(world),
        sees_gpus=world.sees_gpus,
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


async def _try_to_record(world: World) -> None:
    """Nobody may have anything to record for hours, and the disk may be free again."""
    if world.records.problem is not None:
        with suppress(StateUnavailable):
            await world.records.touch()


def _troubles(world: World) -> Mapping[str, str]:
    found = {
        "state": world.records.problem,
        GATEWAY: world.router.problem,
        "recordings": world.recordings.problem,
        **world.board.troubles,
    }
    return {name: problem for name, problem in found.items() if problem is not None}


async def _with_record(world: World, seen: Snapshot) -> Snapshot:
    records = world.records
    # Before the store: a version that is being released was published before that.
    trains = await records.trains()
    releases = await records.releases()
    models, problems = await world.store.known()
    snapshot = replace(
        seen,
        models=with_specs(models, await records.specs()),
        store_problems=problems,
        releases=releases,
        routed=_routed(world.router, releases),
        desired=await records.desired(),
        serving=await records.serving(),
        operations=await records.operations(),
        kept=await records.kept(),
        quarantine=await records.quarantine(),
        steering=await records.all_steering(),
        recording=await records.all_recording(),
        trials=await records.trials(),
        rejected=await records.rejected(),
        trains=trains,
        mode=await records.mode(),
    )
    world.board.keep_outcomes({r.id for r in snapshot.releases.values() if r.is_active})
    return snapshot


def _routed(router: Router, releases: Mapping[str, Release]) -> Mapping[str, Mapping[int, int]]:
    """Before this process has told the gateway anything, that still does what another told it."""
    is_unknown = router.has_gateway and router.applied is None
    return {**router.weights, **(nameable(releases.values()) if is_unknown else {})}


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
        recording=before.recording,
        trials=before.trials,
        rejected=before.rejected,
        trains=before.trains,
        mode=before.mode,
        routed=before.routed,
    )


def _patience_s(before: Snapshot | None) -> dict[Server, float | None]:
    """Nobody who asks for a model waits long for a canary that hangs."""
    was_there = before is not None and before.servers[Server.CANARY].problem is None
    canary_s = PATIENCE_S if was_there or before is None else PATIENCE_WITH_LOST_S
    return {Server.SERVING: None, Server.CANARY: canary_s}


async def _view(
    world: World, server: Server, busy: frozenset[Pair], patience_s: float | None
) -> ServerView:
    port, board = world.servers[server], world.board
    try:
        staged = await world.stages[server].read()
    except StageUnusable as error:
        board.lost(server)
        return ServerView(problem=str(error))
    try:
        async with asyncio.timeout(patience_s):
            about = await port.check()
            problem = await stage_problem(world, server)
            index = await port.index()
    except (ServerError, TimeoutError) as error:
        board.lost(server)
        return ServerView(
            problem=str(error) or f"it has not answered for {patience_s} s",
            is_away=isinstance(error, (ServerLost, TimeoutError)),
            staged=staged,
        )
    board.saw_index(server, index, busy)
    return ServerView(
        stage_problem=problem,
        index=index,
        staged=staged,
        verified=board.verified(server),
        about=about,
        found_at_s=board.found_at_s[server],
    )
