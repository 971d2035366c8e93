"""What stands before everything under /v1: who asks, from where, and with how large a body."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sidecar.api.auth import Callers
from sidecar.api.problems import refusal
from sidecar.errors import RequestRefused
from sidecar.runtime.compare import LARGEST_BYTES

LARGEST_BODY_BYTES = 2 * LARGEST_BYTES
"""No body is larger than a request that is handed over to be recorded, as JSON."""


class Guard:
    """ASGI middleware: nothing of a body is read before it is known who sends it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1"):
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        callers: Callers = request.app.state.callers
        try:
            request.state.caller = callers.admit(request)
        except RequestRefused as error:
            await refusal(request, error)(scope, receive, send)
        else:
            await self._app(scope, _bounded(receive), send)


def _bounded(receive: Receive) -> Receive:
    """Raises HTTPException 413 where more than LARGEST_BODY_BYTES have come."""
    read_bytes = 0

    async def receive_bounded() -> Message:
        nonlocal read_bytes
        message = await receive()
        read_bytes += len(message.get("body", b""))
        if read_bytes > LARGEST_BODY_BYTES:
            raise HTTPException(
                413, f"the body is larger than {LARGEST_BODY_BYTES} bytes; nothing here needs more"
            )
        return message

    return receive_bounded
