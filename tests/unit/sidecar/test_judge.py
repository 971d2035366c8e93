"""What the judge says of trials whose truth is known; chance is seeded."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from math import inf
from typing import Any

import numpy as np
import pytest

from sidecar.core.agreement import Agreement, Answer, Order, Score, findings
from sidecar.core.judge import judge_comparison, judge_soak
from sidecar.core.odds import FAIL_ALPHA, PASS_ALPHA
from sidecar.core.strategy import DEFAULT_STRATEGY, Outputs, Strategy
from sidecar.core.trial import Memory, Pair, Race, Served, Trial
from sidecar.core.verdict import Evidence, Ruling, Verdict
from tests.builders import raced, trial

PASS, FAIL, INCONCLUSIVE = Ruling.PASS, Ruling.FAIL, Ruling.INCONCLUSIVE
MARGIN = 0.2
EQUAL = Strategy(outputs=Outputs.EQUAL)
LATENCY_ONLY = Strategy(outputs=Outputs.ANY, latency_margin=MARGIN)
MIB = 2**20
UNEQUAL = Agreement(
    requests=40,
    agreeing=39,
    largest_error=0.2,
    rows=40,
    same_top=40,
    reason="output scores: scaled error 0.2",
)
Noise = Callable[[np.random.Generator, int], np.ndarray]


def memory(*held_mib: float, requests: int = 100, declared_mib: int = 100) -> Memory:
    """A reading after each so many requests."""
    found = Memory(declared_bytes=declared_mib * MIB)
    for number, held in enumerate(held_mib):
        found = found.with_(float(number), int(held * MIB), number * requests)
    return found


def served(*counts: tuple[int, int]) -> dict[int, Served]:
    """(succeeded, failed) of versions 1, 2."""
    return {
        version: Served(succeeded=succeeded, failed=failed)
        for version, (succeeded, failed) in enumerate(counts, start=1)
    }


def check(verdict: Verdict, name: str) -> Evidence:
    (found,) = [each for each in verdict.evidence if each.check == name]
    return found


# What a comparison says


def test_a_version_that_is_as_good_passes_each_check() -> None:
    found = trial(
        races={"batch 1": raced(), "batch 8": raced()},
        outputs={"scores": UNEQUAL},
        memory=memory(100, 100, 100),
    )
    verdict = judge_comparison(found, DEFAULT_STRATEGY)

    assert {each.check: each.ruling for each in verdict.evidence} == {
        "answers": PASS,
        "output: scores": PASS,
        "latency: batch 1": PASS,
        "latency: batch 8": PASS,
        "tail": PASS,
        "memory": PASS,
    }
    assert verdict.ruling is PASS


def test_before_the_first_round_nothing_is_known() -> None:
    verdict = judge_comparison(Trial(base=1, version=2, began_s=0.0), DEFAULT_STRATEGY)
    assert {each.ruling for each in verdict.evidence} == {INCONCLUSIVE}
    assert verdict.note == (
        "no request has been answered by both versions yet; no outputs have been compared yet; "
        "no pair of answers has been timed yet"
    )


def test_an_obstacle_stands_for_all_that_is_not_known() -> None:
    verdict = judge_comparison(trial(obstacle="3 of 40 are still to be asked"), DEFAULT_STRATEGY)
    assert (verdict.ruling, verdict.note) == (INCONCLUSIVE, "3 of 40 are still to be asked")
    assert len(verdict.evidence) == 1


def test_an_obstacle_hides_nothing_that_fails() -> None:
    stopped = trial(obstacle="3 of 40 are still to be asked", failures=1, failure="no")
    verdict = judge_comparison(stopped, DEFAULT_STRATEGY)
    assert verdict.ruling is FAIL
    assert verdict.note == "version 2 failed on 1 of the requests that version 1 answered: no"


@pytest.mark.parametrize("strategy", [DEFAULT_STRATEGY, EQUAL])
def test_one_answer_with_nan_fails(strategy: Strategy) -> None:
    reason = "output scores: NaN or infinity where the reference has none, or the reverse"
    one = replace(UNEQUAL, not_comparable=1, largest_error=inf, reason=reason)
    verdict = judge_comparison(trial(outputs={"scores": one}), strategy)

    assert verdict.ruling is FAIL
    assert "1 of 40 answers" in verdict.note
    assert reason in verdict.note
    assert "largest_error" not in check(verdict, "output: scores").numbers


def test_the_largest_elements_must_mostly_be_at_the_same_place() -> None:
    def ruling(same: int, rows: int) -> Ruling:
        outputs = {"scores": replace(UNEQUAL, rows=rows, same_top=same)}
        return judge_comparison(trial(outputs=outputs), DEFAULT_STRATEGY).ruling

    assert ruling(19, 19) is PASS
    assert ruling(18, 18) is INCONCLUSIVE
    assert ruling(95, 100) is PASS
    assert ruling(80, 100) is INCONCLUSIVE
    assert ruling(4, 19) is FAIL


def test_too_few_vectors_are_told_with_what_would_help() -> None:
    outputs = {"scores": replace(UNEQUAL, rows=9, same_top=9)}
    verdict = judge_comparison(trial(outputs=outputs), DEFAULT_STRATEGY)
    assert verdict.note == (
        "scores: the largest element is the same in 9 of 9 vectors, too few to tell from 80%; "
        "more recorded requests would"
    )


def ranked(same: int, pairs: int) -> Evidence:
    """What is said of a score, where one shape is timed: three checks can fail by chance."""
    score = Agreement(requests=12, agreeing=1, order=Order(pairs=pairs, same=same))
    found = trial(outputs={"score": score}, races={"batch 1": raced()})
    return check(judge_comparison(found, DEFAULT_STRATEGY), "output: score")


def test_scores_in_another_order_fail_with_five_pairs() -> None:
    found = ranked(0, 5)
    assert found.ruling is FAIL
    assert found.note == (
        "score: in 0 of 5 pairs in the same order as version 1's, and must be in 80%"
    )
    assert found.numbers == {
        "requests": 12,
        "agreeing": 1,
        "largest_error": 0.0,
        "pairs": 5,
        "same_order_share": 0.0,
        "least_share": 0.8,
        "p_good": pytest.approx(0.00114, rel=0.01),
    }
    assert ranked(0, 4).ruling is PASS


def test_scores_need_no_evidence_to_pass() -> None:
    assert [ranked(same, 3).ruling for same in range(4)] == [PASS] * 4
    found = ranked(3, 3)
    assert found.note == (
        "score: of the same kind as version 1's in 12 answers, in 3 of 3 pairs in the same order"
    )
    assert found.numbers["same_order_share"] == 1.0


@pytest.mark.parametrize(
    ("same", "pairs", "ruling"),
    [(1, 7, FAIL), (1, 6, PASS), (20, 40, FAIL), (80, 100, PASS), (79, 100, PASS)],
)
def test_scores_fail_when_the_pairs_speak_for_another_order(
    same: int, pairs: int, ruling: Ruling
) -> None:
    assert ranked(same, pairs).ruling is ruling


def test_how_much_order_scores_must_keep_is_a_matter_of_the_strategy() -> None:
    outputs = {"score": Agreement(requests=40, order=Order(pairs=40, same=20))}
    half = Strategy(least_agreement=0.5)
    assert judge_comparison(trial(outputs=outputs), half).ruling is PASS
    assert judge_comparison(trial(outputs=outputs), DEFAULT_STRATEGY).ruling is FAIL


def test_scores_of_another_kind_fail_whatever_their_order() -> None:
    reason = "output score: NaN or infinity where the reference has none, or the reverse"
    score = Agreement(requests=9, not_comparable=1, reason=reason, order=Order(pairs=20, same=20))
    verdict = judge_comparison(trial(outputs={"score": score}), DEFAULT_STRATEGY)
    assert (verdict.ruling, reason in verdict.note) == (FAIL, True)


def test_in_the_soak_the_order_of_scores_is_not_judged() -> None:
    score = Agreement(requests=9, agreeing=9, order=Order(pairs=20, same=0))
    assert judge_soak(trial(outputs={"score": score}), DEFAULT_STRATEGY).ruling is PASS


def test_each_output_with_scores_is_a_check_that_can_fail_by_chance() -> None:
    def ruling(*others: Order) -> Ruling:
        orders = [Order(pairs=9, same=2), *others]
        outputs = {str(number): Agreement(order=order) for number, order in enumerate(orders)}
        verdict = judge_comparison(trial(outputs=outputs, races={}), DEFAULT_STRATEGY)
        return check(verdict, "output: 0").ruling

    in_order, waiting = Order(pairs=9, same=9), Order(odd=Score(1.0, 1.0, 0.0))
    assert ruling(in_order) is FAIL
    assert ruling(in_order, Order()) is FAIL
    assert ruling(in_order, in_order) is PASS
    assert ruling(in_order, waiting) is PASS


def test_outputs_without_a_choice_are_shown_and_not_judged() -> None:
    errors = tuple(number / 100 for number in range(101))
    price = Agreement(requests=101, agreeing=0, largest_error=1.0, errors=errors)
    found = check(
        judge_comparison(trial(outputs={"price": price}), DEFAULT_STRATEGY), "output: price"
    )
    assert found.ruling is PASS
    assert found.numbers == {
        "requests": 101,
        "agreeing": 0,
        "median_error": pytest.approx(0.5),
        "p90_error": pytest.approx(0.9),
        "largest_error": 1.0,
    }


def test_where_outputs_must_be_equal_one_that_is_not_fails() -> None:
    verdict = judge_comparison(trial(outputs={"scores": UNEQUAL}), EQUAL)
    assert verdict.ruling is FAIL
    assert verdict.note == (
        "1 of 40 answers are not equal to version 1's: output scores: scaled error 0.2"
    )
    assert judge_comparison(trial(), EQUAL).ruling is PASS


def test_outputs_that_may_be_anything_are_not_judged() -> None:
    bad = Agreement(requests=5, not_comparable=5, largest_error=inf, reason="shape")
    verdict = judge_comparison(trial(outputs={"scores": bad}), LATENCY_ONLY)
    assert verdict.ruling is PASS


def test_a_version_that_is_slow_at_one_shape_only_fails_by_it() -> None:
    races = {"batch 1": raced(), "batch 8": raced(pairs=64, slower=61)}
    verdict = judge_comparison(trial(races=races), DEFAULT_STRATEGY)

    assert verdict.ruling is FAIL
    assert verdict.note == (
        "batch 8: more than 20% slower than version 1 in 61 of 64 pairs, 1.5 ms against 1 ms"
    )
    assert check(verdict, "latency: batch 1").ruling is PASS
    numbers = check(verdict, "latency: batch 8").numbers
    assert numbers["median_ratio"] == 1.5
    assert numbers["slower_share"] == pytest.approx(61 / 64)


def test_a_shape_that_was_not_timed_is_not_passed() -> None:
    verdict = judge_comparison(trial(races={"batch 1": raced(), "batch 8": Race()}), LATENCY_ONLY)
    assert (verdict.ruling, verdict.note) == (
        INCONCLUSIVE,
        "batch 8: no pair of answers has been timed yet",
    )


def test_answers_that_are_rarely_slow_but_then_very_are_found_by_the_tail() -> None:
    verdict = judge_comparison(
        trial(races={"batch 1": raced(pairs=300, slower=75, far_slower=75)}), DEFAULT_STRATEGY
    )
    assert check(verdict, "latency: batch 1").ruling is PASS
    assert verdict.ruling is FAIL
    assert verdict.note == (
        "more than 2 times as slow as version 1 in 75 of 300 pairs, more than 2 times as fast in 0"
    )


@pytest.mark.parametrize(("far_faster", "ruling"), [(4, FAIL), (5, INCONCLUSIVE)])
def test_a_tail_is_held_against_nobody_where_others_keep_the_machine_busy(
    far_faster: int, ruling: Ruling
) -> None:
    """Then the base is far slower than the version, too, now and then."""
    race = raced(pairs=300, slower=75, far_slower=75, far_faster=far_faster)
    found = check(judge_comparison(trial(races={"batch 1": race}), DEFAULT_STRATEGY), "tail")

    assert found.ruling is ruling
    assert found.note.endswith("busy") == (ruling is INCONCLUSIVE)


def test_latencies_that_may_be_anything_are_not_judged() -> None:
    slow = trial(races={"batch 8": raced(pairs=64, slower=64)})
    strategy = Strategy(latency_margin=None)
    assert judge_comparison(slow, strategy).ruling is PASS
    assert judge_comparison(trial(races={}), strategy).ruling is PASS
    assert judge_soak(slow, strategy).ruling is PASS


# Memory

STEPS = [100.0, *[400] * 6, *[700] * 6, *[1000] * 6]
CHANCE = np.random.default_rng(7)
RAMP = [100 + 100 * number for number in range(19)]


@pytest.mark.parametrize(
    ("held_mib", "ruling"),
    [
        ([100], INCONCLUSIVE),
        ([100, 100], INCONCLUSIVE),
        ([100, 100, 100], PASS),
        ([100, 900, 900], PASS),
        ([100, 100, 900], INCONCLUSIVE),
        ([100] * 12 + [900] * 6, PASS),
        (STEPS, PASS),
        (list(100 + 10 * CHANCE.standard_normal(60)), PASS),
        (RAMP[:4], INCONCLUSIVE),
        (RAMP[:9], FAIL),
        (RAMP, FAIL),
        (list(RAMP + 30 * CHANCE.standard_normal(19)), FAIL),
        ([held - 700 * (number == 13) for number, held in enumerate(RAMP)], FAIL),
        ([100 + 3 * number for number in range(19)], PASS),
        ([100 + 3 * number for number in range(60)], FAIL),
    ],
    ids=[
        "one reading",
        "two readings",
        "nothing grows",
        "what is taken at first",
        "a step just now",
        "one late step",
        "two late steps",
        "noise",
        "a leak, too early to tell",
        "a leak of 1 MiB with each request",
        "the same for longer",
        "the same under noise",
        "the same where garbage is collected",
        "a slow leak, too early to tell",
        "a slow leak",
    ],
)
def test_memory_that_goes_on_growing_is_a_leak(held_mib: list[float], ruling: Ruling) -> None:
    verdict = judge_comparison(trial(memory=memory(*held_mib)), DEFAULT_STRATEGY)
    assert check(verdict, "memory").ruling is ruling


def test_a_leak_grows_with_the_requests_and_not_with_the_time() -> None:
    found = Memory(declared_bytes=0)
    for minute in range(30):
        requests = minute + 1000 * max(0, minute - 24)
        found = found.with_(60.0 * minute, requests * MIB, requests)
    verdict = judge_soak(trial(memory=found), DEFAULT_STRATEGY)

    assert check(verdict, "memory").ruling is FAIL
    assert verdict.note == "held bytes grew by 4.9 GiB in 5019 requests, steadily: it leaks"


def test_the_limit_grows_with_what_is_declared() -> None:
    held_mib = [1000 + 5 * number for number in range(30)]
    large = memory(*held_mib, declared_mib=1000)
    assert judge_comparison(trial(memory=large), DEFAULT_STRATEGY).ruling is PASS
    small = memory(*held_mib, declared_mib=10)
    assert judge_comparison(trial(memory=small), DEFAULT_STRATEGY).ruling is FAIL


@pytest.mark.parametrize("unknown", [None, Memory(declared_bytes=1)])
def test_where_no_memory_is_measured_none_is_judged(unknown: Memory | None) -> None:
    verdict = judge_comparison(trial(memory=unknown), DEFAULT_STRATEGY)
    assert verdict.ruling is PASS
    assert "memory" not in {each.check for each in verdict.evidence}


# What a soak says


def test_a_soak_goes_on_as_long_as_nothing_speaks_against_the_version() -> None:
    shaky = trial(
        races={"batch 1": raced(pairs=3, slower=3)},
        memory=memory(100),
    )
    verdict = judge_soak(shaky, DEFAULT_STRATEGY)
    assert {each.ruling for each in verdict.evidence} == {PASS}


def test_the_more_checks_there_are_the_more_evidence_each_of_them_needs() -> None:
    def ruling(*shapes: str) -> Ruling:
        races = {shape: raced(pairs=10, slower=10) for shape in shapes}
        return judge_soak(trial(races=races), DEFAULT_STRATEGY).ruling

    assert ruling("batch 1") is FAIL
    assert ruling("batch 1", "batch 2", "batch 4", "batch 8") is PASS


@pytest.mark.parametrize(
    ("unseen", "note"),
    [({}, "nobody has looked at it yet"), ({"rounds": 3, "obstacle": "no golden"}, "no golden")],
)
def test_a_soak_that_nobody_has_seen_proves_nothing(unseen: dict[str, Any], note: str) -> None:
    verdict = judge_soak(Trial(base=1, version=2, began_s=0.0, **unseen), DEFAULT_STRATEGY)
    assert (verdict.ruling, verdict.note) == (INCONCLUSIVE, note)


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"failures": 2, "failure": "no"}, "version 2 failed on 2 of our requests while it served"),
        (
            {"outputs": {"scores": UNEQUAL}},
            "1 of 40 answers are not equal to its golden samples: output scores: scaled error 0.2",
        ),
        (
            {"races": {"batch 1": raced(pairs=40, slower=39)}},
            "batch 1: more than 20% slower than version 1 in 39 of 40 pairs, 1.5 ms against 1 ms",
        ),
        ({"memory": memory(*RAMP)}, "steadily: it leaks"),
        (
            {"served": served((1000, 0), (60, 20)), "served_before": served((1000, 0), (0, 0))},
            "20 of 80 requests of clients failed; 1.0% may",
        ),
    ],
    ids=["failures", "golden", "latency", "memory", "traffic"],
)
def test_a_version_that_gets_worse_while_it_serves_fails(
    changes: dict[str, Any], note: str
) -> None:
    verdict = judge_soak(trial(**changes), DEFAULT_STRATEGY)
    assert verdict.ruling is FAIL
    assert note in verdict.note


def soaked(before: dict[int, Served], now: dict[int, Served]) -> Ruling:
    return judge_soak(trial(served_before=before, served=now), DEFAULT_STRATEGY).ruling


def test_clients_requests_may_fail_as_often_as_with_the_old_version() -> None:
    before = served((900, 100), (0, 0))
    assert soaked(before, served((900, 100), (900, 100))) is PASS
    assert soaked(before, served((900, 100), (700, 300))) is FAIL


def test_what_clients_do_wrong_to_both_versions_is_no_fault_of_the_new_one() -> None:
    before = served((1000, 0), (0, 0))
    assert soaked(before, served((1100, 100), (100, 100))) is PASS
    assert soaked(before, served((1200, 0), (100, 100))) is FAIL


def test_a_server_that_counts_from_zero_again_is_read_as_such() -> None:
    before = served((1000, 0), (5000, 50))
    assert soaked(before, served((0, 0), (60, 0))) is PASS
    assert soaked(before, served((0, 0), (30, 30))) is FAIL


def test_where_each_request_failed_before_nothing_can_get_worse() -> None:
    assert soaked(served((0, 50), (0, 0)), served((0, 50), (0, 50))) is PASS


# Error rates, looked at after every round

PAIRS_IN_ROUND = 10


def calm(rng: np.random.Generator, pairs: int) -> np.ndarray:
    return rng.lognormal(0, 0.2, (pairs, 2))


def loud(rng: np.random.Generator, pairs: int) -> np.ndarray:
    return rng.lognormal(0, 0.5, (pairs, 2))


def drifting(rng: np.random.Generator, pairs: int) -> np.ndarray:
    """The machine is slow for a while, and that for both."""
    drift = np.cumsum(rng.normal(0, 0.1, pairs))
    return np.exp(drift)[:, None] * calm(rng, pairs)


def interrupted(rng: np.random.Generator, pairs: int) -> np.ndarray:
    """One answer in ten takes ten times as long."""
    return calm(rng, pairs) * np.where(rng.random((pairs, 2)) < 0.1, 10, 1)


def rounds(ratio: float, noise: Noise, seed: int, pairs: int) -> Iterator[Trial]:
    rng = np.random.default_rng(seed)
    found = Race()
    latencies_ms = 4.0 * noise(rng, pairs) * [1.0, ratio]
    for first in range(0, pairs, PAIRS_IN_ROUND):
        new = [Pair(*each) for each in latencies_ms[first : first + PAIRS_IN_ROUND].tolist()]
        found = found.with_(new, margin=MARGIN)
        yield trial(races={"batch 1": found})


def ends(
    ratio: float, noise: Noise, *, runs: int, pairs: int, of: str = "latency: batch 1"
) -> dict[Ruling, float]:
    """Shares of comparisons: each ends as soon as that check is clear."""
    counts = dict.fromkeys(Ruling, 0)
    for seed in range(runs):
        ruling = INCONCLUSIVE
        for each in rounds(ratio, noise, seed, pairs):
            ruling = check(judge_comparison(each, LATENCY_ONLY), of).ruling
            if ruling is not INCONCLUSIVE:
                break
        counts[ruling] += 1
    return {ruling: count / runs for ruling, count in counts.items()}


@pytest.mark.parametrize("noise", [calm, loud, drifting, interrupted])
def test_a_version_at_the_margin_rarely_passes(noise: Noise) -> None:
    found = ends(1 + MARGIN, noise, runs=300, pairs=200)
    assert found[PASS] <= PASS_ALPHA
    assert found[FAIL] <= FAIL_ALPHA


@pytest.mark.parametrize(
    ("ratio", "noise", "pairs"),
    [(1.0, calm, 150), (0.9, calm, 60), (1.0, drifting, 150), (1.0, interrupted, 200)],
)
def test_a_version_that_is_as_fast_passes_soon(ratio: float, noise: Noise, pairs: int) -> None:
    found = ends(ratio, noise, runs=100, pairs=pairs)
    assert found[PASS] >= 0.95
    assert found[FAIL] == 0


@pytest.mark.parametrize(("ratio", "noise", "pairs"), [(1.6, calm, 60), (3.0, loud, 60)])
def test_a_version_that_is_slow_fails_soon(ratio: float, noise: Noise, pairs: int) -> None:
    found = ends(ratio, noise, runs=100, pairs=pairs)
    assert found[FAIL] >= 0.95
    assert found[PASS] == 0


@pytest.mark.parametrize("noise", [calm, loud, drifting, interrupted])
def test_noise_alone_leaves_no_tail(noise: Noise) -> None:
    found = ends(1.0, noise, of="tail", runs=50, pairs=1000)
    assert found[PASS] >= 0.95
    assert found[FAIL] == 0


REQUESTS, ELEMENTS = 20, 16


def refused(swapped: float, *, runs: int) -> float:
    """Share of comparisons in which a score is refused, looked at after each request.

    The new version swaps the scores of a pair with that chance.
    """
    return sum(_is_refused(swapped, seed) for seed in range(runs)) / runs


def _is_refused(swapped: float, seed: int) -> bool:
    rng = np.random.default_rng(seed)
    score = Agreement()
    for _ in range(REQUESTS):
        pairs = rng.normal(size=(ELEMENTS // 2, 2)).astype(np.float32)
        got = np.where(rng.random((len(pairs), 1)) < swapped, pairs[:, ::-1], pairs)
        old, new = (
            Answer(latency_ms=1.0, outputs={"score": each.reshape(-1, 1)}) for each in (pairs, got)
        )
        (found,) = findings(old, new, {"score": 1e-5})
        score = score.with_(found)
        found_so_far = trial(outputs={"score": score}, races={})
        if judge_comparison(found_so_far, DEFAULT_STRATEGY).ruling is FAIL:
            return True
    return False


def test_a_version_that_keeps_the_least_order_is_rarely_refused() -> None:
    least = DEFAULT_STRATEGY.least_agreement
    assert refused(1 - least, runs=200) <= FAIL_ALPHA
    assert refused(0.1, runs=20) == 0


@pytest.mark.parametrize("swapped", [0.5, 1.0], ids=["noise", "negated"])
def test_scores_in_no_order_or_the_reverse_are_refused_in_the_end(swapped: float) -> None:
    assert refused(swapped, runs=20) == 1
