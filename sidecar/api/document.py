"""What FastAPI's OpenAPI document does not say by itself."""

from typing import Any

from fastapi import FastAPI

from sidecar.api.auth import SCHEME, role_for
from sidecar.api.idempotency import HEADER, LONGEST_KEY
from sidecar.api.problems import CODES, MEDIA_TYPE, describe, problem_type

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_KEY = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": "Sent again within 24 h, the same request gets the same answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY},
    "example": "8e03978e-40d5-43dd-bc93-6894a57f9324",
}


def complete_document(app: FastAPI) -> None:
    """Adds roles, idempotency keys, the problems' media type, and the table of their codes."""
    plain = app.openapi

    def complete() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            for path, item in document["paths"].items():
                for method, operation in item.items():
                    _complete(operation, method, guarded=path.startswith("/v1"))
            document["x-problem-codes"] = [
                {
                    "code": code,
                    "type": problem_type(code),
                    "status": kind.status,
                    "title": kind.title,
                }
                for code, kind in CODES.items()
            ]
        return plain()

    app.openapi = complete  # type: ignore[method-assign]


def _complete(operation: dict[str, Any], method: str, *, guarded: bool) -> None:
    responses = operation["responses"]
    if guarded:
        operation["security"] = [{SCHEME: [role_for(method).value]}]
    if guarded and method == "post":
        operation.setdefault("parameters", []).append(_KEY)
        _add(responses, "409", ["request_running"])
        _add(responses, "422", ["idempotency_key_reused"])
    for response in responses.values():
        schemas = list(response.get("content", {}).values())
        if schemas == [{"schema": _PROBLEM}]:
            response["content"] = {MEDIA_TYPE: schemas[0]}


def _add(responses: dict[str, Any], status: str, codes: list[str]) -> None:
    said = describe(codes)
    found = responses.setdefault(
        status, {"description": "", "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
    )
    found["description"] = "; ".join(filter(None, [found["description"], said]))
