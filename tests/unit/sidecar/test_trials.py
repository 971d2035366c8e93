"""A new version measured, compared and watched, on fake servers in virtual time."""

import asyncio
import gc
import json
import random
import weakref
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import pytest

from contract.layout import ONNX_MODEL, Store
from contract.manifest import ShapeCost, read_manifest
from contract.samples import GoldenSample, Tensors, write_golden
from sidecar.adapters.model_store import StoreFolder
from sidecar.adapters.stage import StageFolder
from sidecar.core.agreement import Agreement, Order, Score
from sidecar.core.fleet import CheckKind, Server, Verification
from sidecar.core.judge import judge_comparison, judge_soak
from sidecar.core.release import Release, ReleaseState
from sidecar.core.strategy import Copies, Outputs, Strategy
from sidecar.core.traffic import Answered, Traffic
from sidecar.core.trial import Pair, Served, Trial
from sidecar.core.verdict import Ruling
from sidecar.errors import Refused, ServerLost, Unproven
from sidecar.ports import MemoryMeter
from sidecar.runtime.activate import Waiting
from sidecar.runtime.board import Board
from sidecar.runtime.held import Scales
from sidecar.runtime.records import Records
from sidecar.runtime.route import Router
from sidecar.runtime.telemetry import Telemetry
from sidecar.runtime.trials import LONGEST_GAP_S, MOST_ASKED, Trier
from sidecar.runtime.warm import Warmer
from sidecar.runtime.world import World
from tests.builders import CANARY, MIB, SERVING, model, placed, publish, release, request
from tests.fakes.gateway import OWN, FakeGateway
from tests.fakes.meter import FakeMeter
from tests.fakes.page_cache import FakePageCache
from tests.fakes.process import FakeProcess
from tests.fakes.recordings import FakeRecordings
from tests.fakes.state import FakeState
from tests.fakes.triton import REST_AFTER_LOAD_S, FakeTriton, OwnMeter
from tests.fakes.virtual_time import run_virtually

STORED = model("m", versions=(1, 2))
SAME_S = {"1": 0.01, "2": 0.02}
"""What an answer takes, by batch size: of a golden sample each, and of the warm-up sample."""
GOLDEN = [
    GoldenSample({"x": x}, {"y": 2 * x})
    for x in (np.float32([[1.0, -3.0]]), np.float32([[0.5, 2.0], [4.0, 8.0]]))
]
PASS, FAIL, INCONCLUSIVE = Ruling.PASS, Ruling.FAIL, Ruling.INCONCLUSIVE


class Yard:
    """Version 1 and 2 of `m` are y = 2 x and as fast, unless `behave` says otherwise of 2.

    Different requests are two golden samples, of batch 1 and 2, and a warm-up sample of batch 2.
    """

    def __init__(self, root: Path, **behaviour: Any) -> None:
        self.store = Store(root / "store")
        for version in STORED.versions:
            publish(self.store, number=version)
            write_golden(self.store.version("m", version).golden, GOLDEN)
            self.behave(version, takes_s=SAME_S)
        self.behave(2, **behaviour)
        for server in Server:
            (root / server).mkdir()
        self.tritons = {
            server: FakeTriton(
                root / server, name=server, memory=FakeMeter(bytes_of=lambda *_: 100 * MIB)
            )
            for server in Server
        }
        self.recordings = FakeRecordings()
        state = FakeState()
        self.world = World(
            servers=self.tritons,
            stages={server: StageFolder(root / server, self.store) for server in Server},
            store=StoreFolder(self.store, {}),
            process=FakeProcess(),
            meter=OwnMeter(self.tritons[SERVING]),
            page_cache=FakePageCache(),
            recordings=self.recordings,
            records=Records(state),
            board=Board(),
            waiting=Waiting(),
            router=Router(None, OWN, Telemetry(state)),
            telemetry=Telemetry(state),
        )
        self.trier: Trier
        self.restart_sidecar()

    def restart_sidecar(self, meter: MemoryMeter | None = None) -> None:
        """What a process knows is lost, but for what it holds as proven."""
        self.trier = Trier(
            self.world,
            Warmer(self.world, query_timeout_s=5.0),
            Scales(self.world, meter or OwnMeter(self.tritons[CANARY])),
            query_timeout_s=5.0,
        )

    def behave(self, version: int, **behaviour: Any) -> None:
        path = self.store.version("m", version).path / ONNX_MODEL
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **behaviour}))

    async def hold(self, server: Server, *versions: int) -> None:
        wanted = placed(STORED, *versions, warmup=False)
        await asyncio.sleep(REST_AFTER_LOAD_S)
        await self.world.stages[server].write("m", wanted)
        await self.tritons[server].load("m", timeout_s=10)
        self.world.board.verify(
            (server, "m"), Verification(versions=frozenset(versions), config=wanted.config)
        )
        self.calls(server).clear()

    def calls(self, server: Server) -> list[str]:
        return self.tritons[server].calls

    async def compared(
        self, rounds: int = 1, strategy: Strategy | None = None, before: Trial | None = None
    ) -> Trial:
        return await self._rounds(self.trier.compare, rounds, strategy, before)

    async def guarded(
        self, rounds: int = 1, strategy: Strategy | None = None, before: Trial | None = None
    ) -> Trial:
        return await self._rounds(self.trier.guard, rounds, strategy, before)

    async def _rounds(
        self,
        look: Callable[[Release, Trial | None], Awaitable[Trial]],
        rounds: int,
        strategy: Strategy | None,
        before: Trial | None,
    ) -> Trial:
        going = replace(release(ReleaseState.SOAKING), strategy=strategy or Strategy())
        for _ in range(rounds):
            before = await look(going, before)
        assert before is not None
        return before


def play(root: Path, story: Callable[[Yard], Awaitable[None]], **behaviour: Any) -> None:
    """`behaviour` is what is special about version 2; see `tests.fakes.triton`."""
    random.seed(1)

    async def in_time() -> None:
        yard = Yard(root, **behaviour)
        await story(yard)
        assert [triton.violations for triton in yard.tritons.values()] == [[], []]

    run_virtually(in_time())


def ruling(trial: Trial, **strategy: Any) -> tuple[Ruling, str]:
    verdict = judge_comparison(trial, Strategy(**strategy))
    return verdict.ruling, verdict.note


async def both_on_canary(yard: Yard) -> None:
    await yard.hold(CANARY, 1, 2)


async def both_on_serving(yard: Yard) -> None:
    await yard.hold(SERVING, 1, 2)


def test_both_versions_are_asked_the_same_and_each_is_the_first_in_turn(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await both_on_canary(yard)
        await yard.compared(rounds=3)

        calls = [call for call in yard.calls(CANARY) if call.startswith("infer")]
        pairs = [tuple(calls[at : at + 2]) for at in range(0, len(calls), 2)]
        assert all(set(pair) == {"infer m 1", "infer m 2"} for pair in pairs)
        firsts = Counter(first for first, _ in pairs)
        assert len(pairs) / 4 < firsts["infer m 1"] < len(pairs) * 3 / 4

    play(tmp_path, story)


def test_a_round_takes_a_second_and_all_races_grow_alike(tmp_path: Path) -> None:
    """Batch 1 takes 20 ms for a pair, batch 2 twice that; the first two of each are not raced."""

    async def story(yard: Yard) -> None:
        await both_on_canary(yard)
        first = await yard.compared()
        third = await yard.compared(rounds=2, before=first)

        assert (first.rounds, third.rounds) == (1, 3)
        assert first.watched_s == pytest.approx(1.0, abs=0.05)
        assert third.watched_s == pytest.approx(3.0, abs=0.15)
        assert {shape: race.pairs for shape, race in third.races.items()} == {
            "x [2, 2]": 48,
            "batch 1": 48,
        }
        assert third.races["batch 1"].latest[0] == pytest.approx(Pair(10, 10), abs=0.1)

    play(tmp_path, story)


def test_a_slow_model_is_asked_for_one_pair_in_a_round_and_goes_on_in_the_next(
    tmp_path: Path,
) -> None:
    async def story(yard: Yard) -> None:
        yard.behave(1, takes_s={"1": 2.0, "2": 2.0})
        await both_on_canary(yard)

        trial = await yard.compared()
        assert (trial.requests, trial.watched_s) == (1, pytest.approx(4.0, abs=0.01))
        assert trial.unasked == 2

        trial = await yard.compared(rounds=2, before=trial)
        assert (trial.requests, trial.obstacle) == (3, None)

    play(tmp_path, story, takes_s={"1": 2.0, "2": 2.0})


def test_as_good_a_version_passes(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        yard.recordings.kept["m"] = [request(float(n), -1.0) for n in range(20)]
        await both_on_canary(yard)

        trial = await yard.compared(rounds=3)

        assert ruling(trial)[0] is PASS
        assert ruling(trial, outputs=Outputs.EQUAL)[0] is PASS
        assert (trial.requests, trial.recorded, trial.failures) == (23, 20, 0)
        assert trial.outputs["y"].agreeing == 23

    play(tmp_path, story)


def test_what_is_slower_everywhere_is_found_out_by_the_cheapest_shape(tmp_path: Path) -> None:
    """Batch 1 takes 0.4 s for a pair, batch 2 takes 4 s: a race of both would take minutes."""

    async def story(yard: Yard) -> None:
        await both_on_canary(yard)
        trial = None
        while trial is None or ruling(trial)[0] is INCONCLUSIVE:
            trial = await yard.compared(before=trial)

        assert ruling(trial)[0] is FAIL
        assert trial.watched_s < 15
        assert trial.races["x [2, 2]"].pairs == 0

    play(tmp_path, story, takes_s={"1": 0.4, "2": 4.0})


def test_no_race_is_judged_before_all_have_run(tmp_path: Path) -> None:
    """Many requests of one shape do not hide that another has not been timed."""
    slow_s = {"1": 0.0101, "2": 0.51}

    async def story(yard: Yard) -> None:
        yard.behave(1, takes_s=slow_s)
        yard.recordings.kept["m"] = [request(float(n), -1.0) for n in range(50)]
        await both_on_canary(yard)

        trial = await yard.compared(rounds=3)

        assert trial.obstacle is None
        assert {shape: race.pairs for shape, race in trial.races.items()} == {
            "x [2, 2]": 0,
            "batch 1": 49,
        }
        assert ruling(trial)[0] is INCONCLUSIVE

    play(tmp_path, story, takes_s=slow_s)


def test_a_model_that_takes_no_time_is_not_asked_without_end(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        yard.behave(1, takes_s={})
        await both_on_canary(yard)

        trial = await yard.compared(rounds=3)

        assert len(yard.calls(CANARY)) == 3 * 2 * MOST_ASKED[CheckKind.COMPARE]
        assert ruling(trial, outputs=Outputs.EQUAL)[0] is PASS

    play(tmp_path, story, takes_s={})


def test_a_version_that_is_slower_at_one_shape_only_fails_by_that(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await both_on_canary(yard)

        found, note = ruling(await yard.compared(rounds=3))

        assert found is FAIL
        assert "x [2, 2]: more than 20% slower than version 1 in" in note
        assert "30 ms against 20 ms" in note
        assert "batch 1" not in note

    play(tmp_path, story, takes_s={"1": 0.01, "2": 0.03})


def test_a_request_that_only_the_new_version_refuses_is_a_failure(tmp_path: Path) -> None:
    """The golden sample with 8 in it."""

    async def story(yard: Yard) -> None:
        await both_on_canary(yard)

        trial = await yard.compared()

        assert trial.failures > 0
        assert trial.failure == "Internal: 8 is out of range"
        assert ruling(trial)[0] is FAIL

    play(tmp_path, story, refuses=8.0)


def test_a_request_that_both_refuse_is_left_out_and_its_race_is_off(tmp_path: Path) -> None:
    """The only one of batch 1 has -3 in it."""

    async def story(yard: Yard) -> None:
        yard.behave(1, refuses=-3.0)
        await both_on_canary(yard)

        trial = await yard.compared(rounds=2)

        assert (trial.failures, trial.requests, trial.obstacle) == (0, 2, None)
        assert set(trial.races) == {"x [2, 2]"}

    play(tmp_path, story, refuses=-3.0)


def test_where_the_old_version_answers_nothing_there_is_nothing_to_compare(
    tmp_path: Path,
) -> None:
    async def story(yard: Yard) -> None:
        await both_on_canary(yard)
        yard.tritons[CANARY].add_faults("infer m 1: refused 'Internal: no' x9")

        trial = await yard.compared()

        assert trial.obstacle == "version 1 answers none of the 3 requests: Internal: no"
        assert ruling(trial)[0] is INCONCLUSIVE

    play(tmp_path, story)


def test_one_wrong_answer_to_a_rare_request_fails_where_outputs_must_be_equal(
    tmp_path: Path,
) -> None:
    async def story(yard: Yard) -> None:
        requests = [request(float(n), -1.0) for n in range(70)]
        yard.recordings.kept["m"] = [*requests, request(77.0, 1.0)]
        equal = Strategy(outputs=Outputs.EQUAL)
        await both_on_canary(yard)

        trial = await yard.compared(strategy=equal)
        assert trial.unasked > 0
        assert ruling(trial, outputs=Outputs.EQUAL)[0] is INCONCLUSIVE

        trial = await yard.compared(strategy=equal, before=trial)
        assert ruling(trial, outputs=Outputs.EQUAL)[0] is FAIL

    play(tmp_path, story, wrong_above=76.0)


def test_what_fails_already_does_not_wait_for_the_other_requests(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        yard.recordings.kept["m"] = [request(float(n), -1.0) for n in range(200)]
        await both_on_canary(yard)

        assert ruling(await yard.compared())[0] is FAIL

    play(tmp_path, story, refuses=8.0)


def test_an_answer_that_is_no_number_fails(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await both_on_canary(yard)

        found, note = ruling(await yard.compared())

        assert found is FAIL
        assert "output y: NaN or infinity where the reference has none" in note

    play(tmp_path, story, nan_from=2)


def test_rows_that_are_copies_are_one_witness(tmp_path: Path) -> None:
    """Three rows of golden samples, and two equal ones of the warm-up sample."""

    async def story(yard: Yard) -> None:
        await both_on_canary(yard)

        assert (await yard.compared()).outputs["y"].rows == 4

    play(tmp_path, story)


@pytest.mark.parametrize(("scale", "same"), [(2.0, 10), (-2.0, 0)], ids=["same", "negated"])
def test_scores_are_put_in_pairs_once_however_often_they_are_asked(
    tmp_path: Path, scale: float, same: int
) -> None:
    async def story(yard: Yard) -> None:
        yard.recordings.kept["m"] = [request(float(number)) for number in range(1, 22)]
        await both_on_canary(yard)

        trial = await yard.compared(rounds=4)
        seen = trial.outputs["y"].order
        odd = Score(42, scale * 21, pytest.approx(42e-3))
        assert seen == Order(pairs=10, same=same, odd=odd)

        await yard.world.records.set_trial("m.2", CheckKind.COMPARE, trial)
        assert await yard.world.records.trials_of("m.2") == {CheckKind.COMPARE: trial}

        yard.restart_sidecar()
        again = await yard.compared(rounds=4, before=trial)
        assert again.outputs["y"].order == seen

    play(tmp_path, story, scale=scale)


def test_a_version_that_leaks_fails(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await both_on_canary(yard)

        found, note = ruling(await yard.compared(rounds=12))

        assert found is FAIL
        assert "it leaks" in note

    play(tmp_path, story, leaks=2 * MIB)


@pytest.mark.parametrize("comes", [SERVING, CANARY])
def test_memory_that_others_have_a_part_in_is_not_read(tmp_path: Path, comes: Server) -> None:
    """Without processes of their own, models cannot be told apart, nor servers on one device."""

    async def story(yard: Yard) -> None:
        yard.restart_sidecar(OwnMeter(yard.tritons[CANARY], sees_models=False))
        await both_on_canary(yard)
        trial = await yard.compared()
        assert trial.memory is not None
        assert len(trial.memory.readings) == 1

        yard.world.board.busy.add((comes, "other"))
        trial = await yard.compared(before=trial)
        assert trial.memory is not None
        assert len(trial.memory.readings) == 1

    play(tmp_path, story)


def test_memory_is_not_read_while_another_model_is_on_the_same_server(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        yard.restart_sidecar(OwnMeter(yard.tritons[CANARY], sees_models=False))
        await both_on_canary(yard)
        yard.world.board.busy.add((CANARY, "other"))

        assert (await yard.compared()).memory is None

    play(tmp_path, story)


def test_without_a_margin_there_are_no_races(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await both_on_canary(yard)

        trial = await yard.compared(strategy=Strategy(latency_margin=None))

        assert trial.races == {}
        assert trial.requests == 3

    play(tmp_path, story)


@pytest.mark.parametrize("version", [1, 2])
def test_a_lost_server_is_no_evidence(tmp_path: Path, version: int) -> None:
    async def story(yard: Yard) -> None:
        await both_on_canary(yard)
        before = await yard.compared()
        yard.tritons[CANARY].add_faults(f"infer m {version}: kill")

        with pytest.raises(ServerLost):
            await yard.compared(before=before)

        yard.tritons[CANARY].restart()
        yard.recordings.kept["m"] = [request(5.0, 1.0)]
        await both_on_canary(yard)
        trial = await yard.compared(before=before)
        assert (trial.requests, trial.outputs["y"].requests) == (4, 4)
        assert trial.races["batch 1"].pairs > before.races["batch 1"].pairs

    play(tmp_path, story)


def test_a_server_without_the_versions_is_asked_nothing(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await yard.hold(CANARY, 2)

        trial = await yard.compared()

        assert yard.calls(CANARY) == []
        assert (trial.failures, ruling(trial)[0]) == (0, INCONCLUSIVE)

    play(tmp_path, story)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_unloaded_in_mid_round_does_not_fail_by_that(tmp_path: Path, seed: int) -> None:
    """One version has been asked, in turn the old and the new one, and the other cannot be."""
    slow_s = {"1": 1.0}

    async def story(yard: Yard) -> None:
        random.seed(seed)
        yard.behave(1, takes_s=slow_s)
        await both_on_canary(yard)
        comparing = asyncio.create_task(yard.compared())
        await asyncio.sleep(0.5)
        yard.world.board.busy.add((CANARY, "m"))
        await yard.tritons[CANARY].unload("m")

        assert (await comparing).failures == 0

    play(tmp_path, story, takes_s=slow_s)


def test_another_process_takes_up_the_races_and_compares_outputs_anew(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await both_on_canary(yard)
        before = await yard.compared(rounds=2)
        yard.restart_sidecar()

        trial = await yard.compared(before=before)

        assert (trial.requests, trial.rounds) == (3, 3)
        assert trial.races["batch 1"].pairs > before.races["batch 1"].pairs
        assert trial.watched_s > before.watched_s

    play(tmp_path, story)


def test_files_that_cannot_be_read_are_an_obstacle(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await both_on_canary(yard)
        yard.store.version("m", 2).golden.unlink()

        trial = await yard.compared()

        assert (trial.rounds, yard.calls(CANARY)) == (1, [])
        assert "golden.npz cannot be read" in (trial.obstacle or "")
        rmtree(yard.store.version("m", 2).path)
        assert (await yard.guarded()).obstacle is not None

    play(tmp_path, story)


def test_a_guard_asks_little_of_a_server_with_traffic_and_tells_that_it_was_not_traffic(
    tmp_path: Path,
) -> None:
    async def story(yard: Yard) -> None:
        await both_on_serving(yard)
        tally = yard.world.board.tally
        tally.loaded("m", {1: 0, 2: 0}, (1, 2))
        began_s = asyncio.get_running_loop().time()

        trial = await yard.guarded()

        assert asyncio.get_running_loop().time() - began_s < 0.1
        counts = await yard.tritons[SERVING].requests_served()
        assert counts == {"m": {1: 2, 2: 2}}
        assert tally.take(counts, busy=()) == {}
        assert trial.served == trial.served_before == {1: Served(), 2: Served()}
        assert judge_soak(trial, Strategy()).ruling is PASS

    play(tmp_path, story)


def test_a_guard_counts_what_clients_met_since_it_began(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await both_on_serving(yard)
        await clients(yard, 7, request(1.0, 1.0))
        trial = await yard.guarded()
        await clients(yard, 5, request(1.0, 1.0))
        await clients(yard, 3, request(77.0, 1.0))

        trial = await yard.guarded(rounds=2, before=trial)

        assert trial.served_before == {1: Served(), 2: Served(succeeded=7)}
        assert trial.served == {1: Served(), 2: Served(succeeded=12, failed=3)}

    play(tmp_path, story, refuses=77.0, tells_failures=True)


def test_a_guard_believes_the_gateway_that_a_version_refuses_what_triton_counts_as_answered(
    tmp_path: Path,
) -> None:
    """Before the trial, requests that name no version met the base; in the soak the new one."""

    async def story(yard: Yard) -> None:
        gateway = FakeGateway()
        router = Router(gateway, OWN, Telemetry(FakeState()))
        yard.world = replace(yard.world, router=router)
        yard.restart_sidecar()
        await both_on_serving(yard)
        gateway.counted["m"] = gateway_counted((None, "500", 2), (None, "400", 9))
        for version in (1, 2):
            await clients(yard, 10, request(77.0, 1.0), version)
        trial = await yard.guarded()
        assert trial.served_before[1] == Served(succeeded=8, failed=2)
        assert trial.served_before[2] == Served(succeeded=10)

        await clients(yard, 5, request(77.0, 1.0))
        gateway.counted["m"] = gateway_counted((None, "500", 5), (2, "grpc:13", 1))
        trial = await yard.guarded(before=trial)
        gateway.kill()
        await clients(yard, 1, request(77.0, 1.0))
        trial = await yard.guarded(before=trial)

        assert trial.served[1] == trial.served_before[1]
        assert trial.served[2] == Served(succeeded=12, failed=4)

    play(tmp_path, story, refuses=77.0)


def gateway_counted(*answers: tuple[int | None, str, int]) -> Traffic:
    return Traffic(
        answers={Answered(version, code, "hit"): count for version, code, count in answers}
    )


def test_a_guard_in_another_process_does_not_count_twice(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await both_on_serving(yard)
        trial = await yard.guarded()
        await clients(yard, 5, request(1.0, 1.0))
        trial = await yard.guarded(before=trial)
        yard.restart_sidecar()

        trial = await yard.guarded(before=trial)
        await clients(yard, 2, request(1.0, 1.0))
        trial = await yard.guarded(before=trial)

        assert trial.served[2] == Served(succeeded=7)

    play(tmp_path, story)


async def clients(yard: Yard, times: int, inputs: Tensors, version: int = 2) -> None:
    """Clients ask the new version, or another one."""
    for _ in range(times):
        await asyncio.gather(
            yard.tritons[SERVING].infer("m", version, inputs, timeout_s=5), return_exceptions=True
        )


def test_only_time_between_rounds_of_one_process_is_watched(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await both_on_serving(yard)
        trial = await yard.guarded()
        assert trial.watched_s == 0

        await asyncio.sleep(1.0)
        trial = await yard.guarded(before=trial)
        assert trial.watched_s == pytest.approx(1.0, abs=0.1)

        await asyncio.sleep(60.0)
        trial = await yard.guarded(before=trial)
        assert trial.watched_s == pytest.approx(1.0 + LONGEST_GAP_S, abs=0.1)

        yard.restart_sidecar()
        again = await yard.guarded(before=trial)
        assert again.watched_s == trial.watched_s

    play(tmp_path, story)


def test_in_the_soak_answers_are_held_against_golden_samples(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        yard.behave(1, wrong_above=3.0)
        await both_on_serving(yard)

        trial = await yard.guarded(rounds=3)

        assert trial.outputs["y"].agreeing < trial.outputs["y"].requests
        assert judge_soak(trial, Strategy()).ruling is FAIL

    play(tmp_path, story, wrong_above=3.0)


def test_a_guard_races_both_versions_and_asks_only_the_new_one_where_it_is_alone(
    tmp_path: Path,
) -> None:
    alone = Strategy(copies=Copies.ONE_AT_A_TIME)

    async def story(yard: Yard) -> None:
        await both_on_serving(yard)
        trial = await yard.guarded(rounds=20)
        assert trial.races["x [2, 2]"].pairs > 5

        yard.restart_sidecar()
        await yard.hold(SERVING, 2)
        trial = await yard.guarded(rounds=20, strategy=alone)
        assert trial.races == {}
        assert trial.outputs["y"] == Agreement(
            requests=trial.outputs["y"].requests,
            agreeing=trial.outputs["y"].requests,
            rows=trial.outputs["y"].rows,
            same_top=trial.outputs["y"].rows,
            errors=(0.0,) * trial.outputs["y"].requests,
        )
        assert "infer m 1" not in yard.calls(SERVING)

    play(tmp_path, story)


def test_a_guard_times_nothing_while_clients_keep_the_new_version_busy(tmp_path: Path) -> None:
    """Only the new version has clients: behind these it would seem slower than it is."""

    async def story(yard: Yard) -> None:
        await both_on_serving(yard)
        trial = await yard.guarded()
        for _ in range(5):
            await clients(yard, 20, request(1.0, 2.0))
            await asyncio.sleep(1.0)
            trial = await yard.guarded(before=trial)
        assert trial.races == {}

        for _ in range(5):
            await clients(yard, 2, request(1.0, 2.0))
            await asyncio.sleep(1.0)
            trial = await yard.guarded(before=trial)
        assert sum(race.pairs for race in trial.races.values()) > 5

    play(tmp_path, story)


def test_a_guard_sees_that_the_new_version_refuses(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await both_on_serving(yard)
        yard.tritons[SERVING].add_faults("infer m 2: refused 'Internal: 77'")

        trial = await yard.guarded()

        assert (trial.failures, trial.failure) == (1, "Internal: 77")

    play(tmp_path, story)


def test_a_leak_shows_in_the_soak(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await both_on_serving(yard)
        trial = None
        for _ in range(60):
            trial = await yard.guarded(before=trial)
            await clients(yard, 4, request(1.0, 1.0))
            await asyncio.sleep(1.0)

        assert trial is not None
        assert trial.memory is not None
        assert len(trial.memory.readings) <= 15
        assert trial.memory.readings[-1][2] > 200
        assert judge_soak(trial, Strategy()).ruling is FAIL

    play(tmp_path, story, leaks=MIB)


def test_requests_of_a_release_are_let_go_when_another_begins_after_it(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        yard.recordings.kept["m"] = [request(5.0, 1.0)]
        await both_on_canary(yard)
        over = release(ReleaseState.COMPARING)
        await yard.trier.compare(over, None)
        inputs = weakref.ref(yard.recordings.kept.pop("m")[0]["x"])
        assert inputs() is not None

        await yard.trier.compare(replace(over, id="m.3"), None)
        gc.collect()

        assert inputs() is None

    play(tmp_path, story)


def test_a_version_is_measured_when_it_is_steady(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        declare(yard, ShapeCost(batch=2, dims={}, first_ms=9, steady_ms=3, runs_until_steady=1))
        await yard.hold(CANARY, 2)

        note, evidence = await yard.trier.measure(release(ReleaseState.MEASURING))

        speed, memory = evidence
        assert note == "shapes whose latency has become steady: 1 of 1; cpu: 100.0 MiB"
        assert (speed.check, memory.check) == ("measured: batch 2", "memory: cpu")
        assert speed.numbers == {
            "first_ms": pytest.approx(20, abs=0.1),
            "steady_ms": pytest.approx(20, abs=0.1),
            "runs": 12,
            "steady": 1,
            "declared_ms": 3,
        }
        assert memory.numbers["held_bytes"] == 100 * MIB
        assert memory.numbers["declared_bytes"] == 40 * MIB
        assert memory.ruling is PASS

    play(tmp_path, story)


def test_a_version_that_holds_far_more_than_declared_is_refused(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await yard.hold(CANARY, 2)

        with pytest.raises(Unproven, match=r"version 2 holds 148\.0 MiB of cpu, more than the"):
            await yard.trier.measure(release(ReleaseState.MEASURING))

    play(tmp_path, story, leaks=4 * MIB)


@pytest.mark.parametrize("meter", ["fails", "sees the whole server"])
def test_memory_is_not_measured_where_it_cannot_be_told(tmp_path: Path, meter: str) -> None:
    """What is too much for all that is on a server may be little for one."""

    async def story(yard: Yard) -> None:
        if meter == "fails":
            yard.restart_sidecar(FakeMeter(faults=["measure: refused 'no' x9"]))
        else:
            yard.restart_sidecar(OwnMeter(yard.tritons[CANARY], sees_models=False))
        await yard.hold(CANARY, 2)

        _, evidence = await yard.trier.measure(release(ReleaseState.MEASURING))

        assert [each.check for each in evidence] == ["measured: x [2, 2]"]

    play(tmp_path, story, leaks=4 * MIB)


def declare(yard: Yard, *shapes: ShapeCost) -> None:
    path = yard.store.version("m", 2).manifest
    manifest = read_manifest(path)
    cost = replace(manifest.cost, shapes=shapes, peak_bytes=40 * MIB)
    path.write_text(manifest.model_copy(update={"cost": cost}).model_dump_json())


def test_a_warm_up_that_fails_in_execution_is_told_with_its_text(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await yard.hold(CANARY, 2)
        with pytest.raises(Refused, match="2 is out of range"):
            await yard.trier.measure(release(ReleaseState.MEASURING))

    play(tmp_path, story, refuses=2.0)


def test_batches_are_raced_in_doubling_steps(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        yard.recordings.kept["m"] = [
            {"x": np.full((batch, 2), batch, np.float32)} for batch in (3, 4, 5, 8)
        ]
        await both_on_canary(yard)

        trial = await yard.compared()

        assert set(trial.races) == {"batch 1", "x [2, 2]", "batch 3 to 4", "batch 5 to 8"}

    play(tmp_path, story)
