"""What belongs to one request: its id, the trace that it is part of, and the crash at its end."""

import re
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from sidecar.api.problems import problem

REQUEST_ID = "x-request-id"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")
# W3C Trace Context, version 00: version, trace id, id of the caller's span, flags.
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


class RequestContext:
    """ASGI middleware. Whatever is told while a request is answered carries its id.

    A caller's `x-request-id` is taken over and sent back; without one, or with a strange
    one, it is made here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        known = _known(Headers(scope=scope))
        has_begun = False

        async def send_with_id(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                MutableHeaders(scope=message)[REQUEST_ID] = known["request_id"]
            await send(message)

        with bound_contextvars(**known):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception:
                # A bug: told in the log with the request's id, and answered without a traceback.
                if has_begun:
                    raise
                path = scope["path"]
                structlog.get_logger("pilotlight").exception("request_crashed", path=path, **known)
                detail = f"look for request {known['request_id']} in the sidecar's log"
                answer = problem(Request(scope), "internal_error", detail)
                await answer(scope, receive, send_with_id)


def _known(headers: Headers) -> dict[str, str]:
    given = headers.get(REQUEST_ID, "")
    known = {"request_id": given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex}
    if trace := _TRACEPARENT.fullmatch(headers.get("traceparent", "")):
        known["trace_id"] = trace[1]
    return known
