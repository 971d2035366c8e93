"""Scores of both versions in pairs: which tell of an order, and whether it is the same."""

import numpy as np
import pytest
from numpy.typing import NDArray

from sidecar.core.agreement import Agreement, Answer, Finding, Order, Score, findings

LIMITS = {"score": 0.01}

Scores = NDArray[np.floating] | list[float]


def column(scores: Scores) -> NDArray[np.generic]:
    """Shape (batch, 1)."""
    return np.asarray(scores, np.float32)[:, None]


def finding(expected: NDArray[np.generic], got: NDArray[np.generic], *, copies: int = 1) -> Finding:
    (found,) = findings(
        Answer(latency_ms=1.0, outputs={"score": expected}),
        Answer(latency_ms=1.0, outputs={"score": got}),
        LIMITS,
        copies=copies,
    )
    return found


def order(expected: Scores, got: Scores, *, copies: int = 1) -> Order:
    return finding(column(expected), column(got), copies=copies).order


def counts(*answers: tuple[Scores, Scores]) -> tuple[int, int]:
    """Pairs, and those in the same order, of several requests."""
    agreement = Agreement()
    for expected, got in answers:
        agreement = agreement.with_(finding(column(expected), column(got)))
    return agreement.order.pairs, agreement.order.same


def test_neighbours_within_a_batch_are_pairs_and_none_is_in_two() -> None:
    assert order([1, 2, 4, 3, 5, 6], [10, 20, 30, 40, 0, 9]) == Order(pairs=3, same=2)


def test_the_odd_one_out_waits_for_the_odd_one_of_a_later_request() -> None:
    assert order([1, 2, 3], [1, 2, 4]) == Order(pairs=1, same=1, odd=Score(3, 4, 0.03))
    assert counts(([1, 2, 3], [1, 2, 3])) == (1, 1)
    assert counts(([1, 2, 3], [1, 2, 3]), ([8, 9], [8, 9])) == (2, 2)
    assert counts(([1, 2, 3], [1, 2, 3]), ([8, 9], [8, 9]), ([7], [0])) == (3, 2)


def test_requests_of_one_element_are_pairs_in_the_order_in_which_they_were_asked() -> None:
    answers: list[tuple[Scores, Scores]] = [([1], [4]), ([2], [3]), ([3], [2]), ([4], [5])]
    assert counts(*answers) == (2, 1)
    assert counts(*answers[:3]) == (1, 0)
    assert counts(*answers[1:]) == (1, 0)


def test_a_negated_score_has_no_pair_in_the_same_order() -> None:
    scores = np.random.default_rng(1).permutation(64) / 2
    assert order(scores, -scores) == Order(pairs=32, same=0)
    assert order(scores, 3 * scores + 7) == Order(pairs=32, same=32)


def test_equal_scores_of_the_old_version_tell_of_no_order() -> None:
    assert order([1, 1, 2, 2], [1, 5, 5, 1]) == Order()


def test_equal_scores_of_the_new_version_are_another_order() -> None:
    assert order([1, 2, 4, 3], [1, 1, 1, 1]) == Order(pairs=2, same=0)


def test_scores_that_differ_by_less_than_both_may_be_off_tell_of_no_order() -> None:
    assert order([100, 98.1], [98.1, 100]) == Order()
    assert order([100, 97.9], [97.9, 100]) == Order(pairs=1, same=0)
    assert counts(([100], [0]), ([98.5], [1])) == (0, 0)
    assert counts(([1.03], [0]), ([1.0], [1])) == (1, 0)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_within_the_tolerance_never_is_in_another_order(seed: int) -> None:
    chance = np.random.default_rng(seed)
    scores = chance.normal(size=1000)
    got = scores + chance.uniform(-0.0099, 0.0099, 1000) * np.abs(scores).max()
    found = finding(column(scores), column(got))
    assert found.reason is None
    assert found.order.same == found.order.pairs > 0


def test_rows_that_are_copies_are_one_score() -> None:
    assert order([3, 3, 3, 3], [5, 5, 5, 5], copies=4) == Order(odd=Score(3, 5, 0.03))
    once = finding(column([3]), column([5]))
    copied = finding(column([3, 3]), column([5, 5]), copies=2)
    agreement = Agreement().with_(once).with_(copied)
    assert agreement.order == Order()
    assert agreement.with_(finding(column([4]), column([1]))).order.odd == Score(4, 1, 0.04)


def test_copied_vectors_are_one_witness() -> None:
    vectors = np.float32([[1, 2]] * 4)
    found = finding(vectors, vectors, copies=4)
    assert (found.rows, found.same_top, found.order) == (1, 1, Order())


@pytest.mark.parametrize(
    "output",
    [
        np.float32([[1, 2], [4, 3]]),
        np.float32([[[1], [2]], [[4], [3]]]),
        np.float32(1),
        np.int64([[1], [2]]),
        np.array([[True], [False]]),
        np.array([[b"a"], [b"b"]], np.object_),
    ],
    ids=["vectors", "more dimensions", "no dimension", "integers", "booleans", "bytes"],
)
def test_other_outputs_are_not_put_in_pairs(output: NDArray[np.generic]) -> None:
    assert finding(output, output).order == Order()


def test_one_number_without_a_batch_is_a_score() -> None:
    score = np.float64([2])
    assert finding(score, score).order == Order(odd=Score(2, 2, 0.02))


def test_scores_that_are_not_finite_are_left_out() -> None:
    expected = np.float32([[1], [-np.inf], [3], [np.nan], [2]])
    got = np.float32([[2], [-np.inf], [5], [np.nan], [4]])
    assert finding(expected, got).order == Order(pairs=1, same=1, odd=Score(2, 4, 0.03))
    assert finding(expected[1:2], got[1:2]).order == Order()


@pytest.mark.parametrize("got", [[[1, 2]], [[1], [np.nan]], [[1]]], ids=["shape", "NaN", "batch"])
def test_what_cannot_be_compared_has_no_order(got: list[list[float]]) -> None:
    assert finding(column([1, 2]), np.float32(got)).order == Order()
