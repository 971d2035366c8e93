"""Files that people write: what is wrong is told with the key and what it takes."""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    ValidationError,
    ValidatorFunctionWrapHandler,
    model_validator,
)
from pydantic_core import CoreSchema, ErrorDetails, core_schema

SCHEMA_VERSION: Literal[1] = 1
_TOLD_NAMES = 10


class Strict(BaseModel):
    """A frozen section of a file or a request. Docstrings of its keys are their descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key not in cls.model_fields:
                raise ValueError(f"unknown key {key!r}; {nearest(str(key), cls.model_fields)}")
        return data


class Document(Strict):
    """A whole file."""

    schema_version: Literal[1] = SCHEMA_VERSION
    """Of the format of this file; grows when what is written today would mean something else."""

    # Stands here to come before the keys are looked at: a newer format has others.
    @model_validator(mode="before")
    @classmethod
    def _refuse_newer(cls, data: Any) -> Any:
        said = data.get("schema_version") if isinstance(data, dict) else None
        if isinstance(said, int) and said > SCHEMA_VERSION:
            raise ValueError(
                f"schema_version {said} is newer than {SCHEMA_VERSION}, the newest that this "
                "Pilotlight reads; upgrade Pilotlight, or write the file for "
                f"schema_version {SCHEMA_VERSION}"
            )
        return data


@dataclass(frozen=True, slots=True)
class Written:
    """Annotates a text of one form. `pattern` is for programs, `example` tells people."""

    pattern: str
    example: str

    def __get_pydantic_core_schema__(
        self, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        text = core_schema.str_schema(pattern=self.pattern)
        return core_schema.no_info_wrap_validator_function(self._told, text)

    def _told(self, value: object, read: ValidatorFunctionWrapHandler) -> str:
        try:
            text: str = read(value)
        except ValidationError:
            raise ValueError(f"{value!r} cannot stand here; write {self.example}") from None
        return text


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a message: the most similar known name, or all of them, or the first ones."""
    names = sorted(known)
    if similar := _similar(name, names):
        return f"did you mean {similar!r}?"
    told = ", ".join(names[:_TOLD_NAMES]) or "none"
    more = len(names) - _TOLD_NAMES
    return f"known: {told} and {more} more" if more > 0 else f"known: {told}"


def _similar(name: str, known: Iterable[str]) -> str | None:
    """In upper or lower case."""
    spelled = {each.casefold(): each for each in known}
    found = difflib.get_close_matches(name.casefold(), spelled, n=1)
    return spelled[found[0]] if found else None


def explain(error: ValidationError, document: type[BaseModel]) -> str:
    """All that is wrong with a document, in one line: `where: what; where: what`."""
    return "; ".join(
        ": ".join(filter(None, [_where(problem["loc"]), what(problem, document)]))
        for problem in error.errors()
    )


def what(problem: ErrorDetails, document: type[BaseModel]) -> str:
    """One thing that is wrong.

    Of a key that is missing also what it is for, of a word that is not known the nearest.
    """
    if problem["type"] in ("enum", "literal_error"):
        return _none_of(problem["ctx"]["expected"], problem["input"])
    if problem["type"] != "missing":
        return problem["msg"].removeprefix("Value error, ")
    meaning = _meaning(document, problem["loc"])
    return f"this key is missing; its meaning: {meaning}" if meaning else "this key is missing"


def _none_of(expected: str, said: object) -> str:
    """`expected` are words as pydantic lists them: `'hot', 'warm' or 'cold'`."""
    words = re.findall("'([^']*)'", expected)
    similar = _similar(said, words) if isinstance(said, str) else None
    hint = f"did you mean {similar!r}? It takes" if similar else "it takes"
    return f"{said!r} cannot stand here; {hint} {expected}"


def _meaning(document: type[BaseModel], location: tuple[int | str, ...]) -> str:
    """The description of the key at a place of a document; empty where it has none."""
    *way, key = location
    sections = {document}
    for part in way:
        fields = [each.model_fields[str(part)] for each in sections if part in each.model_fields]
        # An index, a free name and the tag of a union lead into no other section.
        sections = set().union(*(_sections(field.annotation) for field in fields)) or sections
    found = [each.model_fields[str(key)] for each in sections if key in each.model_fields]
    meaning = found[0].description if found else None
    return " ".join((meaning or "").split()).removesuffix(".")


def _sections(annotation: Any) -> set[type[BaseModel]]:
    """Those that a value of a type may consist of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    return set().union(*map(_sections, get_args(annotation)))


def _where(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return path.lstrip(".")
