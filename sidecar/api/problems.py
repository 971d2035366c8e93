"""Errors as RFC 9457 problems: stable `code`, text for people in `detail`."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from sidecar.errors import (
    Conflict,
    Impossible,
    RequestRefused,
    StateUnavailable,
    UnknownObject,
)

_STATUS: dict[type[RequestRefused], int] = {UnknownObject: 404, Conflict: 409, Impossible: 422}
_TITLES = {
    401: "Not authenticated",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict with what is going on",
    422: "Impossible request",
    503: "Not available now",
}


class Problem(BaseModel):
    """Body of every error, `application/problem+json`. `detail` is never to be parsed."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str


PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": title} for status, title in _TITLES.items()
}


def problem(
    request: Request,
    status: int,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    body = Problem(
        type=f"urn:pilotlight:problem:{code.replace('_', '-')}",
        title=_TITLES.get(status, "Error"),
        status=status,
        code=code,
        detail=detail,
        instance=request.url.path,
    )
    return JSONResponse(body.model_dump(), status, headers, media_type="application/problem+json")


def add_problem_handlers(app: FastAPI) -> None:
    @app.exception_handler(RequestRefused)
    async def _refused(request: Request, error: RequestRefused) -> JSONResponse:
        return problem(request, _STATUS[type(error)], error.code, error.detail)

    @app.exception_handler(StateUnavailable)
    async def _no_state(request: Request, error: StateUnavailable) -> JSONResponse:
        return problem(request, 503, "state_unavailable", str(error), {"Retry-After": "5"})

    @app.exception_handler(RequestValidationError)
    async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = "; ".join(
            ": ".join((".".join(map(str, item["loc"])), item["msg"].removeprefix("Value error, ")))
            for item in error.errors()
        )
        return problem(request, 422, "invalid_request", found)

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> JSONResponse:
        code = {401: "not_authenticated", 404: "unknown_path", 405: "method_not_allowed"}
        return problem(
            request,
            error.status_code,
            code.get(error.status_code, "error"),
            str(error.detail),
            error.headers,
        )
