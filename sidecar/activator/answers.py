"""What the client of a held request gets, in either protocol.

Envoy repeats a request that is answered with `x-pilotlight-again`, from its own copy and now to
Triton. It never repeats one that is answered with `x-envoy-ratelimited`: such an answer is final.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

from google.protobuf.any_pb2 import Any as Packed
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from starlette.responses import Response

from sidecar.core.activation import Heat
from sidecar.core.memory import shortage
from sidecar.errors import (
    DoesNotFit,
    HeldTooLong,
    Member,
    NotNow,
    Quarantined,
    RequestRefused,
    TooLate,
    TooManyWaiting,
    UnknownObject,
)

RETRY_PAUSED_S = 5.0
# A gRPC client takes 8 KiB of trailers; percent-encoded, and again in the details, this fits.
MAX_GRPC_TEXT = 1000

# Names of other models are not for every client.
_FOR_OPERATORS = {"blocked_by"}
_FINAL = {"x-envoy-ratelimited": "1", "x-warmth": "refused"}
# The gateway does not count these: anybody can make up names.
_UNKNOWN = {**_FINAL, "x-warmth": "unknown"}
_KINDS: Mapping[type[RequestRefused], tuple[int, StatusCode]] = {
    UnknownObject: (HTTPStatus.NOT_FOUND, StatusCode.NOT_FOUND),
    TooManyWaiting: (HTTPStatus.TOO_MANY_REQUESTS, StatusCode.RESOURCE_EXHAUSTED),
    Quarantined: (HTTPStatus.SERVICE_UNAVAILABLE, StatusCode.FAILED_PRECONDITION),
    NotNow: (HTTPStatus.SERVICE_UNAVAILABLE, StatusCode.UNAVAILABLE),
    HeldTooLong: (HTTPStatus.SERVICE_UNAVAILABLE, StatusCode.UNAVAILABLE),
    TooLate: (HTTPStatus.GATEWAY_TIMEOUT, StatusCode.DEADLINE_EXCEEDED),
    DoesNotFit: (HTTPStatus.INSUFFICIENT_STORAGE, StatusCode.RESOURCE_EXHAUSTED),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`code` is for programs, `text` for people; `headers` are gRPC's trailing metadata too."""

    status: int
    grpc_code: StatusCode
    code: str
    text: str
    headers: Mapping[str, str]
    members: Mapping[str, Member] = field(default_factory=dict)
    retry_after_s: float | None = None

    def as_http(self) -> Response:
        headers = dict(self.headers)
        if self.retry_after_s is not None:
            headers["retry-after"] = str(math.ceil(self.retry_after_s))
        content: dict[str, Member] = {"error": self.text}
        # To the byte what Triton itself says of what it does not know.
        if self.grpc_code is not StatusCode.NOT_FOUND:
            content |= {"code": self.code, **self.members}
        body = json.dumps(content, default=datetime.isoformat, separators=(",", ":"))
        return Response(body, self.status, headers, media_type="application/json")

    @property
    def grpc_text(self) -> str:
        return self.text[:MAX_GRPC_TEXT]

    def trailing_metadata(self) -> tuple[tuple[str, str | bytes], ...]:
        if self.retry_after_s is None:
            return (*self.headers.items(),)
        info, packed = RetryInfo(), Packed()
        info.retry_delay.FromTimedelta(timedelta(seconds=self.retry_after_s))
        packed.Pack(info)
        status = Status(code=self.grpc_code.value[0], message=self.grpc_text, details=[packed])
        return (*self.headers.items(), ("grpc-status-details-bin", status.SerializeToString()))


def again(model: str, heat: Heat) -> Answer:
    """The model is loaded: Triton answers now."""
    return _again(f"{model} is loaded; ask again", {"x-warmth": heat.value})


def _again(text: str, headers: Mapping[str, str]) -> Answer:
    return Answer(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        grpc_code=StatusCode.UNAVAILABLE,
        code="again",
        text=text,
        headers={"x-pilotlight-again": "1", **headers},
    )


CLOSING = _again("the sidecar is stopping; ask again", {})
CRASHED = Answer(
    status=HTTPStatus.INTERNAL_SERVER_ERROR,
    grpc_code=StatusCode.INTERNAL,
    code="internal_error",
    text="a bug of the sidecar; its log tells more",
    headers=_FINAL,
)
NO_SUCH_PATH = Answer(
    status=HTTPStatus.NOT_FOUND,
    grpc_code=StatusCode.UNIMPLEMENTED,
    code="unknown_path",
    text="no such path; models are under /v2/models/",
    headers=_FINAL,
)


def malformed(text: str) -> Answer:
    return Answer(
        status=HTTPStatus.BAD_REQUEST,
        grpc_code=StatusCode.INVALID_ARGUMENT,
        code="malformed_request",
        text=text,
        headers=_FINAL,
    )


def lost(model: str, losses: int) -> Answer:
    """Servers died under the request. INTERNAL, because gRPC's clients repeat UNAVAILABLE."""
    return Answer(
        status=HTTPStatus.SERVICE_UNAVAILABLE,
        grpc_code=StatusCode.INTERNAL,
        code="server_died",
        text=(
            f"{losses} times a server died while it answered this request for {model}, which is "
            "not sent again; see in Triton's log what it died of, and ask again if this request "
            "is not to blame"
        ),
        headers=_FINAL,
    )


def unknown(model: str) -> Answer:
    return refusal(model, UnknownObject("unknown_model", ""), now_s=0.0)


def refusal(model: str, error: Exception, now_s: float) -> Answer:
    """The final answer; `CRASHED` for an error that no request should meet."""
    if not isinstance(error, RequestRefused) or type(error) not in _KINDS:
        return CRASHED
    status, grpc_code = _KINDS[type(error)]
    return Answer(
        status=status,
        grpc_code=grpc_code,
        code=error.code,
        text=_text(model, error),
        headers=_UNKNOWN if isinstance(error, UnknownObject) else _FINAL,
        members={name: each for name, each in error.members.items() if name not in _FOR_OPERATORS},
        retry_after_s=_retry_after_s(error, now_s),
    )


def _text(model: str, error: RequestRefused) -> str:
    if isinstance(error, UnknownObject):
        # Triton's own words: clients look for them.
        return _unknown(model, error)
    match error.members:
        case {
            "device": str() as device,
            "needed_bytes": int() as needed_bytes,
            "free_bytes": int() as free_bytes,
            "evictable_bytes": int() as evictable_bytes,
        }:
            lacks = shortage(device, needed_bytes, free_bytes, evictable_bytes)
            return f"{model} {lacks}; who runs it can see why (`pilotlight explain {model}`)"
        case _:
            return error.detail


def _unknown(model: str, error: RequestRefused) -> str:
    version = error.members.get("version")
    which = f"'{model}'" if version is None else f"'{model}' version {version}"
    return f"Request for unknown model: {which} is not found"


def _retry_after_s(error: RequestRefused, now_s: float) -> float | None:
    if isinstance(error, NotNow):
        return RETRY_PAUSED_S
    match error.members:
        case {"retry_after_s": float() | int() as given}:
            return given
        case {"until": datetime() as until}:
            return max(1.0, until.timestamp() - now_s)
        case _:
            return None
