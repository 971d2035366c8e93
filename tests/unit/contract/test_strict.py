from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from contract.strict import SCHEMA_VERSION, Document, Strict, Written, explain, nearest


class Inner(Strict):
    port: Annotated[int, Field(ge=1)] = 1


class Needy(Strict):
    kind: Literal["needy"]
    """Which of the two."""
    host: Annotated[str, Written(r"^[a-z]+$", "small letters, such as home")]
    """The machine
    to ask."""
    plain: int


class Other(Strict):
    kind: Literal["other"]


class Outer(Strict):
    inner: Inner = Inner()
    several: list[Inner] = Field(default_factory=list)
    either: Annotated[Needy | Other, Field(discriminator="kind")] | None = None
    by_name: dict[str, Needy] = Field(default_factory=dict)
    colour: Literal["red", "green", "blue"] = "red"


def said(**content: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(content)
    return explain(caught.value, Outer)


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


def test_a_key_that_is_missing_is_told_with_its_meaning_wherever_it_is() -> None:
    host = "host: this key is missing; its meaning: The machine to ask"

    assert said(either={"kind": "needy", "plain": 1}) == f"either.needy.{host}"
    assert said(by_name={"plain": {"kind": "needy", "plain": 1}}) == f"by_name.plain.{host}"
    assert said(by_name={"a": {"kind": "needy", "host": "x"}}) == (
        "by_name.a.plain: this key is missing"
    )


@pytest.mark.parametrize("host", ["http://home", "", "home\n", 7])
def test_a_text_of_another_form_is_refused_with_an_example(host: object) -> None:
    assert said(by_name={"a": {"kind": "needy", "host": host, "plain": 1}}) == (
        f"by_name.a.host: {host!r} cannot stand here; write small letters, such as home"
    )


def test_a_word_that_is_not_known_is_quoted_with_the_nearest() -> None:
    assert said(colour="gren") == (
        "colour: 'gren' cannot stand here; did you mean 'green'? It takes 'red', 'green' or 'blue'"
    )
    assert said(colour="BLUE").startswith("colour: 'BLUE' cannot stand here; did you mean 'blue'?")
    assert said(colour=7) == "colour: 7 cannot stand here; it takes 'red', 'green' or 'blue'"


def test_the_form_of_a_text_is_in_the_schema() -> None:
    assert Needy.model_json_schema()["properties"]["host"]["pattern"] == "^[a-z]+$"


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

    assert explain(caught.value, Paper) == (
        "schema_version 2 is newer than 1, the newest that this Pilotlight reads; upgrade "
        "Pilotlight, or write the file for schema_version 1"
    )


@pytest.mark.parametrize("version", [0, "one", None])
def test_what_is_no_format_is_refused(version: object) -> None:
    with pytest.raises(ValidationError, match="schema_version"):
        Paper.model_validate({"schema_version": version})


def test_the_docstring_of_a_key_is_its_description() -> None:
    assert Paper.model_fields["title"].description == "What stands at the top."
