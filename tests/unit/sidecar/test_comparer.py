"""Requests of clients, asked again of two versions on fake servers, in virtual time."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from contract.errors import InvalidRequest
from contract.layout import Store
from contract.samples import Tensors
from sidecar.adapters.model_store import StoreFolder
from sidecar.adapters.stage import StageFolder
from sidecar.core.comparison import Comparison, Missed
from sidecar.core.fleet import Server, Snapshot, Verification
from sidecar.runtime.activate import Waiting
from sidecar.runtime.board import Board
from sidecar.runtime.compare import LARGEST_BYTES, MOST_WAITING, MOST_WAITING_BYTES, Comparer
from sidecar.runtime.records import Records
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry
from sidecar.runtime.world import World
from tests.builders import CANARY, SERVING, holding, model, placed, publish, snapshot
from tests.fakes.gateway import OWN
from tests.fakes.meter import FakeMeter
from tests.fakes.page_cache import FakePageCache
from tests.fakes.process import FakeProcess
from tests.fakes.recordings import FakeRecordings
from tests.fakes.state import FakeState
from tests.fakes.triton import REST_AFTER_LOAD_S, FakeTriton
from tests.fakes.virtual_time import run_virtually

QUERY_TIMEOUT_S = 5.0
MODEL = model("m", versions=(1, 2, 3))
SCALES = {1: 2.0, 2: 2.0001, 3: 4.0}
BODY = b"1 2"


def read(body: bytes) -> Tensors:
    """`1 2` is a request for the tiny model."""
    try:
        return {"x": np.float32([[float(word) for word in body.split()]])}
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


class Bench:
    """`m` is y = 2 x as version 1, y = 2.0001 x as 2 and y = 4 x as 3; a thousandth is tolerated.

    `calls` are the requests to both servers, in their order.
    """

    def __init__(self, root: Path) -> None:
        store = Store(root / "store")
        for version, scale in SCALES.items():
            publish(store, number=version, scale=scale)
        for server in Server:
            (root / server).mkdir()
        self.tritons = {server: FakeTriton(root / server, name=server) for server in Server}
        self.calls: list[str] = []
        for triton in self.tritons.values():
            triton.calls = self.calls
        state = FakeState()
        self.world = World(
            servers=self.tritons,
            stages={server: StageFolder(root / server, store) for server in Server},
            store=StoreFolder(store, {}),
            process=FakeProcess(),
            meter=FakeMeter(),
            page_cache=FakePageCache(),
            recordings=FakeRecordings(),
            records=Records(state),
            board=Board(),
            waiting=Waiting(),
            router=Router(None, OWN, Telemetry(state)),
            telemetry=Telemetry(state),
        )
        self.seen: Snapshot | None = None
        self.comparer = Comparer(self.world, lambda: self.seen, query_timeout_s=QUERY_TIMEOUT_S)

    async def hold(self, *, serving: int, canary: int, recorded: int = 1) -> None:
        """Let each server hold a version, and look at it."""
        versions = {SERVING: serving, CANARY: canary}
        for server, version in versions.items():
            if self.tritons[server].ready("m") != {version}:
                await self.load(server, version)
        self.seen = snapshot(
            MODEL,
            serving=holding(MODEL, serving),
            canary=holding(MODEL, canary),
            recorded={"m": recorded},
        )
        self.calls.clear()

    async def load(self, server: Server, version: int) -> None:
        wanted = placed(MODEL, version, warmup=False)
        await asyncio.sleep(REST_AFTER_LOAD_S)
        await self.world.stages[server].write("m", wanted)
        await self.tritons[server].load("m", timeout_s=10)
        self.world.board.verify(
            (server, "m"), Verification(versions=frozenset({version}), config=wanted.config)
        )

    def offer(self, body: bytes = BODY, *, times: int = 1) -> None:
        for _ in range(times):
            self.comparer.offer("m", body, read)

    async def compared(self) -> Comparison:
        """When everything is done that was offered."""
        await asyncio.sleep(QUERY_TIMEOUT_S * MOST_WAITING)
        found = self.comparer.comparison("m")
        assert found is not None
        return found


def play(root: Path, story: Callable[[Bench], Awaitable[None]]) -> None:
    async def in_time() -> None:
        bench = Bench(root)
        async with bench.comparer:
            await story(bench)

    run_virtually(in_time())


def test_both_versions_are_asked_what_a_client_has_asked(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        bench.offer(b"1 2")
        bench.offer(b"-3 4")

        found = await bench.compared()

        assert found.versions == {SERVING: 1, CANARY: 2}
        assert (found.compared, found.agreeing) == (2, 2)
        assert found.outputs["y"].largest_error == pytest.approx(0.0001 / 2, rel=0.01)
        assert (found.outputs["y"].rows, found.outputs["y"].same_top) == (2, 2)
        assert Counter(bench.calls) == {"infer m 1": 2, "infer m 2": 2}

    play(tmp_path, story)


def test_answers_beyond_the_tolerance_of_the_manifest_do_not_agree(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=3)
        bench.offer()

        found = await bench.compared()

        assert (found.compared, found.agreeing) == (1, 0)
        assert found.outputs["y"].largest_error == pytest.approx(1.0)

    play(tmp_path, story)


def test_one_request_is_asked_at_a_time_and_each_server_is_the_first_in_turn(
    tmp_path: Path,
) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        bench.tritons[SERVING].add_faults("infer m: slow 0.2s x40")
        bench.tritons[CANARY].add_faults("infer m: slow 0.3s x40")
        bench.offer(times=40)

        await asyncio.sleep(0.5 * 10 - 0.1)

        assert len(bench.calls) == 20
        pairs = {tuple(bench.calls[at : at + 2]) for at in range(0, 20, 2)}
        assert all(len(set(pair)) == 2 for pair in pairs)
        found = await bench.compared()
        firsts = {bench.calls[at] for at in range(0, 80, 2)}
        assert firsts == {"infer m 1", "infer m 2"}
        assert found.sides[SERVING].median_ms == pytest.approx(200, abs=1)
        assert found.sides[CANARY].median_ms == pytest.approx(300, abs=1)

    play(tmp_path, story)


def test_its_requests_are_not_taken_for_those_of_clients(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        tally = bench.world.board.tally
        tally.loaded("m", {1: 0, 2: 0}, (1, 2))
        bench.tritons[SERVING].add_faults("infer m 1: refused 'Internal: no'")
        bench.offer(times=5)
        await bench.compared()

        served = await bench.tritons[SERVING].requests_served()

        assert served == {"m": {1: 4}}
        assert tally.take({"m": {1: 4 + 7, 2: 5}}, busy=()) == {"m": 12}

    play(tmp_path, story)


def test_what_a_server_refuses_or_does_not_answer_is_a_result(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        bench.tritons[CANARY].add_faults("infer m 2: refused 'Internal: 77'", "infer m 2: slow 9s")
        bench.offer(times=3)

        found = await bench.compared()

        canary = found.sides[CANARY]
        assert (canary.answers, canary.failures) == (1, 2)
        assert "DEADLINE_EXCEEDED" in (canary.failure or "")
        assert found.sides[SERVING].answers == 3
        assert found.compared == 1

    play(tmp_path, story)


@pytest.mark.parametrize(
    "held",
    [
        {"serving": 1, "canary": 1},
        {"serving": 2, "canary": 3, "recorded": 1},
    ],
    ids=["the same version", "not the recorded version"],
)
def test_nothing_is_asked_where_there_is_nothing_to_compare(
    tmp_path: Path, held: dict[str, int]
) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(**held)
        bench.offer()
        await asyncio.sleep(QUERY_TIMEOUT_S)

        assert bench.calls == []
        assert bench.comparer.comparison("m") is None

    play(tmp_path, story)


def test_nothing_is_asked_before_the_first_look_or_without_a_canary(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        for seen in (None, snapshot(MODEL, serving=holding(MODEL, 1), recorded={"m": 1})):
            bench.seen = seen
            bench.offer()
        await asyncio.sleep(QUERY_TIMEOUT_S)

        assert bench.calls == []
        assert bench.comparer.comparison("m") is None

    play(tmp_path, story)


def test_another_pair_of_versions_begins_anew(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        bench.offer(times=3)
        await bench.compared()

        await bench.hold(serving=1, canary=3)
        bench.offer()
        found = await bench.compared()

        assert found.versions == {SERVING: 1, CANARY: 3}
        assert found.compared == 1

    play(tmp_path, story)


def test_what_was_found_stays_when_the_release_is_over(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        bench.offer()
        found = await bench.compared()

        bench.seen = snapshot(MODEL, serving=holding(MODEL, 1), recorded={"m": 1})
        bench.offer()

        assert await bench.compared() == found

    play(tmp_path, story)


def be_changed(bench: Bench) -> None:
    bench.world.board.busy.add((CANARY, "m"))


def be_gone(bench: Bench) -> None:
    bench.world.board.forget((CANARY, "m"))


def be_another(bench: Bench) -> None:
    bench.world.board.verify((CANARY, "m"), Verification(versions=frozenset({3}), config=""))


@pytest.mark.parametrize("happens", [be_changed, be_gone, be_another])
def test_what_waits_for_a_version_that_goes_is_not_asked(
    tmp_path: Path, happens: Callable[[Bench], None]
) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        bench.offer(times=3)
        happens(bench)

        found = await bench.compared()

        assert bench.calls == []
        assert found == Comparison.between({SERVING: 1, CANARY: 2})

    play(tmp_path, story)


def test_a_version_that_goes_while_it_is_asked_has_not_failed(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        bench.tritons[CANARY].add_faults("infer m 2: slow 1s")
        bench.offer()
        await asyncio.sleep(0.5)
        assert "infer m 2" in bench.calls
        be_changed(bench)
        await bench.tritons[CANARY].unload("m")

        found = await bench.compared()

        assert (found.sides[CANARY].failures, found.compared) == (0, 0)

    play(tmp_path, story)


def test_no_more_wait_than_there_are_places(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        bench.offer(times=MOST_WAITING + 5)

        found = await bench.compared()

        assert found.missed == {Missed.TOO_MANY: 5}
        assert found.compared == MOST_WAITING
        bench.offer()
        assert (await bench.compared()).compared == MOST_WAITING + 1

    play(tmp_path, story)


def test_no_more_wait_than_there_is_room_for(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        large = BODY.ljust(LARGEST_BYTES)
        fit = MOST_WAITING_BYTES // LARGEST_BYTES
        for _ in range(2):
            bench.offer(large, times=fit + 1)
            await bench.compared()

        found = await bench.compared()

        assert found.missed == {Missed.TOO_MANY: 2}
        assert found.compared == 2 * fit

    play(tmp_path, story)


def test_a_request_that_is_too_large_or_cannot_be_read_is_counted(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        bench.offer(BODY.ljust(LARGEST_BYTES + 1))
        bench.offer(b"one two")
        bench.offer()

        found = await bench.compared()

        assert found.missed == {Missed.TOO_LARGE: 1, Missed.UNREADABLE: 1}
        assert "could not convert" in (found.unreadable or "")
        assert found.compared == 1

    play(tmp_path, story)


def test_a_bug_with_one_request_is_logged_and_the_next_is_compared(tmp_path: Path) -> None:
    def crash(_: bytes) -> Tensors:
        raise ZeroDivisionError

    async def story(bench: Bench) -> None:
        await bench.hold(serving=1, canary=2)
        bench.comparer.offer("m", BODY, crash)
        bench.offer()

        with capture_logs() as logs:
            found = await bench.compared()

        assert [(line["event"], line["model"]) for line in logs] == [("comparison_crashed", "m")]
        assert found.compared == 1

    play(tmp_path, story)
