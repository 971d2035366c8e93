"""What came of a check: an outcome, a trial, or the loss of a server. 2 may replace 1."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from contract.layout import ONNX_MODEL
from contract.manifest import ShapeCost, read_manifest, record_files
from sidecar.core.actions import Check
from sidecar.core.agreement import Agreement
from sidecar.core.checks import EVERY_S
from sidecar.core.events import EventName
from sidecar.core.fleet import CheckKind, OperationKind, Server
from sidecar.core.judge import judge_comparison
from sidecar.core.release import ReleaseState
from sidecar.core.strategy import Strategy
from sidecar.core.trial import Trial
from sidecar.core.verdict import Evidence, Ruling
from sidecar.ports import Stored
from sidecar.runtime.check import Checker
from sidecar.runtime.prove import Prover
from sidecar.runtime.records import Records
from sidecar.runtime.trials import ROUND_S
from tests.builders import CANARY, SERVING, release, trial
from tests.fakes.state import FakeState
from tests.hindered import hindered
from tests.unit.sidecar.rig import Rig, run
from tests.unit.sidecar.test_cycles import come_to, release_2, serving_version_1
from tests.unit.sidecar.test_trials import Yard, declare, play

S = ReleaseState
K = CheckKind
CONFIG = "as it was placed"


def action(kind: CheckKind, before: Trial | None = None) -> Check:
    of = release(S.SOAKING)
    return Check(kind=kind, release=of, config=CONFIG, reason="it is due", trial=before)


async def checked(yard: Yard, kind: CheckKind, before: Trial | None = None) -> None:
    prover = Prover(yard.world, query_timeout_s=5.0)
    await Checker(yard.world, prover, yard.trier).check(action(kind, before))


async def told(yard: Yard) -> list[tuple[EventName, object, object]]:
    rows = await yard.world.telemetry.journal.read(after=0, limit=10)
    return [(row.event.name, row.event.detail["check"], row.event.detail["note"]) for row in rows]


def recorded_as_it_is(yard: Yard) -> None:
    """A yard changes files after their publication."""
    folder = yard.store.version("m", 2)
    manifest = read_manifest(folder.manifest)
    changed = manifest.model_copy(update={"files": record_files(folder.path)})
    folder.manifest.write_text(changed.model_dump_json())


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        (K.FILES, "every file is as the manifest says"),
        (
            K.GOLDEN,
            "2 golden samples within tolerance (largest scaled error 0.0e+00), 1 warm-up samples "
            "answered",
        ),
    ],
)
def test_what_is_proven_is_an_outcome_with_its_sentence(
    tmp_path: Path, kind: CheckKind, note: str
) -> None:
    async def story(yard: Yard) -> None:
        recorded_as_it_is(yard)
        await yard.hold(CANARY, 2)

        await checked(yard, kind)

        (outcome,) = yard.world.board.outcomes.items()
        assert outcome[0] == ("m.2", kind)
        assert (outcome[1].passed, outcome[1].note) == (True, note)
        assert await told(yard) == [(EventName.CHECK_PASSED, kind.value, note)]
        assert yard.world.board.failures == {}

    play(tmp_path, story)


def test_what_is_measured_is_an_outcome_with_evidence(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        declare(yard, ShapeCost(batch=2, dims={}, first_ms=9, steady_ms=3, runs_until_steady=1))
        await yard.hold(CANARY, 2)

        await checked(yard, K.MEASURE)

        outcome = yard.world.board.outcomes["m.2", K.MEASURE]
        assert outcome.passed
        _, memory = outcome.evidence
        assert outcome.note == f"shapes whose latency has become steady: 1 of 1; {memory.note}"

    play(tmp_path, story)


def damaged(yard: Yard) -> None:
    (yard.store.version("m", 2).path / ONNX_MODEL).write_bytes(b"")


def refusing(yard: Yard) -> None:
    yard.tritons[CANARY].add_faults("infer m 2: refused 'Internal: 77'")


def without_samples(yard: Yard) -> None:
    yard.store.version("m", 2).golden.unlink()


def unreadable(yard: Yard) -> None:
    yard.store.version("m", 2).golden.write_bytes(b"no zip")


@pytest.mark.parametrize(
    ("kind", "spoil", "said"),
    [
        (K.FILES, damaged, "model.onnx has 0 bytes, the manifest says"),
        (K.GOLDEN, refusing, "Internal: 77"),
        (K.GOLDEN, unreadable, "golden.npz cannot be read"),
        (K.GOLDEN, without_samples, "golden.npz"),
        (K.MEASURE, refusing, "Internal: 77"),
    ],
)
def test_what_speaks_against_a_version_is_an_outcome_too(
    tmp_path: Path, kind: CheckKind, spoil: Callable[[Yard], None], said: str
) -> None:
    async def story(yard: Yard) -> None:
        await yard.hold(CANARY, 2)
        spoil(yard)

        await checked(yard, kind)

        outcome = yard.world.board.outcomes["m.2", kind]
        assert not outcome.passed
        assert said in outcome.note
        assert await told(yard) == [(EventName.CHECK_FAILED, kind.value, outcome.note)]

    play(tmp_path, story)


def test_a_version_that_holds_too_much_has_failed(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await yard.hold(CANARY, 2)

        await checked(yard, K.MEASURE)

        outcome = yard.world.board.outcomes["m.2", K.MEASURE]
        assert not outcome.passed
        assert outcome.note.startswith("version 2 holds 100.0 MiB of cpu, more than the 65.5 MiB")

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("kind", "server"),
    [(K.GOLDEN, CANARY), (K.MEASURE, CANARY), (K.COMPARE, CANARY), (K.GUARD, SERVING)],
)
def test_a_server_that_is_lost_is_no_evidence_and_is_counted(
    tmp_path: Path, kind: CheckKind, server: Server
) -> None:
    async def story(yard: Yard) -> None:
        versions = (1, 2) if kind in (K.COMPARE, K.GUARD) else (2,)
        await yard.hold(server, *versions)
        yard.tritons[server].add_faults("infer m 2: lost x2")

        for attempts in (1, 2):
            await checked(yard, kind)
            (failed,) = yard.world.board.failures.items()
            assert failed[0] == (server, "m")
            assert (failed[1].lost, failed[1].attempts) == (True, attempts)
            assert failed[1].config == CONFIG
        assert yard.world.board.outcomes == {}
        assert await yard.world.records.trials() == {}
        assert await told(yard) == []

        await checked(yard, kind)
        assert yard.world.board.outcomes or await yard.world.records.trials()

    play(tmp_path, story)


@pytest.mark.parametrize(
    ("kind", "server"),
    [
        (K.FILES, CANARY),
        (K.GOLDEN, CANARY),
        (K.MEASURE, CANARY),
        (K.COMPARE, CANARY),
        (K.GUARD, SERVING),
    ],
)
def test_a_file_that_cannot_be_read_is_no_evidence_and_is_told(
    tmp_path: Path, kind: CheckKind, server: Server
) -> None:
    async def story(yard: Yard) -> None:
        await yard.hold(server, *((1, 2) if kind in (K.COMPARE, K.GUARD) else (2,)))
        recorded_as_it_is(yard)
        with hindered(yard.store.version("m", 2).warmup / "x.bin"):
            await checked(yard, kind)

            failure = yard.world.board.failures[server, "m"]
            assert (failure.lost, failure.blameless) == (True, True)
            assert yard.world.board.outcomes == {}
            assert await yard.world.records.trials() == {}
            assert await told(yard) == [(EventName.CHECK_FAILED, kind.value, failure.reason)]

        await checked(yard, kind)
        assert yard.world.board.outcomes or await yard.world.records.trials()
        assert yard.world.board.failures == {}

    play(tmp_path, story)


@pytest.mark.parametrize(("kind", "server"), [(K.COMPARE, CANARY), (K.GUARD, SERVING)])
def test_a_round_is_recorded_and_the_next_goes_on_from_it(
    tmp_path: Path, kind: CheckKind, server: Server
) -> None:
    async def story(yard: Yard) -> None:
        await yard.hold(server, 1, 2)
        await checked(yard, kind)
        first = (await yard.world.records.trials())["m.2", kind]
        assert first.rounds == 1
        assert first.requests > 0

        await checked(yard, kind, first)

        second = (await yard.world.records.trials())["m.2", kind]
        assert (second.rounds, second.began_s) == (2, first.began_s)
        assert second.looked_at_s > first.looked_at_s
        assert yard.world.board.outcomes == {}

    play(tmp_path, story)


def test_a_version_that_answers_no_number_is_judged_from_the_record(tmp_path: Path) -> None:
    async def story(yard: Yard) -> None:
        await yard.hold(CANARY, 1, 2)

        await checked(yard, K.COMPARE)

        (found,) = (await yard.world.records.trials()).values()
        assert found.outputs["y"].largest_error == float("inf")
        assert judge_comparison(found, Strategy()).ruling is Ruling.FAIL

    play(tmp_path, story, nan_from=1)


NUMBERS = [float("inf"), float("-inf"), 0.5]


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_trial_is_read_back_as_it_was(number: float) -> None:
    state = FakeState()
    agreement = Agreement(requests=2, largest_error=number, errors=(0.1, number))
    gathered = trial(outputs={"y": agreement})

    await Records(state).set_trial("m.2", K.GUARD, gathered)

    again = Records(state)
    assert await again.trials() == {("m.2", K.GUARD): gathered}
    assert await again.trials_of("m.2") == {K.GUARD: gathered}


@pytest.mark.parametrize("number", NUMBERS)
async def test_a_release_is_read_back_with_its_evidence(number: float) -> None:
    state = FakeState()
    evidence = Evidence(
        check="outputs y", ruling=Ruling.FAIL, note="of another shape", numbers={"error": number}
    )
    refused = release(S.COMPARING).entered(
        S.REFUSED, at_s=2.0, note="of another shape", evidence=(evidence,)
    )

    await Records(state).begin_release(refused)

    assert await Records(state).release("m.2") == refused


# Whole stories: from the round that finds it out to the way back.


async def soaking(rig: Rig) -> None:
    rig.policy = replace(rig.policy, soak_s=60.0)
    await serving_version_1(rig)
    await release_2(rig)
    await come_to(rig, S.SOAKING)
    await asyncio.sleep(5)


async def paused(rig: Rig) -> None:
    """For longer than the soak would have lasted."""
    await soaking(rig)
    found = await rig.newest_release()
    await rig.sidecar.releases.ask(found.id, OperationKind.PAUSE, actor="bob")
    await asyncio.sleep(100)
    assert (await rig.newest_release()).state is S.SOAKING


@pytest.mark.parametrize("begin", [soaking, paused])
def test_a_version_that_gets_worse_goes_back_at_the_next_look(
    tmp_path: Path, begin: Callable[[Rig], Awaitable[None]]
) -> None:
    async def story(rig: Rig) -> None:
        await begin(rig)
        clock = asyncio.get_running_loop().time
        spoiled_s = clock()
        at_s: dict[str, float] = {}

        def look(stored: Stored) -> None:
            if stored.key.endswith("/guard") and '"failures":0' not in stored.value:
                at_s.setdefault("found", clock())
            if stored.key == "release/m" and '"state":"rolling_back","steps"' in stored.value:
                at_s.setdefault("back", clock())

        rig.state.on_put.append(look)
        rig.serving.add_faults("infer m 2: refused 'Internal: 77' x999")
        await come_to(rig, S.ROLLED_BACK)

        assert at_s["found"] - spoiled_s <= EVERY_S[K.GUARD] + ROUND_S[K.GUARD] + 0.01
        assert at_s["back"] - at_s["found"] <= 0.01
        found = await rig.newest_release()
        assert found.reason.startswith("on serving: version 2 failed on ")
        assert found.reason.endswith(" of our requests while it served: Internal: 77")
        assert found.rejected
        assert rig.loaded(SERVING) == [{1}, {1, 2}, {1}]

    run(tmp_path, story)
