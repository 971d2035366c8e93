from typing import Annotated

import pytest
from pydantic import Field, ValidationError

from contract.strict import SCHEMA_VERSION, Document, Strict, explain, nearest


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


def test_of_many_names_the_first_are_offered() -> None:
    known = [f"model_{number:03}" for number in range(200)]
    assert nearest("zzz", known).endswith("model_008, model_009 and 190 more")


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


class Paper(Document):
    title: str = ""
    """What stands at the top."""


@pytest.mark.parametrize("content", [{}, {"schema_version": SCHEMA_VERSION}])
def test_a_document_of_the_known_format_is_read(content: dict[str, object]) -> None:
    assert Paper.model_validate(content) == Paper()


def test_a_newer_format_is_refused_before_its_keys_are() -> None:
    with pytest.raises(ValidationError) as caught:
        Paper.model_validate({"schema_version": 2, "chapters": []})

    assert explain(caught.value) == (
        "schema_version 2 is newer than 1, the newest that this Pilotlight reads; upgrade "
        "Pilotlight, or write the file for schema_version 1"
    )


@pytest.mark.parametrize("version", [0, "one", None])
def test_what_is_no_format_is_refused(version: object) -> None:
    with pytest.raises(ValidationError, match="schema_version"):
        Paper.model_validate({"schema_version": version})


def test_the_docstring_of_a_key_is_its_description() -> None:
    assert Paper.model_fields["title"].description == "What stands at the top."
