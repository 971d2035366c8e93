"""Errors as RFC 9457 problems: a stable `type` and `code`, text for people in `detail`.

`CODES` is the one table of all of them; the OpenAPI document shows it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, JsonValue
from starlette.exceptions import HTTPException
from structlog.contextvars import get_contextvars

from sidecar.errors import RequestRefused, StateConflict, StateUnavailable

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Kind:
    """What every problem of one code has in common."""

    status: int
    title: str
    headers: Mapping[str, str] = field(default_factory=dict)


CODES = {
    "malformed_body": Kind(400, "The body is no JSON"),
    "not_authenticated": Kind(401, "Not authenticated", {"WWW-Authenticate": "Bearer"}),
    "forbidden": Kind(403, "The caller may not do this"),
    "unknown_path": Kind(404, "No such path"),
    "unknown_model": Kind(404, "No such model"),
    "unknown_version": Kind(404, "No such version"),
    "unknown_operation": Kind(404, "No such operation"),
    "unknown_release": Kind(404, "No such release"),
    "unknown_train": Kind(404, "No such train"),
    "method_not_allowed": Kind(405, "Method not allowed"),
    "already_serving": Kind(409, "The version serves already"),
    "changed_meanwhile": Kind(409, "Somebody else changed it at the same time"),
    "no_gateway": Kind(409, "There is no gateway"),
    "no_mirror": Kind(409, "Canary cannot get copies of requests"),
    "model_is_hot": Kind(409, "A hot model stays loaded"),
    "not_quarantined": Kind(409, "The model does not rest"),
    "not_alone": Kind(409, "Other replicas answer for the model too"),
    "not_rejected": Kind(409, "The version was not refused"),
    "nothing_pending": Kind(409, "No version waits to be released"),
    "nothing_to_roll_back": Kind(409, "Nothing to roll back"),
    "nothing_to_shift": Kind(409, "No version to shift requests from"),
    "release_elsewhere": Kind(409, "The release is not where that means something"),
    "release_active": Kind(409, "The model is being released"),
    "train_over": Kind(409, "The train has ended"),
    "request_running": Kind(
        409, "The first request with this idempotency key still runs", {"Retry-After": "1"}
    ),
    "stale": Kind(412, "It was changed since it was read"),
    "body_too_large": Kind(413, "The body is too large"),
    "not_sent_as_json": Kind(415, "The body is not sent as JSON"),
    "invalid_request": Kind(422, "Not a valid request"),
    "hot_models_do_not_fit": Kind(422, "The hot models do not fit together"),
    "invalid_page_token": Kind(422, "Not a page token of this list"),
    "idempotency_key_reused": Kind(422, "The idempotency key belongs to another request"),
    "signature_changed": Kind(422, "The version takes other requests"),
    "stateful_model": Kind(422, "The model keeps state between requests"),
    "version_rejected": Kind(423, "The version was refused before"),
    "quarantined": Kind(423, "The model rests after failures"),
    "precondition_required": Kind(428, "If-Match is missing"),
    "too_many_waiting": Kind(429, "Too many requests wait", {"Retry-After": "1"}),
    "internal_error": Kind(500, "A bug of the sidecar"),
    "state_unavailable": Kind(503, "The state cannot be read or written", {"Retry-After": "5"}),
    "not_now": Kind(503, "The sidecar begins nothing now", {"Retry-After": "5"}),
    "held_too_long": Kind(503, "Held for as long as may be", {"Retry-After": "1"}),
    "deadline_passed": Kind(504, "The caller's deadline passed"),
    "insufficient_memory": Kind(507, "The model does not fit"),
}
_COMMON = (
    "malformed_body",
    "not_authenticated",
    "forbidden",
    "body_too_large",
    "not_sent_as_json",
    "invalid_request",
    "internal_error",
    "state_unavailable",
)
_BY_STATUS = {
    400: "malformed_body",
    404: "unknown_path",
    405: "method_not_allowed",
    413: "body_too_large",
}


class Flaw(BaseModel):
    """`pointer` is a JSON pointer into the request: `/body/version`, `/query/page_size`."""

    pointer: str
    detail: str


_EXAMPLE: JsonValue = {
    "type": "urn:pilotlight:problem:unknown-model",
    "title": "No such model",
    "status": 404,
    "code": "unknown_model",
    "detail": "no model 'shortform' in the store; did you mean 'short_form'?",
    "instance": "/v1/models/shortform",
    "request_id": "5f8055abde844accbe94254d65265a4f",
}


class Problem(BaseModel):
    """Body of every error. `code` is for programs; `detail` is never to be parsed."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [_EXAMPLE]})

    type: str
    title: str
    status: int
    code: str = Field(json_schema_extra={"enum": [*sorted(CODES)]})
    detail: str
    instance: str
    request_id: str | None = None
    trace_id: str | None = None
    errors: list[Flaw] | None = None
    """All that is wrong with the request, for `invalid_request`."""
    role: str | None = None
    """The role that is needed, for `forbidden`."""
    version: str | None = None
    """The one that the request names, for `unknown_version` where it was held."""
    retry_after_s: float | None = None
    """For `too_many_waiting` and `held_too_long`, which only clients of the gateway meet."""
    rejected_by: str | None = None
    """The release that refused the version, for `version_rejected`."""
    until: datetime | None = None
    """The end of the rest, for `quarantined`."""
    device: str | None = None
    needed_bytes: int | None = None
    budget_bytes: int | None = None
    """What is for models on the device, for `hot_models_do_not_fit`."""
    free_bytes: int | None = None
    evictable_bytes: int | None = None
    blocked_by: list[str] | None = None
    """Who holds memory and may not be evicted, for `insufficient_memory`."""


def problem_type(code: str) -> str:
    return f"urn:pilotlight:problem:{code.replace('_', '-')}"


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """A route's `responses`: these codes, and those that every route can answer with."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in (*_COMMON, *codes):
        by_status[CODES[code].status].append(code)
    return {
        status: {"model": Problem, "description": describe(of_status)}
        for status, of_status in sorted(by_status.items())
    }


def describe(codes: list[str]) -> str:
    return "; ".join(f"`{code}`: {CODES[code].title}" for code in codes)


def problem(
    request: Request,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> JSONResponse:
    kind = CODES[code]
    known = get_contextvars()
    body = Problem(
        type=problem_type(code),
        title=kind.title,
        status=kind.status,
        code=code,
        detail=detail,
        instance=request.url.path,
        request_id=known.get("request_id"),
        trace_id=known.get("trace_id"),
        **(members or {}),
    )
    return JSONResponse(
        body.model_dump(mode="json", exclude_none=True),
        kind.status,
        {**kind.headers, **(headers or {})},
        media_type=MEDIA_TYPE,
    )


def refusal(request: Request, error: RequestRefused) -> JSONResponse:
    return problem(request, error.code, error.detail, members=error.members)


def add_problem_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestRefused)
    async def _refused(request: Request, error: RequestRefused) -> JSONResponse:
        return refusal(request, error)

    @app.exception_handler(StateUnavailable)
    async def _no_state(request: Request, error: StateUnavailable) -> JSONResponse:
        return problem(request, "state_unavailable", str(error))

    @app.exception_handler(StateConflict)
    async def _changed(request: Request, error: StateConflict) -> JSONResponse:
        is_conditional = not {"if-match", "if-none-match"}.isdisjoint(request.headers)
        return problem(request, "stale" if is_conditional else "changed_meanwhile", str(error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()
        if _is_unread(request, found):
            return problem(request, "not_sent_as_json", _unread(request))
        if any(item["type"] == "json_invalid" for item in found):
            return problem(request, "malformed_body", str(found[0]["ctx"]["error"]))
        flaws = [_flaw(item) for item in found]
        detail = "; ".join(f"{flaw.pointer}: {flaw.detail}" for flaw in flaws)
        return problem(request, "invalid_request", detail, members={"errors": flaws})

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        code = _BY_STATUS[error.status_code]
        return problem(request, code, str(error.detail), headers=error.headers)


def _is_unread(request: Request, found: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there is a body that was not parsed, because it is not called JSON.

    A page of another site can have a browser send a form or plain text, but no JSON.
    """
    is_there = any(item["loc"] == ("body",) and item["type"] != "missing" for item in found)
    media = _media_type(request)
    return is_there and media != "application/json" and not media.endswith("+json")


def _unread(request: Request) -> str:
    how = _media_type(request)
    sent = f"as {how}" if how else "without a content type"
    return (
        f"the body is sent {sent}; send it as application/json: curl -H 'content-type: "
        "application/json', or curl --json"
    )


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _flaw(item: Mapping[str, Any]) -> Flaw:
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in item["loc"])
    return Flaw(
        pointer="".join(f"/{part}" for part in parts),
        detail=item["msg"].removeprefix("Value error, "),
    )
