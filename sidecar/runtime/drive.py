"""What it takes to change what a server holds, proven by its index and by a query."""

import asyncio
import time
from collections.abc import Mapping

from sidecar.core.actions import Ensure, Remove
from sidecar.core.fleet import Server, Verification, VersionState
from sidecar.errors import Unproven
from sidecar.runtime.lanes import REST_AFTER_LOAD_S, Lane
from sidecar.runtime.prove import Prover
from sidecar.runtime.world import World

UNLOAD_TIMEOUT_S = 120.0
POLL_S = 0.02


class Driver:
    def __init__(self, world: World, prover: Prover, *, load_timeout_s: float) -> None:
        self._world = world
        self._prover = prover
        self._load_timeout_s = load_timeout_s
        self._lanes = {server: Lane() for server in Server}

    async def ensure(self, action: Ensure) -> bool:
        """Make the server hold the placement; whether it did already (then it is adopted).

        Raises:
            ServerError: the server refused, or did not answer.
            Unproven: its index or an answer is not what it must be.
            ContractError: golden samples cannot be read.
            OSError: the stage cannot be written.
        """
        model, placement, board = action.model, action.placement, self._world.board
        stage = self._world.stages[action.server]
        wanted = frozenset(placement.versions)
        ready = _ready(await self._states(action.server, model))
        adopted = ready == wanted and (await stage.read()).get(model) == placement.config
        if not adopted:
            async with self._lanes[action.server].loading(drops=bool(ready - wanted)):
                await stage.write(model, placement)
                await self._world.servers[action.server].load(model, timeout_s=self._load_timeout_s)
        await self._verify_index(action.server, model, wanted)
        known = board.verified(action.server).get(model)
        for version in sorted(wanted - (known.versions if known else frozenset())):
            await self._prover.probe(action.server, model, version)
        verification = Verification(versions=wanted, config=placement.config)
        board.verify((action.server, model), verification)
        return adopted

    async def remove(self, action: Remove) -> None:
        """Unload and wait until the index says so; only then the memory is free.

        Raises:
            ServerError: the server refused, or did not answer.
            TimeoutError: still loading, or still unloading, after `UNLOAD_TIMEOUT_S`.
            OSError: the stage cannot be cleared.
        """
        async with self._lanes[action.server].unloading():
            await self._rest_after_a_load_of_before(action)
            await self._world.servers[action.server].unload(action.model)
            deadline_s = time.monotonic() + UNLOAD_TIMEOUT_S
            while not _is_gone(await self._states(action.server, action.model)):
                if time.monotonic() > deadline_s:
                    raise TimeoutError(
                        f"{action.model} is still unloading on {action.server} after "
                        f"{UNLOAD_TIMEOUT_S:g} s; a request that does not end holds it"
                    )
                await asyncio.sleep(POLL_S)
        await self._world.stages[action.server].clear(action.model)
        self._world.board.forget((action.server, action.model))

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
        found = _ready(await self._states(server, model))
        if found != wanted:
            raise Unproven(
                f"{server} said that {model} is loaded, but its index has versions "
                f"{sorted(found)} ready instead of {sorted(wanted)}; nothing else may write to "
                "its stage or call its repository API"
            )

    async def _states(self, server: Server, model: str) -> Mapping[int, VersionState]:
        return (await self._world.servers[server].index()).get(model, {})


def _ready(states: Mapping[int, VersionState]) -> frozenset[int]:
    return frozenset(v for v, state in states.items() if state is VersionState.READY)


def _is_gone(states: Mapping[int, VersionState]) -> bool:
    return all(state is VersionState.UNAVAILABLE for state in states.values())
