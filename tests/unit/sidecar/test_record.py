"""Requests of clients, kept for comparisons, in virtual time."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from contract.errors import InvalidRequest
from contract.layout import Store
from contract.samples import Tensors
from sidecar.activator.samples import SharedSamples
from sidecar.adapters.model_store import StoreFolder
from sidecar.core.fleet import Snapshot
from sidecar.core.recording import Dropped, Drops, Recording
from sidecar.core.routing import Routes
from sidecar.core.steering import Steering
from sidecar.ports import Stored
from sidecar.runtime.activate import Waiting
from sidecar.runtime.backlog import Decode
from sidecar.runtime.board import Board
from sidecar.runtime.compare import LARGEST_BYTES, MOST_WAITING, MOST_WAITING_BYTES
from sidecar.runtime.record import Recorder, end_recording, keep, set_recording
from sidecar.runtime.records import Records
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry
from sidecar.runtime.world import World
from tests.builders import model, publish, request, signature, snapshot, tensor
from tests.fakes.gateway import OWN
from tests.fakes.meter import FakeMeter
from tests.fakes.page_cache import FakePageCache
from tests.fakes.process import FakeProcess
from tests.fakes.recordings import FakeRecordings
from tests.fakes.state import FakeState
from tests.fakes.virtual_time import run_virtually

ALL = Recording(percent=100)


def read(body: bytes) -> Tensors:
    """`1 2` is a request for the tiny model, `1` for no model."""
    try:
        return {"x": np.float32([[float(word) for word in body.split()]])}
    except ValueError as error:
        raise InvalidRequest(str(error)) from error


class BusyRecordings(FakeRecordings):
    """Something happens just before a request is added, or once requests are forgotten."""

    before_add: Callable[[], Awaitable[object]] | None = None
    after_forget: Callable[[], Awaitable[object]] | None = None

    async def add(self, model: str, inputs: Tensors, *, most: int) -> None:
        if self.before_add:
            await self.before_add()
        await super().add(model, inputs, most=most)

    async def forget(self, model: str, *, all_but: int = 0) -> None:
        await super().forget(model, all_but=all_but)
        happens, self.after_forget = self.after_forget, None
        if happens:
            await happens()


class Bench:
    """`m` takes x FP32[2] as version 1, which serves, and FP32[3] as version 2."""

    def __init__(self, root: Path) -> None:
        store = Store(root / "store")
        publish(store, "m", 1)
        publish(store, "m", 2, signed=replace(signature(), inputs=(tensor("x", 3),)))
        self.state = FakeState()
        self.recordings = BusyRecordings()
        telemetry = Telemetry(self.state)
        self.world = World(
            servers={},
            stages={},
            store=StoreFolder(store, {}),
            process=FakeProcess(),
            meter=FakeMeter(),
            page_cache=FakePageCache(),
            recordings=self.recordings,
            records=Records(self.state),
            board=Board(),
            waiting=Waiting(),
            router=Router(None, OWN, telemetry),
            telemetry=telemetry,
        )
        self.seen: Snapshot | None = None
        self.recorder = Recorder(self.world, lambda: self.seen)

    async def say(self, said: Recording) -> None:
        _, stored = await self.world.records.recording("m")
        expect = stored.revision if stored else None
        await set_recording(self.world, "m", said, expect=expect, actor="ann")
        self.seen = snapshot(model("m"), recording={"m": said})

    async def end(self) -> None:
        _, stored = await self.world.records.recording("m")
        expect = stored.revision if stored else None
        await end_recording(self.world, "m", expect=expect, actor="ann")

    async def keep(self, *x: float) -> None:
        await keep(self.world, "m", request(*x))

    def offer(self, body: bytes = b"1 2", decode: Decode = read) -> None:
        self.recorder.offer("m", body, decode)

    async def kept(self) -> list[object]:
        """When everything is done that was offered."""
        await asyncio.sleep(1)
        return [inputs["x"].tolist() for inputs in await self.recordings.read("m")]


def play(root: Path, story: Callable[[Bench], Awaitable[None]], *, serving: int | None = 1) -> None:
    async def in_time() -> None:
        bench = Bench(root)
        if serving is not None:
            await bench.world.records.set_serving("m", serving)
        async with bench.recorder:
            await story(bench)

    run_virtually(in_time())


# What is handed over.


def test_a_request_is_kept_before_anything_is_said(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.keep(1, 2)

        assert await bench.kept() == [[[1, 2]]]

    play(tmp_path, story)


def test_no_more_are_kept_and_no_more_of_them_than_was_said(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.say(Recording(most=2, redact=("x",)))
        for _ in range(3):
            await bench.keep(1, 2)

        assert await bench.kept() == [[[0, 0]]] * 2

    play(tmp_path, story)


def test_what_the_serving_version_does_not_take_is_refused(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        with pytest.raises(InvalidRequest, match=r"version 1 of m .* x FP32\[1, 3\] is to be x"):
            await bench.keep(1, 2, 3)

        assert await bench.kept() == []

    play(tmp_path, story)


def test_where_no_version_serves_the_newest_decides(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.keep(1, 2, 3)
        with pytest.raises(InvalidRequest, match="version 2 of m"):
            await bench.keep(1, 2)

    play(tmp_path, story, serving=None)


# What is said.


def test_fewer_at_most_forgets_the_oldest(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        for value in (1, 2, 3):
            await bench.keep(value, 0)

        await bench.say(Recording(most=2))

        assert await bench.kept() == [[[2, 0]], [[3, 0]]]

    play(tmp_path, story)


def test_what_is_to_be_redacted_now_is_forgotten_and_the_rest_stays(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.keep(1, 2)
        await bench.say(Recording(redact=("x",)))
        assert await bench.kept() == []

        await bench.keep(1, 2)
        await bench.say(Recording())
        assert await bench.kept() == [[[0, 0]]]

    play(tmp_path, story)


def test_a_request_that_comes_while_it_is_said_is_not_kept_with_its_values(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.recordings.before_add = lambda: bench.say(Recording(redact=("x",)))
        await bench.keep(1, 2)
        assert await bench.kept() == []

        bench.recordings.before_add = None
        await bench.say(Recording())
        bench.recordings.after_forget = lambda: bench.keep(1, 2)
        await bench.say(Recording(redact=("x",)))
        assert await bench.kept() == []

    play(tmp_path, story)


def test_what_is_ended_is_forgotten_also_what_comes_just_then(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.say(ALL)
        await bench.keep(1, 2)
        await bench.end()
        assert await bench.kept() == []
        assert await bench.world.records.all_recording() == {}

        await bench.say(ALL)
        bench.recordings.before_add = bench.end
        await bench.keep(1, 2)
        assert await bench.kept() == []

    play(tmp_path, story)


def test_a_crash_while_more_is_redacted_leaves_no_values(tmp_path: Path) -> None:
    def crash(_: Stored) -> None:
        raise ZeroDivisionError

    async def story(bench: Bench) -> None:
        await bench.keep(1, 2)
        bench.state.on_put.append(crash)
        with pytest.raises(ZeroDivisionError):
            await bench.say(Recording(redact=("x",)))

        assert await bench.kept() == []

    play(tmp_path, story)


# What the gateway copies.


def test_copies_are_kept_where_it_was_said(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        bench.offer()
        await bench.say(Recording(percent=0))
        bench.offer()
        assert await bench.kept() == []

        await bench.say(Recording(percent=1))
        bench.offer(b"1 2")
        bench.offer(b"3 4")
        assert await bench.kept() == [[[1, 2]], [[3, 4]]]
        assert bench.recorder.drops("m") == Drops()

    play(tmp_path, story)


def test_copies_that_wait_when_it_ends_are_not_kept(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.say(ALL)
        bench.offer()
        await bench.end()

        assert await bench.kept() == []

    play(tmp_path, story)


def test_no_more_wait_than_there_is_room_for(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.say(ALL)
        for _ in range(MOST_WAITING + 5):
            bench.offer()
        assert len(await bench.kept()) == MOST_WAITING
        assert bench.recorder.drops("m").counts == {Dropped.TOO_MANY: 5}

        fit = MOST_WAITING_BYTES // LARGEST_BYTES
        large = b"1 2".ljust(LARGEST_BYTES)
        for _ in range(2):
            for _ in range(fit + 1):
                bench.offer(large)
            await bench.kept()
        assert bench.recorder.drops("m").counts == {Dropped.TOO_MANY: 7}

    play(tmp_path, story)


def test_what_cannot_be_kept_is_counted_and_the_next_one_is_kept(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        await bench.say(ALL)
        bench.offer(b"1 2".ljust(LARGEST_BYTES + 1))
        bench.offer(b"one two")
        bench.offer(b"1 2 3")
        await bench.kept()
        bench.recordings.problem = "no room on the disk"
        bench.offer()
        await asyncio.sleep(1)
        bench.recordings.problem = None
        bench.offer()

        assert await bench.kept() == [[[1, 2]]]
        assert bench.recorder.drops("m") == Drops(
            counts={Dropped.TOO_LARGE: 1, Dropped.UNREADABLE: 2, Dropped.NOT_WRITTEN: 1},
            reason="no room on the disk",
        )

    play(tmp_path, story)


def test_a_bug_with_one_request_is_logged_and_the_next_one_is_kept(tmp_path: Path) -> None:
    def crash(_: bytes) -> Tensors:
        raise ZeroDivisionError

    async def story(bench: Bench) -> None:
        await bench.say(ALL)
        with capture_logs() as logs:
            bench.offer(decode=crash)
            bench.offer()
            assert len(await bench.kept()) == 1

        assert [(line["event"], line["model"]) for line in logs] == [("recording_crashed", "m")]

    play(tmp_path, story)


# Who gets a copy.


class Counting:
    """`Samples` that are only counted."""

    def __init__(self) -> None:
        self.count = 0

    def offer(self, model: str, body: bytes, decode: Decode) -> None:
        self.count += 1


@pytest.mark.parametrize(
    ("sample", "percent", "copied", "shares"),
    [
        (10, 50, 50, (0.2, 1)),
        (50, 10, 50, (1, 0.2)),
        (0, 5, 5, (0, 1)),
        (7, 0, 7, (1, 0)),
        # Canary has left just now: what is copied is for the recording.
        (50, 5, 5, (1, 1)),
        (0, 0, 5, (0, 0)),
    ],
)
def test_each_gets_its_own_share_of_what_is_copied(
    sample: int, percent: int, copied: int, shares: tuple[float, float]
) -> None:
    comparer, recorder = Counting(), Counting()
    seen = snapshot(
        model("m"),
        steering={"m": Steering(mirror=100, sample=sample)},
        recording={"m": Recording(percent=percent)},
    )
    samples = SharedSamples(
        lambda: seen,
        lambda: Routes(samples={"m": copied}),
        comparer=comparer,
        recorder=recorder,
    )
    random.seed(1)

    for _ in range(1000):
        samples.offer("m", b"", read)

    found = (comparer.count / 1000, recorder.count / 1000)
    assert found == pytest.approx(shares, abs=0.05)
    assert [each in (0, 1) for each in found] == [each in (0, 1) for each in shares]


def test_nobody_gets_a_copy_before_anything_is_known() -> None:
    comparer, recorder = Counting(), Counting()
    seen = snapshot(model("m"), recording={"m": ALL})
    for look, routes in ((None, Routes()), (seen, None)):
        SharedSamples(
            lambda look=look: look,  # type: ignore[misc]
            lambda routes=routes: routes,  # type: ignore[misc]
            comparer=comparer,
            recorder=recorder,
        ).offer("m", b"", read)

    assert (comparer.count, recorder.count) == (0, 0)
