"""What it takes to change what a server holds, proven by its index and by a query."""

import asyncio
import time
from collections.abc import Mapping

from sidecar.core.actions import Ensure, Remove
from sidecar.core.fleet import Server, VersionState, ready_versions
from sidecar.errors import Unproven
from sidecar.runtime.drain import Drain
from sidecar.runtime.lanes import REST_AFTER_LOAD_S, Lane
from sidecar.runtime.learn import Learner, Took
from sidecar.runtime.prove import Prover
from sidecar.runtime.warm import Warmer
from sidecar.runtime.world import World

UNLOAD_TIMEOUT_S = 120.0
POLL_S = 0.02


class Driver:
    def __init__(
        self,
        world: World,
        prover: Prover,
        warmer: Warmer,
        learner: Learner,
        drain: Drain,
        *,
        load_timeout_s: float,
    ) -> None:
        self._world = world
        self._prover = prover
        self._warmer = warmer
        self._learner = learner
        self._drain = drain
        self._load_timeout_s = load_timeout_s
        shared = Lane()
        self._lanes = {server: shared if world.is_shadowed else Lane() for server in Server}

    async def ensure(self, action: Ensure) -> Took:
        """Make the server hold the placement, and say what it took: no load if it is adopted.

        Raises:
            ServerError: the server refused, or did not answer.
            Unproven: its index or an answer is not what it must be.
            ContractError: golden samples cannot be read.
            StageUnusable: the stage cannot be written.
        """
        server, model, placement = action.server, action.model, action.placement
        wanted = frozenset(placement.versions)
        ready = ready_versions(await self._states(server, model))
        staged = (await self._world.stages[server].read()).get(model)
        adopted = ready == wanted and staged == placement.config
        async with self._learner.watch(action, new=wanted - ready) as took:
            if not adopted:
                await self._load(action, ready, took)
            await self._verify_index(server, model, wanted)
            await self._prove(action, took)
        return took

    async def _load(self, action: Ensure, ready: frozenset[int], took: Took) -> None:
        server, model, placement = action.server, action.model, action.placement
        wanted = frozenset(placement.versions)
        port = self._world.servers[server]
        took.read_s = await self._learner.read_ahead(model, wanted - ready)
        async with self._lanes[server].loading(drops=bool(ready - wanted)):
            await self._world.stages[server].write(model, placement)
            began_s = time.monotonic()
            await port.load(model, timeout_s=self._load_timeout_s)
            took.load_s = time.monotonic() - began_s
        if server is Server.SERVING:
            counts = (await port.requests_served()).get(model, {})
            self._world.board.tally.loaded(model, counts, wanted - ready)

    async def _prove(self, action: Ensure, took: Took) -> None:
        """What came new to the serving server is warmed until its latency is steady.

        After a load every version answers a query: Triton may have moved it in place.
        """
        server, model, wanted = action.server, action.model, frozenset(action.placement.versions)
        known = self._world.board.verified(server).get(model)
        proven = known.versions if known and took.load_s is None else frozenset()
        for version in sorted(wanted - proven):
            if version in took.versions and server is Server.SERVING:
                began_s = time.monotonic()
                took.curves = await self._warmer.warm(server, model, version)
                took.warm_up_s = time.monotonic() - began_s
            began_s = time.monotonic()
            await self._prover.probe(server, model, version)
            took.verify_s += time.monotonic() - began_s

    async def remove(self, action: Remove) -> bool:
        """Unload and wait until the index says so; only then the memory is free.

        False when somebody asked for the model before that had begun: it stays.

        Raises:
            ServerError: the server refused, or did not answer.
            TimeoutError: still loading, or still unloading, after `UNLOAD_TIMEOUT_S`.
            StageUnusable: the stage cannot be cleared.
        """
        if action.server is Server.CANARY:
            await self._unload(action)
            return True
        board = self._world.board
        board.leaving.add(action.model)
        try:
            if not await self._drain.finish(action.model, regardless=action.regardless):
                return False
            await self._unload(action)
        finally:
            board.leaving.discard(action.model)
        board.unloaded_at_s = time.time()
        return True

    async def _unload(self, action: Remove) -> None:
        async with self._lanes[action.server].unloading():
            await self._rest_after_a_load_of_before(action)
            await self._world.servers[action.server].unload(action.model)
        await self._until_gone(action)
        await self._world.stages[action.server].clear(action.model)
        self._world.board.forget((action.server, action.model))

    async def _until_gone(self, action: Remove) -> None:
        deadline_s = time.monotonic() + UNLOAD_TIMEOUT_S
        while not _is_gone(await self._states(action.server, action.model)):
            if time.monotonic() > deadline_s:
                raise TimeoutError(
                    f"{action.model} is still unloading on {action.server} after "
                    f"{UNLOAD_TIMEOUT_S:g} s; a request that does not end holds it"
                )
            await asyncio.sleep(POLL_S)

    async def _rest_after_a_load_of_before(self, action: Remove) -> None:
        """A load that timed out, or that another process began, still ends in the server."""
        deadline_s = time.monotonic() + UNLOAD_TIMEOUT_S
        waited = False
        while VersionState.LOADING in (await self._states(action.server, action.model)).values():
            if time.monotonic() > deadline_s:
                raise TimeoutError(
                    f"{action.model} is still loading on {action.server} after "
                    f"{UNLOAD_TIMEOUT_S:g} s, and unloading it now could kill the server"
                )
            await asyncio.sleep(POLL_S)
            waited = True
        if waited:
            await asyncio.sleep(REST_AFTER_LOAD_S)

    async def _verify_index(self, server: Server, model: str, wanted: frozenset[int]) -> None:
        found = ready_versions(await self._states(server, model))
        if found != wanted:
            raise Unproven(
                f"{server} said that {model} is loaded, but its index has versions "
                f"{sorted(found)} ready instead of {sorted(wanted)}; nothing else may write to "
                "its stage or call its repository API"
            )

    async def _states(self, server: Server, model: str) -> Mapping[int, VersionState]:
        return (await self._world.servers[server].index()).get(model, {})


def _is_gone(states: Mapping[int, VersionState]) -> bool:
    return all(state is VersionState.UNAVAILABLE for state in states.values())
