"""Files that people write: unknown keys are refused with the nearest known one."""

import difflib
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

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


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a message: the most similar known name, or all of them, or the first ones."""
    names = sorted(known)
    if similar := difflib.get_close_matches(name, names, n=1):
        return f"did you mean {similar[0]!r}?"
    told = ", ".join(names[:_TOLD_NAMES]) or "none"
    more = len(names) - _TOLD_NAMES
    return f"known: {told} and {more} more" if more > 0 else f"known: {told}"


def explain(error: ValidationError) -> str:
    """All that is wrong, in one line: `where: what; where: what`."""
    return "; ".join(
        ": ".join(filter(None, [_where(problem["loc"]), _what(problem["msg"])]))
        for problem in error.errors()
    )


def _where(location: tuple[int | str, ...]) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return path.lstrip(".")


def _what(message: str) -> str:
    return message.removeprefix("Value error, ")
