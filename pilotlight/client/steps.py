"""What a call comes to: requests one after the other, each knowing the answers before it.

A generator yields requests and is sent their answers. Nothing here knows a connection, so the
same steps serve programs that block and programs that await.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import replace
from typing import TypeAlias, TypeVar

from pydantic import BaseModel

from pilotlight.client.bodies import EnsuredBody
from pilotlight.client.body import Tagged
from pilotlight.client.errors import (
    ConnectionLost,
    DeadlinePassed,
    Problem,
    Unavailable,
    Unreachable,
)
from pilotlight.client.wire import Answer, Request, get, path, said

T = TypeVar("T")
B = TypeVar("B", bound=BaseModel)
G = TypeVar("G", bound=Tagged)
Steps: TypeAlias = Generator[Request, Answer, T]

LONGEST_ROUND_S = 50.0
"""A sidecar waits for a minute at most; who has more time asks again."""
REPEATED_S = 30.0
"""How long the first of two equal requests may still be under way."""
POLL_S = 0.05
LONGEST_POLL_S = 1.0
LATE = 0.05
"""An end is noticed late by this part of the time that it took."""


def exchange(request: Request) -> Steps[Answer]:
    """The answer; a request that may be repeated is sent again when its connection is lost.

    Raises:
        ClientError: nobody answers, or the answer is a problem.
    """
    try:
        answer = yield request
    except ConnectionLost:
        if not request.may_repeat:
            raise
        answer = yield from _again(request)
    if answer.status not in request.allowed:
        raise answer.problem()
    return answer


def _again(request: Request) -> Steps[Answer]:
    """The first one may still be under way, and then the sidecar says so."""
    until_s = time.monotonic() + REPEATED_S + request.wait_s
    while True:
        answer = yield request
        if not _is_under_way(answer) or time.monotonic() > until_s:
            return answer
        request = replace(request, after_s=float(answer.headers["retry-after"]))


def _is_under_way(answer: Answer) -> bool:
    if answer.status != 409:  # noqa: PLR2004
        return False
    problem = answer.problem()
    return isinstance(problem, Problem) and problem.code == "request_running"


def call(request: Request, kind: type[B]) -> Steps[B]:
    answer = yield from exchange(request)
    return answer.read_as(kind)


def do(request: Request) -> Steps[None]:
    """What has an empty answer."""
    yield from exchange(request)


def change(
    method: str, where: str, content: object = None, *, read: Tagged | None = None
) -> Steps[Answer]:
    """Change an object if it is still as it was when it was `read`; None reads it now.

    Raises:
        Stale: somebody else has changed it.
    """
    etag = read.etag if read is not None else (yield from exchange(get(where))).etag
    answer = yield from exchange(
        Request(
            method=method,
            path=where,
            headers={"If-None-Match": "*"} if etag is None else {"If-Match": etag},
            content=said(content),
        )
    )
    return answer


def changed(method: str, where: str, content: BaseModel, kind: type[G], read: G | None) -> Steps[G]:
    """The object after a change."""
    answer = yield from change(method, where, content, read=read)
    return answer.read_as(kind)


def ensured(model: str, timeout_s: float) -> Steps[EnsuredBody]:
    """Wait until a model answers, in rounds if that may take long."""
    until_s = time.monotonic() + timeout_s
    while True:
        left_s = max(until_s - time.monotonic(), 0.001)
        round_s = min(left_s, LONGEST_ROUND_S)
        request = Request(
            method="POST",
            path=path("/v1/models/{model}:ensure", model=model),
            query={"timeout": f"{round_s:.3f}s"},
            may_repeat=True,
            wait_s=round_s,
        )
        try:
            return (yield from call(request, EnsuredBody))
        except DeadlinePassed:
            if round_s == left_s:
                raise


def reading(kind: type[B]) -> Callable[[Answer], B]:
    return lambda answer: answer.read_as(kind)


def ended(
    where: str, read: Callable[[Answer], T], is_over: Callable[[T], bool], timeout_s: float
) -> Steps[T]:
    """What is at a path when it is over, or the time is.

    The sidecar may go and come back meanwhile.

    Raises:
        Unreachable: it is away when the time is over.
    """
    began_s = time.monotonic()
    request = get(where)
    while True:
        passed_s = time.monotonic() - began_s
        try:
            found = read((yield from exchange(request)))
        except (Unreachable, Unavailable):
            if passed_s >= timeout_s:
                raise
        else:
            if is_over(found) or passed_s >= timeout_s:
                return found
        pause_s = min(max(POLL_S, LATE * passed_s), LONGEST_POLL_S)
        request = replace(request, after_s=min(pause_s, max(0.0, timeout_s - passed_s)))
