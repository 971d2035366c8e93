"""What Envoy says of a request's tries, and what follows from it."""

import pytest

from sidecar.activator.tries import NONE, Past, past


def of(*tries: str) -> Past:
    return past(tries)


def test_a_first_try_has_no_past() -> None:
    assert of("activator:0:0:0") == Past()


def test_a_request_that_did_not_come_through_envoy_has_no_past() -> None:
    assert of() == of("", "activator", "a:b:c:d", "own:1:2") == NONE


@pytest.mark.parametrize(
    ("tries", "losses"),
    [
        (("own:0:0:0", "activator:9:0:0"), 0),
        (("own:0:0:0", "activator:9:200:0"), 1),
        (("own:0:0:0", "activator:9:200:75"), 0),
        (("activator:0:0:0", "activator:9:200:0"), 0),
        (("own:0:0:0", "other:9:200:0", "activator:20:400:0"), 2),
        (("own:0:0:0", "activator:9:200:0", "own:20:400:120", "activator:30:600:120"), 2),
        (("own:0:0:0", "activator:9:200:0", "own:20:400:120", "activator:30:600:195"), 1),
        (("own:0:0:0",), 0),
    ],
    ids=[
        "could not connect",
        "died",
        "answered that it lacks the model",
        "the sidecar died",
        "two of them died",
        "died twice",
        "died, and answered then",
        "is on its way",
    ],
)
def test_a_server_is_lost_that_was_sent_the_request_and_did_not_answer(
    tries: tuple[str, ...], losses: int
) -> None:
    assert past(tries).losses == losses


def test_time_at_the_activator_is_time_held_and_all_of_it_is_its_age() -> None:
    found = of("own:0:0:0", "activator:500:9:0", "own:1500:19:5", "activator:4000:29:9")

    assert (found.age_s, found.held_s) == (4.0, 1.0)
