"""Gathers the evidence that a release waits for, and puts it where the next look finds it."""

import time
from typing import assert_never

from contract.errors import ContractError
from sidecar.core.actions import Check
from sidecar.core.events import Event, EventName
from sidecar.core.fleet import CheckKind, Outcome, Server
from sidecar.core.trial import Trial
from sidecar.errors import ServerError, ServerLost, StageUnusable, Unproven
from sidecar.runtime.prove import Prover
from sidecar.runtime.trials import Trier
from sidecar.runtime.world import World

EXPECTED = (ServerError, StageUnusable, ContractError, Unproven, OSError)


class Checker:
    def __init__(self, world: World, prover: Prover, trier: Trier) -> None:
        self._world = world
        self._prover = prover
        self._trier = trier

    async def check(self, action: Check) -> None:
        """What came of it is recorded, or on the board, afterwards.

        A server that does not answer is no evidence; a canary that is lost again and again is.
        """
        match action.kind:
            case CheckKind.COMPARE:
                await self._round(action, Server.CANARY)
            case CheckKind.GUARD:
                await self._round(action, Server.SERVING)
            case CheckKind.FILES | CheckKind.GOLDEN | CheckKind.MEASURE:
                await self._once(action)
            case _:
                assert_never(action.kind)

    async def _once(self, action: Check) -> None:
        began_s = time.monotonic()
        release = action.release
        try:
            outcome = await self._outcome(action)
        except ServerLost as error:
            self._lost(action, Server.CANARY, error)
            return
        except EXPECTED as error:
            outcome = Outcome(passed=False, note=str(error))
        self._world.board.outcomes[release.id, action.kind] = outcome
        event = Event(
            name=EventName.CHECK_PASSED if outcome.passed else EventName.CHECK_FAILED,
            model=release.model,
            seconds=time.monotonic() - began_s,
            detail={"release": release.id, "check": action.kind.value, "note": outcome.note},
        )
        await self._world.telemetry.record(event)

    async def _outcome(self, action: Check) -> Outcome:
        release = action.release
        if action.kind is CheckKind.FILES:
            return Outcome(passed=True, note=await self._prover.files(release))
        if action.kind is CheckKind.GOLDEN:
            return Outcome(passed=True, note=await self._prover.golden(release))
        note, evidence = await self._trier.measure(release)
        return Outcome(passed=True, note=note, evidence=evidence)

    async def _round(self, action: Check, server: Server) -> None:
        try:
            trial = await self._next(action)
        except ServerLost as error:
            self._lost(action, server, error)
            return
        await self._world.records.set_trial(action.release.id, action.kind, trial)

    async def _next(self, action: Check) -> Trial:
        if action.kind is CheckKind.COMPARE:
            return await self._trier.compare(action.release, action.trial)
        return await self._trier.guard(action.release, action.trial)

    def _lost(self, action: Check, server: Server, error: ServerLost) -> None:
        pair = (server, action.release.model)
        self._world.board.fail(pair, reason=str(error), lost=True, config=action.config)
