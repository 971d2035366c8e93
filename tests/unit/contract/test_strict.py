from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from contract.strict import Strict, explain, nearest


class Inner(Strict):
    port: Annotated[int, Field(ge=1)] = 1


class Outer(Strict):
    inner: Inner = Inner()
    several: list[Inner] = Field(default_factory=list)


def said(**content: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(content)
    return explain(caught.value)


def test_a_known_name_that_is_similar_is_offered() -> None:
    assert nearest("prot", ["port", "host"]) == "did you mean 'port'?"


def test_all_names_are_offered_when_none_is_similar() -> None:
    assert nearest("zzz", ["port", "host"]) == "known: host, port"


def test_an_unknown_key_is_refused_with_the_nearest() -> None:
    assert said(iner={}) == "unknown key 'iner'; did you mean 'inner'?"


def test_every_problem_is_told_with_its_place() -> None:
    assert said(inner={"prot": 2}, several=[{}, {"port": 0}]) == (
        "inner: unknown key 'prot'; did you mean 'port'?; "
        "several[1].port: Input should be greater than or equal to 1"
    )


def test_something_else_than_a_section_is_refused() -> None:
    assert said(inner=[1]) == "inner: Input should be a valid dictionary or instance of Inner"


def test_a_section_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Inner().port = 2  # type: ignore[misc]
