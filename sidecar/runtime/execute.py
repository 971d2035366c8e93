"""One `match` over the actions; calls ports, decides nothing.

Work stops at its first failure. Nothing is undone here: the next cycle looks again and
plans again.
"""

import time
from typing import assert_never

from contract.errors import ContractError
from sidecar.core.actions import (
    Check,
    Ensure,
    Keep,
    LetGo,
    Note,
    Numbers,
    ReadAhead,
    Readmit,
    Reject,
    Remove,
    Restart,
    SaveRelease,
    SaveServing,
    SaveTrain,
    SetAside,
    Settle,
    Work,
)
from sidecar.core.events import Event, EventDetail, EventName
from sidecar.core.fleet import Departure, Kept, Server, Verification
from sidecar.core.pressure import QUICK_S, Loaded
from sidecar.core.release import moved
from sidecar.core.train import CarState, Train
from sidecar.errors import ServerLost
from sidecar.runtime.blame import EXPECTED, blame
from sidecar.runtime.check import Checker
from sidecar.runtime.drive import Driver
from sidecar.runtime.world import World


class Executor:
    def __init__(self, world: World, driver: Driver, checker: Checker) -> None:
        self._world = world
        self._driver = driver
        self._checker = checker

    async def note(self, note: Note) -> None:
        """Record one thing. Raises StateConflict or StateUnavailable."""
        match note:
            case Keep() | LetGo() | SetAside() | Readmit():
                await self._note_residency(note)
            case SaveRelease() | SaveServing() | Reject() | Settle():
                await self._note_release(note)
            case SaveTrain(before=before, after=after):
                await self._world.records.move_train(before, after)
                if after.is_over:
                    await self._say_train_ended(after)
            case _:
                assert_never(note)

    async def _note_release(self, note: SaveRelease | SaveServing | Reject | Settle) -> None:
        records = self._world.records
        match note:
            case SaveRelease(release=release):
                if len(release.steps) == 1:
                    await records.begin_release(release)
                else:
                    await records.move_release(release)
                await self._world.telemetry.record(moved(release))
            case SaveServing(model=model, version=version, reason=reason):
                await records.set_serving(model, version)
                await self._say(EventName.VERSION_RECORDED, model, version=version, reason=reason)
            case Reject(model=model, version=version, rejection=rejection):
                await records.reject(model, version, rejection)
                await self._say(
                    EventName.VERSION_REJECTED,
                    model,
                    version=version,
                    release=rejection.release,
                    reason=rejection.reason,
                )
            case Settle(operation=operation):
                await records.end_operation(operation)
                await self._say(
                    EventName.OPERATION_ENDED,
                    operation.model,
                    operation=operation.id,
                    kind=operation.kind.value,
                    error=operation.error or "",
                )

    async def _note_residency(self, note: Keep | LetGo | SetAside | Readmit) -> None:
        records = self._world.records
        match note:
            case Keep(model=model, reason=reason, numbers=numbers):
                kept = Kept(
                    since_s=time.time(),
                    reason=reason,
                    waited_for=note.waited_for,
                    on_cpu=note.on_cpu,
                )
                await records.keep(model, kept)
                await self._say(
                    EventName.MODEL_KEPT,
                    model,
                    reason=reason,
                    waited_for=note.waited_for,
                    numbers=numbers,
                )
            case LetGo(model=model, reason=reason, numbers=numbers):
                await records.let_go(model)
                board = self._world.board
                board.departures[model] = Departure(
                    at_s=time.time(), reason=reason, evicted=note.evicted
                )
                if note.evicted:
                    board.last_victim_score = note.score
                    board.pressure = board.pressure.evicted(note.score)
                name = EventName.MODEL_EVICTED if note.evicted else EventName.MODEL_LET_GO
                await self._say(name, model, reason=reason, numbers=numbers)
            case SetAside(model=model, quarantine=quarantine):
                await records.set_aside(model, quarantine)
                await self._say(
                    EventName.MODEL_SET_ASIDE,
                    model,
                    kind=quarantine.kind.value,
                    times=quarantine.times,
                    until_s=quarantine.until_s or "somebody clears it",
                    reason=quarantine.reason,
                )
            case Readmit(model=model, reason=reason, over=over):
                if over is None:
                    await records.readmit(model)
                else:
                    await records.set_aside(model, over)
                await self._say(EventName.MODEL_READMITTED, model, reason=reason)

    async def _say_train_ended(self, train: Train) -> None:
        detail: dict[str, EventDetail] = {
            "train": train.id,
            "error": train.stopped or "",
        }
        detail |= {state.value: count for state in CarState if (count := train.counted(state))}
        event = Event(name=EventName.TRAIN_ENDED, detail=detail)
        await self._world.telemetry.record(event)

    async def work(self, action: Work) -> None:
        """Do one thing; what came of it is on the board and told afterwards.

        Raises what nobody expected, after that was done with it too.
        """
        match action:
            case Ensure():
                await self._ensure(action)
            case Remove():
                await self._remove(action)
            case Check():
                await self._checker.check(action)
            case Restart():
                await self._restart(action)
            case ReadAhead():
                await self._read_ahead(action)
            case _:
                assert_never(action)

    async def _ensure(self, action: Ensure) -> None:
        began_s = time.monotonic()
        pair, placement = (action.server, action.model), action.placement
        reason = action.reason
        phases: Numbers = {}
        failed: Exception | None = None
        try:
            took = await self._driver.ensure(action)
        except Exception as error:  # noqa: BLE001  (none may be tried again without end)
            failed = error
            name = EventName.LOAD_FAILED
            reason = blame(self._world.board, pair, error, config=placement.config)
        else:
            name = EventName.MODEL_ADOPTED
            if took.load_s is not None:
                name, phases = EventName.MODEL_LOADED, took.phases
                self._weigh(action, time.monotonic() - began_s)
        versions = ", ".join(map(str, placement.versions))
        await self._say(
            name,
            action.model,
            server=action.server,
            began_s=began_s,
            numbers=phases,
            versions=versions,
            reason=reason,
        )
        if failed is None:
            # Only now: whoever is answered after a load finds it told.
            found = Verification(versions=frozenset(placement.versions), config=placement.config)
            self._world.board.verify(pair, found)
        _raise_bug(failed)

    def _weigh(self, action: Ensure, seconds: float) -> None:
        """A load that somebody waits for says how well the budget does."""
        board, now_s = self._world.board, time.time()
        if action.server is not Server.SERVING or action.model not in self._world.waiting.since_s:
            return
        left = board.departures.get(action.model)
        quick = left is not None and left.evicted and now_s - seconds - left.at_s < QUICK_S
        board.pressure = board.pressure.loaded(Loaded(at_s=now_s, seconds=seconds, quick=quick))

    async def _remove(self, action: Remove) -> None:
        began_s = time.monotonic()
        name, reason = EventName.MODEL_UNLOADED, action.reason
        failed: Exception | None = None
        try:
            if not await self._driver.remove(action):
                name, reason = EventName.UNLOAD_CALLED_OFF, "a request asked for it meanwhile"
        except Exception as error:  # noqa: BLE001  (none may be tried again without end)
            failed, pair = error, (action.server, action.model)
            name = EventName.UNLOAD_FAILED
            reason = blame(self._world.board, pair, error, config="")
        await self._say(name, action.model, server=action.server, began_s=began_s, reason=reason)
        _raise_bug(failed)

    async def _read_ahead(self, action: ReadAhead) -> None:
        began_s = time.monotonic()
        try:
            read = await self._world.page_cache.read_ahead(action.model, action.version)
        except (ContractError, OSError) as error:
            await self._say(EventName.READ_AHEAD_FAILED, action.model, reason=str(error))
            return
        self._world.board.cached.add(action.model)
        await self._say(
            EventName.FILES_READ_AHEAD,
            action.model,
            began_s=began_s,
            bytes=read,
            version=action.version,
            reason=action.reason,
        )

    async def _restart(self, action: Restart) -> None:
        began_s = time.monotonic()
        name, reason = EventName.SERVER_ENDED, action.reason
        board = self._world.board
        try:
            await self._world.process.end()
        except ServerLost as error:
            name, reason = EventName.SERVER_NOT_ENDED, str(error)
        board.leaked_bytes = 0
        event = Event(
            name=name,
            server=action.server,
            seconds=time.monotonic() - began_s,
            detail={"reason": reason},
        )
        await self._world.telemetry.record(event)

    async def _say(
        self,
        name: EventName,
        model: str,
        *,
        server: Server | None = None,
        began_s: float | None = None,
        numbers: Numbers | None = None,
        **detail: EventDetail,
    ) -> None:
        seconds = None if began_s is None else time.monotonic() - began_s
        event = Event(
            name=name,
            model=model,
            server=server,
            seconds=seconds,
            detail={**detail, **(numbers or {})},
        )
        await self._world.telemetry.record(event)


def _raise_bug(error: Exception | None) -> None:
    if error is not None and not isinstance(error, EXPECTED):
        raise error
