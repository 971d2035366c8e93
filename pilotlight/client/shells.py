"""How requests travel: the connections of programs that block, and of those that await.

The two shells differ in nothing else. `Target` has what they have in common.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx2

from pilotlight.client.errors import (
    ClientError,
    ConnectionLost,
    NotUnderstood,
    Silent,
    Unavailable,
    Unreachable,
)
from pilotlight.client.steps import Steps, exchange
from pilotlight.client.streams import Feed, Pages, Told
from pilotlight.client.wire import Answer, Request

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A sidecar. `timeout_s` is how long it may take to answer what takes no time."""

    url: str
    token: str | None = field(repr=False)
    timeout_s: float

    @property
    def settings(self) -> dict[str, Any]:
        """Of an HTTP client. A sidecar is no matter for the proxies that the environment names."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return {"base_url": self.url, "headers": headers, "trust_env": False}

    def sent(self, request: Request) -> dict[str, Any]:
        """For an HTTP client."""
        is_raw = isinstance(request.content, bytes)
        return {
            "method": request.method,
            "url": request.path,
            # Empty ones would take away those of the path.
            "params": request.query or None,
            "headers": request.headers,
            "content" if is_raw else "json": request.content,
            "timeout": httpx2.Timeout(self.timeout_s, read=self.timeout_s + request.wait_s),
        }

    def answer(self, response: httpx2.Response) -> Answer:
        return Answer(
            source=str(response.url),
            status=response.status_code,
            headers=response.headers,
            content=response.content,
        )

    def failure(self, error: httpx2.RequestError, request: Request) -> ClientError:
        """What an error of the HTTP client means."""
        what = f"{request.method} {request.path}"
        match error:
            case httpx2.ConnectError() | httpx2.ConnectTimeout() | httpx2.UnsupportedProtocol():
                return Unreachable(
                    f"no sidecar at {self.url}: {error}; start one with `pilotlight up`, or give "
                    "its address, such as http://127.0.0.1:8080"
                )
            case httpx2.SSEError() | httpx2.DecodingError() | httpx2.TooManyRedirects():
                return NotUnderstood(
                    f"{self.url} answers {what} unlike a sidecar: {error}; is another server there?"
                )
            case httpx2.TimeoutException():
                waited_s = self.timeout_s + request.wait_s
                return Silent(
                    f"{self.url} has not answered {what} within {waited_s:g} s; ask again, and "
                    "look into the sidecar's log if it stays so"
                )
            case _:
                return ConnectionLost(
                    f"the connection to {self.url} broke during {what}: {error}; the sidecar "
                    "may have ended: `pilotlight doctor` tells, and its log"
                )


class SyncShell:
    """Many threads may share it."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._http = httpx2.Client(**target.settings)

    def close(self) -> None:
        self._http.close()

    def play(self, steps: Steps[T]) -> T:
        """What the steps come to, or the error that they raise."""
        try:
            request = next(steps)
            while True:
                try:
                    answer = self._send(request)
                except ClientError as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    def pages(self, pages: Pages[T]) -> Iterator[T]:
        request: Request | None = pages.first
        while request:
            found, token = pages.read(self.play(exchange(request)))
            yield from found
            request = pages.after(token)

    def feed(self, feed: Feed[T]) -> Iterator[T]:
        while not feed.is_over:
            why = None
            try:
                for told in self.listen(feed.request, feed.opened):
                    yield from feed.take(told)
            except (Unreachable, Unavailable) as error:
                why = error
            if not feed.is_over:
                # Between two connections: a sidecar that is away is not asked in a busy loop.
                time.sleep(feed.pause_s(why))

    def listen(self, request: Request, opened: Callable[[], None] = lambda: None) -> Iterator[Told]:
        """Events over one connection, until the sidecar ends it."""
        try:
            with self._http.sse(**self._target.sent(request)) as source:
                if source.response.is_error:
                    source.response.read()
                    raise self._target.answer(source.response).problem()
                opened()
                for event in source:
                    yield Told(event.id, event.data)
        except httpx2.RequestError as error:
            raise self._target.failure(error, request) from error

    def _send(self, request: Request) -> Answer:
        if request.after_s:
            # Between two looks at what takes long, or as Retry-After says.
            time.sleep(request.after_s)
        try:
            return self._target.answer(self._http.request(**self._target.sent(request)))
        except httpx2.RequestError as error:
            raise self._target.failure(error, request) from error


class AsyncShell:
    """Of one event loop."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._http = httpx2.AsyncClient(**target.settings)

    async def close(self) -> None:
        await self._http.aclose()

    async def play(self, steps: Steps[T]) -> T:
        """What the steps come to, or the error that they raise."""
        try:
            request = next(steps)
            while True:
                try:
                    answer = await self._send(request)
                except ClientError as error:
                    request = steps.throw(error)
                else:
                    request = steps.send(answer)
        except StopIteration as end:
            result: T = end.value
            return result

    async def pages(self, pages: Pages[T]) -> AsyncGenerator[T, None]:
        request: Request | None = pages.first
        while request:
            found, token = pages.read(await self.play(exchange(request)))
            for each in found:
                yield each
            request = pages.after(token)

    async def feed(self, feed: Feed[T]) -> AsyncGenerator[T, None]:
        while not feed.is_over:
            why = None
            try:
                async with aclosing(self.listen(feed.request, feed.opened)) as events:
                    async for told in events:
                        for each in feed.take(told):
                            yield each
            except (Unreachable, Unavailable) as error:
                why = error
            if not feed.is_over:
                await asyncio.sleep(feed.pause_s(why))

    async def listen(
        self, request: Request, opened: Callable[[], None] = lambda: None
    ) -> AsyncGenerator[Told, None]:
        """Events over one connection, until the sidecar ends it."""
        try:
            async with self._http.sse(**self._target.sent(request)) as source:
                if source.response.is_error:
                    await source.response.aread()
                    raise self._target.answer(source.response).problem()
                opened()
                async for event in source:
                    yield Told(event.id, event.data)
        except httpx2.RequestError as error:
            raise self._target.failure(error, request) from error

    async def _send(self, request: Request) -> Answer:
        if request.after_s:
            await asyncio.sleep(request.after_s)
        try:
            return self._target.answer(await self._http.request(**self._target.sent(request)))
        except httpx2.RequestError as error:
            raise self._target.failure(error, request) from error
