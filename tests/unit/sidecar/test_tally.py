"""Requests of clients, told apart from everything else that Triton counts."""

from sidecar.runtime.tally import Tally


def test_what_comes_after_the_load_is_demand_and_the_warm_up_is_not() -> None:
    tally = Tally()
    tally.loaded("m", {1: 12}, [1])

    assert tally.take({"m": {1: 12}}, ()) == {}
    assert tally.take({"m": {1: 15}}, ()) == {"m": 3}
    assert tally.take({"m": {1: 15}}, ()) == {}


def test_our_own_queries_are_no_demand_even_when_triton_counts_them_late() -> None:
    tally = Tally()
    tally.loaded("m", {1: 0}, [1])
    tally.sent("m", 1)
    tally.sent("m", 1)

    assert tally.take({"m": {1: 1}}, ()) == {}
    assert tally.take({"m": {1: 2}}, ()) == {}
    assert tally.take({"m": {1: 3}}, ()) == {"m": 1}


def test_a_version_that_nobody_saw_before_begins_here() -> None:
    """After a restart of the sidecar nobody knows what it counted before."""
    tally = Tally()

    assert tally.take({"m": {1: 500}}, ()) == {}
    assert tally.take({"m": {1: 501}}, ()) == {"m": 1}


def test_a_reload_begins_again() -> None:
    tally = Tally()
    tally.loaded("m", {1: 0}, [1])
    assert tally.take({"m": {1: 9}}, ()) == {"m": 9}

    assert tally.take({"m": {1: 4}}, ()) == {}
    assert tally.take({"m": {1: 5}}, ()) == {"m": 1}


def test_a_version_that_was_unloaded_is_forgotten() -> None:
    tally = Tally()
    tally.loaded("m", {1: 0}, [1])
    tally.take({"m": {1: 9}}, ())
    tally.take({}, ())

    assert tally.take({"m": {1: 30}}, ()) == {}


def test_what_comes_while_a_model_is_being_changed_is_counted_afterwards() -> None:
    """A promotion: version 1 serves on, version 2 comes with its warm-up."""
    tally = Tally()
    tally.loaded("m", {1: 0}, [1])

    assert tally.take({"m": {1: 5, 2: 12}}, {"m"}) == {}
    tally.loaded("m", {1: 6, 2: 12}, [2])
    tally.sent("m", 2)
    assert tally.take({"m": {1: 7, 2: 15}}, ()) == {"m": 7 + 2}


def test_versions_of_a_model_add_up_and_models_do_not() -> None:
    tally = Tally()
    tally.loaded("m", {1: 0, 2: 0}, [1, 2])
    tally.loaded("n", {1: 0}, [1])

    assert tally.take({"m": {1: 1, 2: 2}, "n": {1: 4}}, ()) == {"m": 3, "n": 4}
