"""Many answers to one call: lists in pages, and what comes in as it happens."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Generic, NamedTuple, TypeVar

from pilotlight.client import wire
from pilotlight.client.body import Body, Page
from pilotlight.client.errors import ClientError
from pilotlight.client.wire import Answer, Request

T = TypeVar("T")
B = TypeVar("B", bound=Body)
L = TypeVar("L", bound=Page)
RECONNECT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages(Generic[T]):
    """`read` gives a page's items, and the token of the next page if there is one."""

    first: Request
    read: Callable[[Answer], tuple[Iterable[T], str | None]]

    def after(self, token: str | None) -> Request | None:
        if token is None:
            return None
        return replace(self.first, query={**self.first.query, "page_token": token})


def pages_of(
    where: str, kind: type[L], items: Callable[[L], Iterable[T]], **query: wire.Value | None
) -> Pages[T]:
    def read(answer: Answer) -> tuple[Iterable[T], str | None]:
        page = answer.read_as(kind)
        return items(page), page.next_page_token

    return Pages(first=wire.get(where, wire.given(**query)), read=read)


def feed_of(
    first: Request,
    kind: type[B],
    is_last: Callable[[B], bool] = lambda _: False,
    *,
    patience_s: float,
) -> "Feed[B]":
    def read(data: str) -> B:
        return wire.understood(kind, data, first.path)

    return Feed(first=first, read=read, is_last=is_last, patience_s=patience_s)


class Told(NamedTuple):
    """A server-sent event."""

    id: str
    data: str


@dataclass(slots=True, kw_only=True)
class Feed(Generic[T]):
    """Server-sent events over as many connections as it takes.

    A sidecar that answered once may be away for `patience_s`. One that never did may not. What is
    told twice in a row, once over each of two connections, comes once.
    """

    first: Request
    read: Callable[[str], T]
    is_last: Callable[[T], bool]
    patience_s: float
    is_over: bool = field(default=False, init=False)
    _last: T | None = field(default=None, init=False)
    _last_id: str = field(default="", init=False)
    _answered: bool = field(default=False, init=False)
    _away_since_s: float | None = field(default=None, init=False)

    @property
    def request(self) -> Request:
        """For the next connection."""
        if not self._last_id:
            return self.first
        return replace(self.first, headers={**self.first.headers, "Last-Event-ID": self._last_id})

    def opened(self) -> None:
        self._answered = True
        self._away_since_s = None

    def take(self, told: Told) -> list[T]:
        """What is new in it, if anything."""
        found = self.read(told.data)
        if told.id:
            self._last_id = told.id
        if found == self._last:
            return []
        self._last = found
        self.is_over = self.is_last(found)
        return [found]

    def pause_s(self, error: ClientError | None) -> float:
        """How long to wait before the next connection; `error` is why this one ended, if known.

        Raises:
            ClientError: it is over; the sidecar never answered, or was away for too long.
        """
        if error is None:
            return RECONNECT_S
        now_s = time.monotonic()
        if self._away_since_s is None:
            self._away_since_s = now_s
        if not self._answered or now_s - self._away_since_s > self.patience_s:
            raise error
        return RECONNECT_S
