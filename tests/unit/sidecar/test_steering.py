"""What may be said of where a model's requests go."""

from typing import Any

import pytest
from pydantic import ValidationError

from sidecar.core.steering import Steering


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"weights": {1: 95, 2: 5}},
        {"weights": {1: 0, 2: 1}, "sticky_header": "x-user-id"},
        {"mirror": 100},
    ],
)
def test_it_comes_back_from_the_record_as_it_was_said(said: dict[str, Any]) -> None:
    steering = Steering.model_validate(said)

    assert Steering.model_validate_json(steering.model_dump_json()) == steering
    assert {name: getattr(steering, name) for name in said} == said


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"weights": {1: 0, 2: 0}}, "all weights are 0; give one version more, or leave weights"),
        ({"sticky_header": "x-user"}, "sticky_header is of no use without weights"),
        ({"weights": {1: 1}, "mirror": 1}, "weights and mirror exclude each other"),
        ({"weights": {0: 1}}, "greater than or equal to 1"),
        ({"weights": {1: -1}}, "greater than or equal to 0"),
        ({"mirror": 101}, "less than or equal to 100"),
        ({"mirror": -1}, "greater than or equal to 0"),
        ({"weight": {1: 1}}, "unknown key .weight.; did you mean .weights."),
    ],
)
def test_what_makes_no_sense_is_told(said: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Steering.model_validate(said)


@pytest.mark.parametrize("header", ["X-User", "x user", ":path", "", "-x", "x" * 65, "x\n", "ü"])
def test_a_sticky_header_is_a_header_in_small_letters(header: str) -> None:
    with pytest.raises(ValidationError, match="sticky_header"):
        Steering.model_validate({"weights": {1: 1}, "sticky_header": header})
