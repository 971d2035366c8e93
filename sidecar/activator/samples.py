"""Copies of requests that Envoy sends here: to compare two versions' answers, or to record them."""

import random
from collections.abc import Callable
from typing import Protocol

from sidecar.core.fleet import Snapshot
from sidecar.core.recording import Recording
from sidecar.core.routing import Routes
from sidecar.core.steering import Steering
from sidecar.runtime.backlog import Decode

SAMPLE = "x-pilotlight-sample"
"""The header by which a copy is known. Envoy sets it, and takes it off what clients send."""


class Samples(Protocol):
    def offer(self, model: str, body: bytes, decode: Decode) -> None:
        """As `Comparer.offer`."""


class SharedSamples:
    """Envoy copies as many as who wants most; who wants fewer gets some of them, by lot."""

    def __init__(
        self,
        look: Callable[[], Snapshot | None],
        routes: Callable[[], Routes | None],
        *,
        comparer: Samples,
        recorder: Samples,
    ) -> None:
        """`look` is the last look at everything, `routes` are those in force."""
        self._look = look
        self._routes = routes
        self._comparer = comparer
        self._recorder = recorder

    def offer(self, model: str, body: bytes, decode: Decode) -> None:
        seen, routes = self._look(), self._routes()
        if seen is None or routes is None:
            return
        copied = routes.samples.get(model, 0)
        if _is_drawn(seen.steering.get(model, Steering()).sample, copied):
            self._comparer.offer(model, body, decode)
        if _is_drawn(seen.recording.get(model, Recording()).percent, copied):
            self._recorder.offer(model, body, decode)


def _is_drawn(wanted: int, copied: int) -> bool:
    """Both are percentages of all requests."""
    return random.random() * copied < wanted  # noqa: S311  (no secret)
