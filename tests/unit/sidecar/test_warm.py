"""Warm-up by ordinary requests, on a fake server whose latencies are given, in virtual time."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from contract.layout import Store
from contract.manifest import ShapeCost, read_manifest
from sidecar.adapters.model_store import StoreFolder
from sidecar.adapters.stage import StageFolder
from sidecar.core.fleet import Server
from sidecar.core.stage_config import stage_config
from sidecar.core.steady import DEFAULT_RULE, Curve, SteadyRule
from sidecar.core.wanted import Placement
from sidecar.errors import Refused
from sidecar.runtime.activate import Waiting
from sidecar.runtime.board import Board
from sidecar.runtime.records import Records
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry
from sidecar.runtime.warm import Warmer
from sidecar.runtime.world import World
from tests.builders import publish
from tests.fakes.gateway import OWN
from tests.fakes.meter import FakeMeter
from tests.fakes.page_cache import FakePageCache
from tests.fakes.process import FakeProcess
from tests.fakes.recordings import FakeRecordings
from tests.fakes.state import FakeState
from tests.fakes.triton import FakeTriton
from tests.fakes.virtual_time import run_virtually

SERVING, CANARY = Server.SERVING, Server.CANARY
SMALL = """
model_warmup {
  name: "b1" batch_size: 1
  inputs { key: "x" value { data_type: TYPE_FP32 dims: [2] input_data_file: "x.bin" } }
}
"""
LARGE_COST = ShapeCost(batch=2, dims={"len": 128}, first_ms=9.0, steady_ms=3.0, runs_until_steady=1)
SMALL_COST = ShapeCost(batch=1, dims={"len": 16}, first_ms=9.0, steady_ms=3.0, runs_until_steady=1)


class Kitchen:
    """Version 1 of `m`, with two warm-up samples, loaded on one fake server."""

    def __init__(self, root: Path, *, costs: tuple[ShapeCost, ...]) -> None:
        store, stage = Store(root / "store"), root / "stage"
        stage.mkdir()
        publish(store)
        folder = store.version("m", 1)
        folder.config.write_text(folder.config.read_text() + SMALL)
        manifest = read_manifest(folder.manifest)
        cost = replace(manifest.cost, shapes=costs)
        folder.manifest.write_text(manifest.model_copy(update={"cost": cost}).model_dump_json())
        state = FakeState()
        self.triton = FakeTriton(stage)
        self._config = folder.config.read_text()
        self.world = World(
            servers=dict.fromkeys(Server, self.triton),
            stages=dict.fromkeys(Server, StageFolder(stage, store)),
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

    async def load(self, *latencies: str) -> None:
        """Load, without Triton's own warm-up, what then takes `latencies`: "0.2s x3"."""
        config = stage_config(self._config, versions=(1,), warmup=False)
        placement = Placement(versions=(1,), lead=1, config=config)
        await self.world.stages[SERVING].write("m", placement)
        await self.triton.load("m", timeout_s=10)
        self.triton.calls.clear()
        self.triton.add_faults(*(f"infer m 1: slow {latency}" for latency in latencies))

    async def warm(
        self, server: Server = SERVING, rule: SteadyRule = DEFAULT_RULE
    ) -> tuple[Curve, ...]:
        return await Warmer(self.world, query_timeout_s=5.0, rule=rule).warm(server, "m", 1)


def play(
    root: Path,
    story: Callable[[Kitchen], Awaitable[None]],
    *,
    costs: tuple[ShapeCost, ...] = (LARGE_COST, SMALL_COST),
) -> None:
    async def in_time() -> None:
        await story(Kitchen(root, costs=costs))

    run_virtually(in_time())


def test_each_shape_is_sent_until_its_latency_is_steady(tmp_path: Path) -> None:
    async def story(kitchen: Kitchen) -> None:
        await kitchen.load("0.2s", "0.1s x4", "0.02s x99")

        large, small = await kitchen.warm()

        assert (large.shape, small.shape) == ("batch 2, len 128", "batch 1, len 16")
        assert large.latencies_ms == pytest.approx([200.0] + [100.0] * 4 + [20.0] * 10, abs=0.1)
        assert small.latencies_ms == pytest.approx([20.0] * 12, abs=0.1)
        assert large.steady
        assert small.steady
        assert large.steady_ms == pytest.approx(20.0, abs=0.1)
        assert large.seconds == pytest.approx(0.8, abs=0.01)
        assert kitchen.triton.calls == ["infer m 1"] * 27

    play(tmp_path, story)


def test_a_shape_that_does_not_settle_is_left_and_the_next_begun(tmp_path: Path) -> None:
    async def story(kitchen: Kitchen) -> None:
        await kitchen.load(*(f"{0.9**run:.3f}s" for run in range(20)), "0.01s x99")

        large, small = await kitchen.warm(rule=SteadyRule(max_runs=20))

        assert (large.steady, large.runs) == (False, 20)
        assert (small.steady, small.runs) == (True, 12)

    play(tmp_path, story)


def test_a_slow_shape_is_left_when_its_time_is_up(tmp_path: Path) -> None:
    async def story(kitchen: Kitchen) -> None:
        await kitchen.load("0.4s x99")

        curves = await kitchen.warm(rule=SteadyRule(max_s=1.0))

        assert [(curve.steady, curve.runs) for curve in curves] == [(False, 3)] * 2

    play(tmp_path, story)


def test_a_refused_sample_ends_the_warm_up(tmp_path: Path) -> None:
    async def story(kitchen: Kitchen) -> None:
        await kitchen.load("0.2s x2")
        kitchen.triton.add_faults("infer m 1: refused 'Internal: 77 is out of range'")

        with pytest.raises(Refused, match="77 is out of range"):
            await kitchen.warm()

        assert len(kitchen.triton.calls) == 3

    play(tmp_path, story)


@pytest.mark.parametrize("costs", [(), (LARGE_COST,)], ids=["none measured", "others measured"])
def test_shapes_that_the_generator_did_not_measure_are_named_by_their_tensors(
    tmp_path: Path, costs: tuple[ShapeCost, ...]
) -> None:
    async def story(kitchen: Kitchen) -> None:
        await kitchen.load()

        assert [curve.shape for curve in await kitchen.warm()] == ["x [2, 2]", "x [1, 2]"]

    play(tmp_path, story, costs=costs)


def test_its_requests_are_not_taken_for_those_of_clients(tmp_path: Path) -> None:
    async def story(kitchen: Kitchen) -> None:
        await kitchen.load()
        tally = kitchen.world.board.tally
        tally.loaded("m", await served(kitchen), (1,))
        await kitchen.warm()

        assert await served(kitchen) == {1: 24}
        assert tally.take({"m": await served(kitchen)}, busy=()) == {}

    play(tmp_path, story)


def test_requests_to_the_canary_are_not_taken_off_what_clients_sent_to_serving(
    tmp_path: Path,
) -> None:
    async def story(kitchen: Kitchen) -> None:
        await kitchen.load()
        tally = kitchen.world.board.tally
        tally.loaded("m", {1: 0}, (1,))
        await kitchen.warm(CANARY)

        assert tally.take({"m": {1: 7}}, busy=()) == {"m": 7}

    play(tmp_path, story)


async def served(kitchen: Kitchen) -> Mapping[int, int]:
    return (await kitchen.triton.requests_served())["m"]
