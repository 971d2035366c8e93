"""Files that people write: unknown keys are refused with the nearest known one."""

import difflib
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator


class Strict(BaseModel):
    """A frozen section of a file or a request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        for key in data if isinstance(data, dict) else ():
            if key not in cls.model_fields:
                raise ValueError(f"unknown key {key!r}; {nearest(str(key), cls.model_fields)}")
        return data


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a message: the most similar known name, or all of them."""
    names = sorted(known)
    similar = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {similar[0]!r}?" if similar else f"known: {', '.join(names) or 'none'}"


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
