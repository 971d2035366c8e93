"""A request and its answer, apart from how they travel."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

from pydantic import BaseModel, ValidationError

from contract.strict import explain
from pilotlight.client.bodies import ProblemBody
from pilotlight.client.body import Tagged
from pilotlight.client.errors import NotUnderstood, Problem, Unreachable, problem_of

T = TypeVar("T", bound=BaseModel)
Value = str | int | bool | datetime
SUCCESS = frozenset({200, 202, 204})
SILENT_S = 30.0
"""An event stream that says nothing for so long is dead; a live one comments every 15 s."""
_OF_PROXIES = (502, 503, 504)
SHOWN = 200
"""Characters of an answer that nobody understands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`content` is JSON, or bytes as they are.

    `may_repeat`: sent twice it does no more than sent once. It is sent after `after_s`, and
    `wait_s` is how long the sidecar may take to answer, beyond what every answer may take.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: object = None
    may_repeat: bool = False
    allowed: frozenset[int] = SUCCESS
    after_s: float = 0.0
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`source` is the URL that answered."""

    source: str
    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def etag(self) -> str | None:
        return self.headers.get("etag")

    def json(self) -> dict[str, Any]:
        """Empty when the answer is."""
        found: dict[str, Any] = json.loads(self.content) if self.content else {}
        return found

    def read_as(self, kind: type[T]) -> T:
        """Raises NotUnderstood."""
        found = understood(kind, self.content, self.source)
        if isinstance(found, Tagged):
            found.tag(self.etag)
        return found

    def problem(self) -> Problem | Unreachable | NotUnderstood:
        """Why there is no success. Of a proxy's own words only those that nobody is behind it."""
        try:
            return problem_of(ProblemBody.model_validate_json(self.content))
        except ValidationError:
            if self.status in _OF_PROXIES:
                return Unreachable(f"no sidecar behind {self.source}: status {self.status}")
            return _not_understood(self.source, f"status {self.status}", self.content)


def understood(kind: type[T], content: bytes | str, source: str) -> T:
    """Raises NotUnderstood."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise _not_understood(
            source, f"{kind.__name__}: {explain(error, kind)}", content
        ) from error


def _not_understood(source: str, what: str, content: bytes | str) -> NotUnderstood:
    told = content.decode(errors="replace") if isinstance(content, bytes) else content
    return NotUnderstood(
        f"{source} answers what no sidecar of this release does ({what}): {told[:SHOWN]!r}; "
        "is another server there, or a sidecar of another release?"
    )


def path(template: str, **names: str | int) -> str:
    """`/v1/models/{model}` with names in it, whatever characters they have."""
    return template.format_map({name: quote(str(it), safe="") for name, it in names.items()})


def given(**parameters: Value | None) -> dict[str, str]:
    """A query without what is None."""
    return {name: _written(value) for name, value in parameters.items() if value is not None}


def get(
    where: str, query: Mapping[str, str] | None = None, *, allowed: frozenset[int] = SUCCESS
) -> Request:
    return Request(method="GET", path=where, query=query or {}, may_repeat=True, allowed=allowed)


def delete(where: str) -> Request:
    return Request(method="DELETE", path=where)


def listen_to(where: str, query: Mapping[str, str] | None = None) -> Request:
    """For a stream of events."""
    return replace(get(where, query), wait_s=SILENT_S)


def ask(where: str, content: BaseModel) -> Request:
    """A POST that changes nothing."""
    return Request(method="POST", path=where, content=said(content), may_repeat=True)


def post(
    where: str,
    content: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    wait_s: float = 0.0,
) -> Request:
    """With an idempotency key: the sidecar does it once, also when it is sent again."""
    return Request(
        method="POST",
        path=where,
        headers={"Idempotency-Key": str(uuid4()), **(headers or {})},
        content=said(content),
        may_repeat=True,
        wait_s=wait_s,
    )


def said(content: object) -> object:
    """Of a body only what was set: a sidecar of another release has defaults of its own."""
    if isinstance(content, BaseModel):
        return content.model_dump(mode="json", exclude_unset=True)
    return content


def id_in(location: str) -> str:
    """`/v1/releases/abc` -> `abc`; an id is one already."""
    return location.rsplit("/", 1)[-1]


def _written(value: Value) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat() if isinstance(value, datetime) else str(value)
