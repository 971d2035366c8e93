"""A POST that is sent again with its Idempotency-Key gets the first answer again.

After draft-ietf-httpapi-idempotency-key-header-07. Only what was accepted is kept: a request
that was refused has changed nothing, and may be tried again with the same key.
"""

import hashlib
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from sidecar.errors import Conflict, Impossible, StateConflict
from sidecar.ports import StateStore, Stored

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"
LONGEST_KEY = 255
KEPT_S = 24 * 3600.0
# A request is answered in milliseconds; one that is still open then died with its sidecar.
GIVEN_UP_AFTER_S = 60.0
_PRUNED_EVERY_S = 3600.0
_PREFIX = "idempotency/"
_KEPT_HEADERS = ("content-type", "location", "retry-after")

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class _Answer(BaseModel):
    status: int
    headers: dict[str, str]
    body: str

    @classmethod
    def of(cls, response: Response) -> "_Answer":
        kept = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
        return cls(status=response.status_code, headers=kept, body=bytes(response.body).decode())

    def again(self) -> Response:
        return Response(self.body, self.status, {**self.headers, REPLAYED: "true"})


class _Attempt(BaseModel):
    """What is stored under a key; without an answer the request still runs."""

    request: str
    at_s: float
    answer: _Answer | None = None


class Answers:
    def __init__(self, state: StateStore, now_s: Callable[[], float] = time.time) -> None:
        self._state = state
        self._now_s = now_s
        self._pruned_at_s = float("-inf")

    async def once(
        self, key: str, request: str, handle: Callable[[], Awaitable[Response]]
    ) -> Response:
        """The answer of `handle`, or the one that it gave to the same `request` before.

        Raises:
            Impossible: the key belongs to another request.
            Conflict: the first request still runs.
        """
        await self._prune()
        path = f"{_PREFIX}{key}"
        before = await self._state.get(path)
        if before is not None and (answer := self._known(before, request)):
            return answer.again()
        attempt = _Attempt(request=request, at_s=self._now_s())
        expect = before.revision if before else None
        try:
            claim = await self._state.put(path, attempt.model_dump_json(), expect=expect)
        except StateConflict as error:
            raise _running() from error
        try:
            response = await handle()
        except BaseException:
            await self._state.delete(path, expect=claim.revision)
            raise
        attempt.answer = _Answer.of(response)
        await self._state.put(path, attempt.model_dump_json(), expect=claim.revision)
        return response

    def _known(self, stored: Stored, request: str) -> _Answer | None:
        """None when the attempt is too old to count."""
        attempt = _Attempt.model_validate_json(stored.value)
        age_s = self._now_s() - attempt.at_s
        if age_s > (GIVEN_UP_AFTER_S if attempt.answer is None else KEPT_S):
            return None
        if attempt.request != request:
            raise Impossible(
                "idempotency_key_reused",
                f"this {HEADER} was sent {age_s:.0f} s ago with another path or body; take a "
                "new key for a new request",
            )
        if attempt.answer is None:
            raise _running()
        return attempt.answer

    async def _prune(self) -> None:
        now_s = self._now_s()
        if now_s - self._pruned_at_s < _PRUNED_EVERY_S:
            return
        self._pruned_at_s = now_s
        for stored in await self._state.scan(_PREFIX):
            if now_s - _Attempt.model_validate_json(stored.value).at_s > KEPT_S:
                with suppress(StateConflict):
                    await self._state.delete(stored.key, expect=stored.revision)


class OncePerKey(APIRoute):
    """A route whose POSTs honour the header. Keys of different callers never meet."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            key = request.headers.get(HEADER)
            if request.method != "POST" or key is None:
                return await handle(request)
            if not 1 <= len(key) <= LONGEST_KEY:
                raise Impossible(
                    "invalid_request",
                    f"{HEADER} has {len(key)} characters; send 1 to {LONGEST_KEY}, such as a UUID",
                )
            answers: Answers = request.app.state.answers
            url = request.url
            return await answers.once(
                f"{request.state.caller.name}/{_digest(key.encode())}",
                _digest(url.path.encode(), url.query.encode(), await request.body()),
                lambda: handle(request),
            )

        return answer


def _running() -> Conflict:
    return Conflict(
        "request_running",
        f"the first request with this {HEADER} still runs; ask again in a moment",
    )


def _digest(*parts: bytes) -> str:
    """Lengths keep the parts apart."""
    whole = b"".join(b"%d:%b" % (len(part), part) for part in parts)
    return hashlib.sha256(whole).hexdigest()
