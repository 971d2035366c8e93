"""What two witnesses say of the same requests: none is counted twice, and none is made up."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from sidecar.runtime.tally import QUIET_LOOKS, Arrivals

NOTHING: Mapping[str, int] = {}


def test_what_both_see_counts_once() -> None:
    arrivals = Arrivals()
    arrivals.take(NOTHING, NOTHING)

    assert arrivals.take({"m": 3}, {"m": 3}) == {"m": 3}
    assert arrivals.take(NOTHING, {"m": 3}) == {}


def test_what_one_sees_a_look_later_counts_once() -> None:
    arrivals = Arrivals()
    arrivals.take(NOTHING, NOTHING)

    assert arrivals.take({"m": 2}, {"m": 1}) == {"m": 2}
    assert arrivals.take(NOTHING, {"m": 2}) == {}
    assert arrivals.take(NOTHING, {"m": 5}) == {"m": 3}
    assert arrivals.take({"m": 3}, {"m": 5}) == {}


def test_what_only_the_gateway_sees_counts() -> None:
    """Such as a request that was refused while its model was loaded."""
    arrivals = Arrivals()
    arrivals.take(NOTHING, NOTHING)

    assert arrivals.take(NOTHING, {"m": 4}) == {"m": 4}


def test_what_goes_past_the_gateway_counts() -> None:
    arrivals = Arrivals()

    assert arrivals.take({"m": 2}, None) == {"m": 2}
    assert arrivals.take({"m": 1, "n": 1}, NOTHING) == {"m": 1, "n": 1}


def test_what_the_gateway_counted_before_the_first_time_does_not_matter() -> None:
    """This process was restarted."""
    arrivals = Arrivals()

    assert arrivals.take(NOTHING, {"m": 500}) == {}
    assert arrivals.take(NOTHING, {"m": 501}) == {"m": 1}


def test_a_gateway_that_was_restarted_counts_from_zero() -> None:
    arrivals = Arrivals()
    arrivals.take(NOTHING, NOTHING)
    assert arrivals.take(NOTHING, {"m": 9}) == {"m": 9}

    assert arrivals.take(NOTHING, NOTHING) == {}
    assert arrivals.take(NOTHING, {"m": 4}) == {"m": 4}


def test_a_gateway_that_does_not_answer_for_a_while_loses_nothing() -> None:
    arrivals = Arrivals()
    arrivals.take(NOTHING, NOTHING)
    assert arrivals.take({"m": 1}, {"m": 1}) == {"m": 1}

    assert arrivals.take({"m": 2}, None) == {"m": 2}
    assert arrivals.take(NOTHING, {"m": 3}) == {}
    assert arrivals.take(NOTHING, {"m": 7}) == {"m": 4}


def test_what_one_saw_long_ago_does_not_hide_what_the_other_sees_now() -> None:
    """A stream of 1,000 messages; then the model is unloaded, and requests for it are refused."""
    arrivals = Arrivals()
    arrivals.take(NOTHING, NOTHING)
    assert arrivals.take({"m": 1000}, {"m": 1}) == {"m": 1000}
    for _ in range(QUIET_LOOKS + 1):
        assert arrivals.take(NOTHING, {"m": 1}) == {}

    assert arrivals.take(NOTHING, {"m": 6}) == {"m": 5}


def test_models_do_not_add_up() -> None:
    arrivals = Arrivals()
    arrivals.take(NOTHING, NOTHING)

    assert arrivals.take({"m": 1}, {"n": 2}) == {"m": 1, "n": 2}


# What comes to the server and to the gateway between two looks, whether the gateway answers then,
# and whether it was restarted before. The model is never quiet, so that nothing is forgotten.
LOOKS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 9), st.booleans(), st.booleans()))


@given(LOOKS)
def test_the_sum_is_what_the_better_witness_has_seen_and_never_shrinks(
    looks: list[tuple[int, int, bool, bool]],
) -> None:
    """Whoever tells first, and however often the gateway is restarted or does not answer."""
    arrivals = Arrivals()
    arrivals.take(NOTHING, NOTHING)
    told = by_server = by_gateway = total = 0
    for at_server, at_gateway, answers, restarts in looks:
        if restarts:
            total = 0
            arrivals.take(NOTHING, NOTHING)
        total += at_gateway
        by_server += at_server
        by_gateway += at_gateway
        found = arrivals.take({"m": at_server}, {"m": total} if answers or restarts else None)
        assert all(count > 0 for count in found.values())
        told += found.get("m", 0)

        assert by_server <= told <= max(by_server, by_gateway)


@given(LOOKS)
def test_without_restarts_nothing_is_lost(looks: list[tuple[int, int, bool, bool]]) -> None:
    arrivals = Arrivals()
    arrivals.take(NOTHING, NOTHING)
    told = by_server = total = 0
    for at_server, at_gateway, answers, _ in looks:
        total += at_gateway
        by_server += at_server
        told += arrivals.take({"m": at_server}, {"m": total} if answers else None).get("m", 0)
    told += arrivals.take(NOTHING, {"m": total}).get("m", 0)

    assert told == max(by_server, total)
