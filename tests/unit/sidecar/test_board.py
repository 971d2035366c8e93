"""What a sidecar knows from its own work."""

from sidecar.core.fleet import Server, Verification, VersionState
from sidecar.runtime.board import Board
from tests.builders import READY, UNAVAILABLE

SERVING, CANARY = Server.SERVING, Server.CANARY
PAIR = (SERVING, "m")
NOTHING: frozenset[tuple[Server, str]] = frozenset()


def proven(*versions: int, config: str = "c") -> Verification:
    return Verification(versions=frozenset(versions), config=config)


def test_what_was_verified_is_known_per_server() -> None:
    board = Board()
    board.verify((SERVING, "m"), proven(1))
    board.verify((CANARY, "m"), proven(2))

    assert board.verified(SERVING) == {"m": proven(1)}
    assert board.verified(CANARY) == {"m": proven(2)}


def test_a_version_that_was_away_must_be_verified_again() -> None:
    board = Board()
    board.verify(PAIR, proven(1, 2))

    board.saw_index(SERVING, {"m": {1: READY, 2: VersionState.UNLOADING}}, NOTHING)
    assert board.verified(SERVING) == {"m": proven(1)}
    board.saw_index(SERVING, {"m": {1: READY, 2: READY}}, NOTHING)
    assert board.verified(SERVING) == {"m": proven(1)}
    board.saw_index(SERVING, {"m": {1: UNAVAILABLE, 2: READY}}, NOTHING)
    assert board.verified(SERVING) == {}


def test_an_index_from_before_a_load_ended_says_nothing_against_what_it_loaded() -> None:
    board = Board()
    board.verify(PAIR, proven(1))

    board.saw_index(SERVING, {"m": {1: VersionState.LOADING}}, frozenset({PAIR}))

    assert board.verified(SERVING) == {"m": proven(1)}


def test_nothing_outlives_the_loss_of_its_server() -> None:
    board = Board()
    board.verify((SERVING, "m"), proven(1))
    board.verify((CANARY, "m"), proven(2))

    board.lost(SERVING)

    assert board.verified(SERVING) == {}
    assert board.verified(CANARY) == {"m": proven(2)}


def attempts(board: Board, *failures: tuple[str, bool]) -> list[int]:
    return [
        board.fail(PAIR, reason="no", lost=lost, config=config).attempts
        for config, lost in failures
    ]


def test_failures_in_a_row_are_counted_while_they_are_of_one_kind() -> None:
    one, lost, other = ("c", False), ("c", True), ("d", False)

    assert attempts(Board(), one, one, one) == [1, 2, 3]
    assert attempts(Board(), one, other, one) == [1, 1, 1]
    assert attempts(Board(), lost, lost, one, lost) == [1, 2, 1, 1]


def test_a_success_on_serving_ends_the_row() -> None:
    board = Board()
    attempts(board, ("c", True), ("c", True))

    board.verify(PAIR, proven(1))

    assert board.failures == {}
    assert attempts(board, ("c", True)) == [1]


def test_a_successful_load_on_canary_does_not() -> None:
    """A version may load and then kill the server at its first query, again and again."""
    board, pair = Board(), (CANARY, "m")
    board.fail(pair, reason="no", lost=True, config="c")

    board.verify(pair, proven(2))

    assert board.fail(pair, reason="no", lost=True, config="c").attempts == 2


def test_a_successful_load_on_canary_ends_a_row_that_was_not_the_versions_fault() -> None:
    board, pair = Board(), (CANARY, "m")
    board.fail(pair, reason="the disk is full", lost=True, config="c", blameless=True)

    board.verify(pair, proven(2))

    assert board.failures == {}


def test_what_was_removed_is_forgotten() -> None:
    board = Board()
    board.verify(PAIR, proven(1))
    board.fail(PAIR, reason="no", lost=False, config="c")

    board.forget(PAIR)

    assert board.verified(SERVING) == board.failures == {}
