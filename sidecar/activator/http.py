"""Triton's HTTP protocol, as far as a request names a model.

    /v2/models/<model>[/versions/<version>]/ready   answered without a load
    /v2/models/<model>[/versions/<version>]/stats   empty: what is not loaded has none
    /v2/models/<model>[/versions/<version>][/...]   held: infer, generate, config, metadata

A client says in `x-request-timeout` how long it waits: `500ms`, `2.5s`, from when its request came
to the gateway.

Envoy's copies of requests, to compare answers, come here too and are told apart by a header.
"""

import asyncio
import re
from functools import partial
from http import HTTPStatus
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from contract.durations import parse_duration_s
from contract.kserve import from_http
from sidecar.activator.answers import CLOSING, NO_SUCH_PATH, malformed
from sidecar.activator.holding import Holding
from sidecar.activator.samples import SAMPLE, Samples
from sidecar.activator.tries import past
from sidecar.adapters.envoy.names import TRIES_HEADER
from sidecar.runtime.compare import LARGEST_BYTES

TIMEOUT = "x-request-timeout"
HEADER_LENGTH = "inference-header-content-length"
_PATH = re.compile(
    r"/v2/models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<part>.*))?"
)


class HttpDoor:
    """An ASGI application."""

    def __init__(self, holding: Holding, samples: Samples) -> None:
        self._holding = holding
        self._samples = samples

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if SAMPLE in Headers(scope=scope):
            await self._take(scope, receive)
            await Response(status_code=HTTPStatus.NO_CONTENT)(scope, receive, send)
            return
        arrived = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            answering = group.create_task(self._answer(scope, receive, send, arrived))
            listening = group.create_task(_throw_away(receive, arrived))
            answering.add_done_callback(lambda _: listening.cancel())
            listening.add_done_callback(lambda _: answering.cancel())

    async def _answer(
        self, scope: Scope, receive: Receive, send: Send, arrived: asyncio.Event
    ) -> None:
        found = await self._holding.unless_closed(self._ask_while_arriving(scope, arrived))
        response = found or CLOSING.as_http()
        await response(scope, receive, send)

    async def _ask_while_arriving(self, scope: Scope, arrived: asyncio.Event) -> Response:
        """Envoy can repeat only what it has as a whole, so no answer comes before."""
        response = await self._ask(scope)
        await arrived.wait()
        return response

    async def _ask(self, scope: Scope) -> Response:
        # Not `path`: a slash in a name is no border between parts.
        found = _PATH.fullmatch(scope["raw_path"].decode("latin-1"))
        if found is None:
            return NO_SUCH_PATH.as_http()
        model = unquote(found["model"])
        if found["part"] == "ready":
            refusal = self._holding.refusal(model)
            return refusal.as_http() if refusal else Response()
        if found["part"] == "stats":
            stranger = self._holding.stranger(model)
            return stranger.as_http() if stranger else JSONResponse({"model_stats": []})
        headers = Headers(scope=scope)
        given = headers.get(TIMEOUT)
        try:
            timeout_s = None if given is None else parse_duration_s(given)
        except ValueError as error:
            return malformed(f"{TIMEOUT}: {error}").as_http()
        version = unquote(found["version"] or "")
        before = past(headers.getlist(TRIES_HEADER))
        return (await self._holding.held(model, version, timeout_s, before)).as_http()

    async def _take(self, scope: Scope, receive: Receive) -> None:
        """Only of /infer: what /generate means is in the model's config."""
        found = _PATH.fullmatch(scope["raw_path"].decode("latin-1"))
        body = await _read(receive, at_most=LARGEST_BYTES + 1)
        if found is None or found["part"] != "infer" or body is None:
            return
        given = Headers(scope=scope).get(HEADER_LENGTH)
        try:
            length = None if given is None else int(given)
        except ValueError:
            return
        self._samples.offer(unquote(found["model"]), body, partial(from_http, header_length=length))


async def _read(receive: Receive, *, at_most: int) -> bytes | None:
    """The body's first bytes, when all of it is here; None if its sender has gone."""
    parts: list[bytes] = []
    left = at_most
    while (message := await receive())["type"] == "http.request":
        parts.append(message["body"][:left])
        left -= len(parts[-1])
        if not message["more_body"]:
            return b"".join(parts)
    return None


async def _throw_away(receive: Receive, arrived: asyncio.Event) -> None:
    """Return when the client has gone; `arrived` is set when its request is here as a whole."""
    while (message := await receive())["type"] == "http.request":
        if not message["more_body"]:
            arrived.set()
