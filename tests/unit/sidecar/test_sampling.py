"""Whose requests are sampled, by what was seen and said."""

from dataclasses import replace

import pytest
from pydantic import ValidationError

from sidecar.core.fleet import Snapshot
from sidecar.core.routing import Routes, looked_at, routes_of
from sidecar.core.steering import Steering
from tests.builders import CANARY, holding, kept, model, server, snapshot
from tests.fakes.gateway import OWN

M = model("m", versions=(1, 2))
SAMPLED = {"m": Steering(mirror=50, sample=5)}


def routes(seen: Snapshot, *, stateful: frozenset[str] = frozenset()) -> Routes:
    return routes_of(seen, replace(looked_at(OWN, seen), stateful=stateful))


def seen(steering: dict[str, Steering]) -> Snapshot:
    """`m` version 1 serves, 2 is on canary."""
    return snapshot(
        M,
        serving=server(holding(M, 1)),
        canary=holding(M, 2),
        kept=kept("m"),
        recorded={"m": 1},
        steering=steering,
    )


def test_a_share_is_sampled_beside_the_mirror() -> None:
    found = routes(seen(SAMPLED))
    assert (found.mirrors, found.samples) == ({"m": 50}, {"m": 5})


def test_nothing_is_sampled_unless_it_was_said() -> None:
    assert routes(seen({"m": Steering(mirror=50)})).samples == {}


def test_nothing_is_sampled_without_the_model_on_canary() -> None:
    found = seen(SAMPLED)
    without = replace(found, servers={**found.servers, CANARY: server()})
    assert routes(without).samples == {}


def test_a_model_that_keeps_state_is_not_sampled() -> None:
    """A request of a sequence that is asked again would change the sequence."""
    found = routes(seen(SAMPLED), stateful=frozenset({"m"}))
    assert (found.mirrors, found.samples) == ({"m": 50}, {})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"sample": 5}, "sample is of no use without mirror"),
        ({"mirror": 5, "sample": 101}, "less than or equal to 100"),
        ({"mirror": 5, "sample": -1}, "greater than or equal to 0"),
    ],
)
def test_a_sample_that_makes_no_sense_is_told(said: dict[str, int], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Steering.model_validate(said)
