"""The loop: a timer and wake-ups that carry no facts."""

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any, assert_never

import structlog

from sidecar.core.actions import Check, Ensure, Plan, ReadAhead, Remove, Restart, Work
from sidecar.core.drift import drifts
from sidecar.core.events import Event, EventDetail, EventName
from sidecar.core.fleet import Mode, Profile, Server, ServerView, Snapshot
from sidecar.core.health import surroundings
from sidecar.core.planner import plan
from sidecar.core.policy import Policy
from sidecar.core.status import unready
from sidecar.errors import SidecarError, StateConflict, StateUnavailable
from sidecar.runtime.audit import repair
from sidecar.runtime.board import Board, Pair
from sidecar.runtime.collect import Collector
from sidecar.runtime.execute import Executor
from sidecar.runtime.mode import end_drain
from sidecar.runtime.observe import GATEWAY, observe
from sidecar.runtime.schedule import Schedule
from sidecar.runtime.world import World

AFTER_CONFLICT_S = 0.02
LOOK_FOR_LOST_S = 0.2
REST_PER_WORK = 50.0


class Loop:
    """Observes, plans and executes until it is cancelled.

    `snapshot` is what was seen last; None until the first look has succeeded. `problem` is
    why the last cycle did not end well, else None.
    """

    def __init__(
        self,
        world: World,
        executor: Executor,
        collector: Collector,
        *,
        policy: Policy,
        schedule: Schedule,
        interval_s: float,
    ) -> None:
        self._world = world
        self._executor = executor
        self._collector = collector
        self._schedule = schedule
        self._policy = policy
        self._interval_s = interval_s
        self._wake = world.waiting.wake
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun: set[Pair] = set()
        self._known_problems: dict[str, str] = {}
        self.snapshot: Snapshot | None = None
        self.plan = Plan()
        self._seen_at_s = 0.0
        self.has_looked = asyncio.Event()
        self.problem: str | None = "the first look at the servers has not ended yet"

    @property
    def snapshot_age_s(self) -> float:
        return time.monotonic() - self._seen_at_s

    @property
    def policy(self) -> Policy:
        return self._policy

    @property
    def now_s(self) -> float:
        """Seconds since 1970, as decisions take them."""
        return time.time()

    def profile(self) -> Profile:
        """The one that holds now."""
        return self._schedule.profile(self.now_s)

    async def run(self) -> None:
        helpers = [
            asyncio.create_task(self._wake_on_change()),
            asyncio.create_task(self._world.router.run(self._wake.set)),
        ]
        try:
            while True:
                self._wake.clear()
                delay_s = await self._guarded_cycle()
                # Not `wait_for`: in Python 3.11 it can swallow the cancellation that ends us.
                with suppress(TimeoutError):
                    async with asyncio.timeout(delay_s):
                        await self._wake.wait()
        finally:
            for task in (*helpers, *self._tasks):
                task.cancel()
            await asyncio.gather(*helpers, *self._tasks, return_exceptions=True)
            with suppress(StateUnavailable):
                await self._collector.close()

    async def _wake_on_change(self) -> None:
        async for _ in self._world.records.watch():
            self._wake.set()

    async def _guarded_cycle(self) -> float:
        try:
            delay_s = await self._cycle()
        except StateConflict:
            return AFTER_CONFLICT_S
        except SidecarError as error:
            await self._trouble(str(error))
            return self._interval_s
        except Exception as error:  # noqa: BLE001  (the loop must outlive any bug; it is told, not hidden)
            structlog.get_logger("pilotlight").exception("cycle_crashed")
            await self._trouble(f"bug: {type(error).__name__}: {error}")
            return self._interval_s
        self.problem = None
        return delay_s

    async def _cycle(self) -> float:
        began_s, spent_s = time.monotonic(), time.thread_time()
        snapshot = await self._look()
        now_s = time.time()
        planned = plan(snapshot, self._policy, now_s)
        self._world.telemetry.show(snapshot, self._policy, time.monotonic() - began_s)
        await self._tell_blocked(self.plan, planned)
        self.plan = planned
        self._world.router.look(snapshot)
        self._world.waiting.look(snapshot, planned.blocked)
        self.has_looked.set()
        rest_s = self._rest_s(snapshot, time.thread_time() - spent_s)
        if snapshot.mode is not Mode.RUNNING:
            return rest_s
        if planned.prewarmed:
            self._world.board.prewarmed_at_s = now_s
        for note in planned.notes:
            await self._executor.note(note)
        for work in planned.work:
            self._start(work)
        if planned.notes:
            return 0.0
        wake_in_s = rest_s if planned.wake_at_s is None else planned.wake_at_s - now_s
        return max(0.0, min(rest_s, wake_in_s))

    async def _look(self) -> Snapshot:
        """Raises StateUnavailable: a plan without the record could undo what was recorded."""
        if self.snapshot is None:
            await repair(self._world.records, self._world.telemetry.journal)
            await end_drain(self._world)
            await self._collector.recall()
            await self._world.router.recall()
        await self._collector.collect(frozenset(self._world.board.busy))
        seen = await observe(self._world, self.snapshot, self.profile())
        snapshot = replace(
            seen.snapshot,
            meter_problem=self._collector.meter_problem,
            drift=drifts(self.snapshot, seen.snapshot, self._begun) if self.snapshot else {},
        )
        self._begun = {pair for pair in self._begun if pair in seen.snapshot.busy}
        await self._tell_changes(self.snapshot, snapshot)
        self.snapshot, self._seen_at_s = snapshot, time.monotonic()
        if seen.problem is not None:
            raise seen.problem
        return snapshot

    def _rest_s(self, snapshot: Snapshot, spent_s: float) -> float:
        """Until the next look, when nothing wakes us before.

        A server that comes back is found at once: each moment more is part of a cold start.
        Looking at a large fleet takes 2 % of a core at most.
        """
        if snapshot.servers[Server.SERVING].problem is not None:
            return min(self._interval_s, LOOK_FOR_LOST_S)
        return max(self._interval_s, REST_PER_WORK * spent_s)

    def _start(self, work: Work) -> None:
        places, mark = _mark(self._world.board, work)
        places.add(mark)
        if places is self._world.board.busy:
            self._begun.add(mark)
        task = asyncio.create_task(self._executor.work(work))
        self._tasks.add(task)

        def finished(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            places.discard(mark)
            if not task.cancelled() and (error := task.exception()):
                # No wake-up: a bug that strikes again must not keep the loop spinning.
                structlog.get_logger("pilotlight").error("work_crashed", exc_info=error)
            else:
                self._wake.set()

        task.add_done_callback(finished)

    async def _tell_blocked(self, before: Plan, now: Plan) -> None:
        """Tell what does not fit once, not in every cycle that it lasts."""
        for model, obstacle in now.blocked.items():
            if obstacle.is_final and model not in before.blocked:
                detail: dict[str, EventDetail] = {
                    "reason": str(obstacle),
                    "needed_bytes": obstacle.needed_bytes,
                }
                event = Event(name=EventName.DOES_NOT_FIT, model=model, detail=detail)
                await self._world.telemetry.record(event)

    async def _trouble(self, problem: str) -> None:
        """Tell a problem once, not in every cycle that it lasts."""
        if problem != self.problem:
            event = Event(name=EventName.CYCLE_FAILED, detail={"reason": problem})
            await self._world.telemetry.record(event)
        self.problem = problem

    async def _tell_changes(self, before: Snapshot | None, now: Snapshot) -> None:
        await self._tell_servers(before, now)
        await self._tell_surroundings(now)
        await self._tell_others(before, now)
        record = self._world.telemetry.record
        missing = unready(now)
        was_ready = before is not None and not unready(before)
        if not missing and not was_ready:
            await record(Event(name=EventName.BECAME_READY))
        elif missing and was_ready:
            detail = {"reason": "; ".join(missing)}
            await record(Event(name=EventName.BECAME_UNREADY, detail=detail))

    async def _tell_servers(self, before: Snapshot | None, now: Snapshot) -> None:
        record = self._world.telemetry.record
        for server in Server:
            view = now.servers[server]
            known = before.servers[server] if before else None
            if view.problem is None:
                if known is None or known.problem is not None:
                    await record(Event(name=EventName.SERVER_FOUND, server=server))
            elif known is None or known.problem is None or _is_another_problem(known, view):
                detail = {"reason": view.problem}
                await record(Event(name=EventName.SERVER_LOST, server=server, detail=detail))

    async def _tell_surroundings(self, now: Snapshot) -> None:
        """Once when something is found to be wrong, and once when that is over."""
        found = {
            each.name: each.detail
            for each in surroundings(now, self._policy)
            if not each.ok and each.name != GATEWAY
        }
        known, self._known_problems = self._known_problems, found
        for name, problem in found.items():
            if known.get(name) != problem:
                await self._tell_problem(EventName.PROBLEM_FOUND, name, problem)
        for name in sorted(known.keys() - found.keys()):
            await self._tell_problem(EventName.PROBLEM_GONE, name, known[name])

    async def _tell_problem(self, name: EventName, check: str, reason: str) -> None:
        detail = {"check": check, "reason": reason}
        await self._world.telemetry.record(Event(name=name, detail=detail))

    async def _tell_others(self, before: Snapshot | None, now: Snapshot) -> None:
        """What people, clocks and others did to the store, the profile and the server."""
        record = self._world.telemetry.record
        for problem in now.store_problems:
            if before is None or problem not in before.store_problems:
                await record(Event(name=EventName.STORE_DAMAGED, detail={"reason": problem}))
        for model, drift in now.drift.items():
            versions = ", ".join(map(str, drift.versions))
            detail = {"kind": drift.kind.value, "versions": versions}
            await record(Event(name=EventName.DRIFT, model=model, detail=detail))
        if before is not None and before.profile is not now.profile:
            detail = {"profile": now.profile.value}
            await record(Event(name=EventName.PROFILE_CHANGED, detail=detail))


def _is_another_problem(before: ServerView, now: ServerView) -> bool:
    """How exactly a server does not answer may change with each look, and says nothing."""
    return before.is_away != now.is_away or (not now.is_away and before.problem != now.problem)


def _mark(board: Board, work: Work) -> tuple[set[Any], Any]:
    """Where it is marked, and how, that work is going on."""
    match work:
        case Ensure(server=server, model=model) | Remove(server=server, model=model):
            return board.busy, (server, model)
        case Restart(server=server):
            # No model has an empty name.
            return board.busy, (server, "")
        case Check(release=release):
            return board.checking, release.id
        case ReadAhead(model=model):
            return board.checking, model
        case _:
            assert_never(work)
