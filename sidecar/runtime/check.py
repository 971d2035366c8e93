"""Gathers the evidence that a release waits for, and puts it where the next look finds it."""

import time
from typing import assert_never

from sidecar.core.actions import Check
from sidecar.core.events import Event, EventName
from sidecar.core.fleet import CheckKind, Outcome, Server
from sidecar.core.trial import Trial
from sidecar.errors import ServerLost
from sidecar.runtime.blame import EXPECTED, blame, says_nothing
from sidecar.runtime.prove import Prover
from sidecar.runtime.trials import Trier
from sidecar.runtime.world import World


class Checker:
    def __init__(self, world: World, prover: Prover, trier: Trier) -> None:
        self._world = world
        self._prover = prover
        self._trier = trier

    async def check(self, action: Check) -> None:
        """What came of it is recorded, or on the board, afterwards.

        A server that does not answer is no evidence; a canary that is lost again and again is.
        Neither is a file that cannot be read now, nor a bug of ours.
        """
        began_s, board = time.monotonic(), self._world.board
        server = Server.SERVING if action.kind is CheckKind.GUARD else Server.CANARY
        pair = (server, action.release.model)
        try:
            await self._gather(action, began_s)
        except ServerLost as error:
            blame(board, pair, error, config=action.config)
        except Exception as error:
            note = blame(board, pair, error, config=action.config)
            await self._say(EventName.CHECK_FAILED, action, began_s, note)
            if not says_nothing(error):
                raise
        else:
            board.recover(pair)

    async def _gather(self, action: Check, began_s: float) -> None:
        match action.kind:
            case CheckKind.COMPARE | CheckKind.GUARD:
                trial = await self._next(action)
                await self._world.records.set_trial(action.release.id, action.kind, trial)
            case CheckKind.FILES | CheckKind.GOLDEN | CheckKind.MEASURE:
                await self._once(action, began_s)
            case _:
                assert_never(action.kind)

    async def _once(self, action: Check, began_s: float) -> None:
        try:
            outcome = await self._outcome(action)
        except EXPECTED as error:
            if says_nothing(error):
                raise
            outcome = Outcome(passed=False, note=str(error))
        self._world.board.outcomes[action.release.id, action.kind] = outcome
        name = EventName.CHECK_PASSED if outcome.passed else EventName.CHECK_FAILED
        await self._say(name, action, began_s, outcome.note)

    async def _outcome(self, action: Check) -> Outcome:
        release = action.release
        if action.kind is CheckKind.FILES:
            return Outcome(passed=True, note=await self._prover.files(release))
        if action.kind is CheckKind.GOLDEN:
            return Outcome(passed=True, note=await self._prover.golden(release))
        note, evidence = await self._trier.measure(release)
        return Outcome(passed=True, note=note, evidence=evidence)

    async def _next(self, action: Check) -> Trial:
        if action.kind is CheckKind.COMPARE:
            return await self._trier.compare(action.release, action.trial)
        return await self._trier.guard(action.release, action.trial)

    async def _say(self, name: EventName, action: Check, began_s: float, note: str) -> None:
        release = action.release
        event = Event(
            name=name,
            model=release.model,
            seconds=time.monotonic() - began_s,
            detail={"release": release.id, "check": action.kind.value, "note": note},
        )
        await self._world.telemetry.record(event)
