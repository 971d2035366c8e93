"""What both protocols ask of the hold; whatever happens ends in an answer for the client."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog
from grpc import StatusCode

from contract.layout import is_model_name
from sidecar.activator.answers import CRASHED, Answer, again, lost, refusal, unknown
from sidecar.activator.tries import NONE, Past
from sidecar.runtime.hold import Hold

T = TypeVar("T")
MOST_LOSSES = 1
"""Servers that may die under a request: one may have died of something else, two are enough."""


class Holding:
    def __init__(self, hold: Hold) -> None:
        self._hold = hold
        self._under_way: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    async def held(
        self, model: str, version: str, timeout_s: float | None, past: Past = NONE
    ) -> Answer:
        """Return when the model is loaded, or will not be; `timeout_s` is the client's own.

        `version` is empty where the request names none. A request is not sent once more when
        more than `MOST_LOSSES` servers have died under it.
        """
        if not is_model_name(model):
            return unknown(model)
        if past.losses > MOST_LOSSES:
            log = structlog.get_logger("pilotlight")
            log.warning("request_given_up", model=model, servers_lost=past.losses)
            return lost(model, past.losses)
        try:
            heat = await self._hold.hold(
                model, version=version, timeout_s=timeout_s, age_s=past.age_s, held_s=past.held_s
            )
        except Exception as error:  # noqa: BLE001  (the client gets an answer, the log the bug)
            return _refusal(model, error)
        return again(model, heat)

    def refusal(self, model: str) -> Answer | None:
        """Why a request for the model would be refused now; None: it would be answered."""
        try:
            self._hold.would_answer(model)
        except Exception as error:  # noqa: BLE001  (as above)
            return _refusal(model, error)
        return None

    def stranger(self, model: str) -> Answer | None:
        """The refusal of a model that is not in the store; None: it is."""
        refusal = self.refusal(model)
        return refusal if refusal and refusal.grpc_code is StatusCode.NOT_FOUND else None

    async def unless_closed(self, answering: Coroutine[Any, Any, T]) -> T | None:
        """What `answering` returns; None when the sidecar stops before."""
        if self._is_closed:
            answering.close()
            return None
        task = asyncio.create_task(answering)
        self._under_way.add(task)
        try:
            await asyncio.wait((task,))
        finally:
            self._under_way.discard(task)
            task.cancel()
        return None if task.cancelled() else task.result()

    def close(self) -> None:
        """Hold nothing any more: who waits is answered now, who comes is answered at once."""
        self._is_closed = True
        for task in self._under_way:
            task.cancel()


def _refusal(model: str, error: Exception) -> Answer:
    answer = refusal(model, error, now_s=time.time())
    if answer is CRASHED:
        structlog.get_logger("pilotlight").error("hold_crashed", model=model, exc_info=error)
    return answer
