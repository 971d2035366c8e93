"""Work that never ends, and its bugs, in virtual time."""

import asyncio

from structlog.testing import capture_logs

from sidecar.core.routing import Replica
from sidecar.runtime.board import Board
from sidecar.runtime.endless import endlessly
from sidecar.runtime.replicas import SILENT_AFTER, Replicas
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry
from tests.fakes.gateway import OWN
from tests.fakes.peer import FakePeer
from tests.fakes.state import FakeState
from tests.fakes.virtual_time import run_virtually


class Work:
    """A step that crashes while it has a bug."""

    def __init__(self) -> None:
        self.bug: Exception | None = None
        self.steps = 0

    async def step(self) -> None:
        self.steps += 1
        if self.bug:
            raise self.bug


def test_a_bug_is_shown_while_it_lasts_logged_once_and_does_not_end_the_work() -> None:
    async def story() -> None:
        board, work = Board(), Work()
        working = asyncio.create_task(endlessly("work", work.step, board, every_s=1.0))
        await asyncio.sleep(2.5)
        assert (work.steps, board.troubles) == (3, {})

        with capture_logs() as logs:
            work.bug = KeyError("x")
            await asyncio.sleep(3)
        said = "bug: KeyError: 'x'; the log tells more, and it is tried again"
        assert (work.steps, board.troubles) == (6, {"work": said})
        (line,) = logs
        assert (line["event"], line["task"]) == ("task_crashed", "work")
        assert line["exc_info"] is work.bug

        work.bug = None
        await asyncio.sleep(1)
        assert (work.steps, board.troubles) == (7, {})
        working.cancel()

    run_virtually(story())


def test_a_replica_that_a_bug_keeps_from_being_asked_gets_nothing_to_load() -> None:
    async def story() -> None:
        board, telemetry, peer = Board(), Telemetry(FakeState()), FakePeer("m")
        router = Router(None, OWN, telemetry)
        at = Replica(name="b", http="b:1", grpc="b:2", models=frozenset())
        async with Replicas({"b": peer}, {"b": at}, router, telemetry, board) as replicas:
            await asyncio.sleep(1)
            assert replicas.having("m")

            peer.has_a_bug = True
            asked = peer.looks
            await asyncio.sleep(1)
            assert peer.looks > asked + SILENT_AFTER
            assert board.troubles["replica b"].startswith("bug: ZeroDivisionError: ")
            assert not replicas.having("m")

            peer.has_a_bug = False
            await asyncio.sleep(1)
            assert replicas.having("m")
            assert board.troubles == {}

    run_virtually(story())
