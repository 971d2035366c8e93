"""How long, and how many, requests for models that are not loaded are held."""

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress

from sidecar.core.activation import Heat
from sidecar.errors import HeldTooLong, PeerLost, TooLate, TooManyWaiting, UnknownObject
from sidecar.runtime.activate import Waiting
from sidecar.runtime.counts import Counts
from sidecar.runtime.replicas import ASK_EVERY_S, LOST_AFTER, Replicas
from sidecar.runtime.route import Router

TRY_AGAIN_S = 1.0
REPLICAS_KNOWN_AFTER_S = ASK_EVERY_S * LOST_AFTER


class Hold:
    """Holds requests until their model is loaded, warmed, and the gateway sends them there.

    It is loaded on the replica that has most memory free; `own_free_bytes` tells that of ours.
    """

    def __init__(
        self,
        waiting: Waiting,
        router: Router,
        replicas: Replicas,
        counts: Counts,
        *,
        own_free_bytes: Callable[[], int],
        longest_s: float,
        most: int,
        most_per_model: int,
    ) -> None:
        self._waiting = waiting
        self._router = router
        self._replicas = replicas
        self._counts = counts
        self._own_free_bytes = own_free_bytes
        self._longest_s = longest_s
        self._most = most
        self._most_per_model = most_per_model
        self._held: dict[str, int] = {}

    async def hold(self, model: str, *, version: str = "", timeout_s: float | None) -> Heat:
        """Return when the request can be sent again. `timeout_s` is what its client allows.

        `version` is the one that it names, if any.

        Raises:
            UnknownObject: no such model; or the model is loaded, but not in this version.
            Quarantined, DoesNotFit, NotNow: as `Waiting.wait_for`.
            TooManyWaiting: no place is left in the queue.
            TooLate: the client's time is up; the load goes on for the next one.
            HeldTooLong: ours is.
        """
        self._waiting.refuse_unknown(model)
        self._refuse_crowd(model)
        self._held[model] = self._held.get(model, 0) + 1
        began_s, outcome = time.monotonic(), "refused"
        limit_s = min(self._longest_s, math.inf if timeout_s is None else timeout_s)
        try:
            async with asyncio.timeout(limit_s):
                heat = await self._activate(model, version, limit_s)
                await self._router.until_routed(model)
            outcome = heat.value
        except (TimeoutError, TooLate) as error:
            if limit_s == timeout_s:
                raise TooLate(
                    f"{model} was not loaded within the {limit_s:g} s that the client allows; the "
                    "load goes on: ask again"
                ) from error
            raise HeldTooLong(
                f"{model} was not loaded within {limit_s:g} s, and no request is held for longer; "
                "the load goes on: ask again",
                retry_after_s=TRY_AGAIN_S,
            ) from error
        finally:
            self._held[model] -= 1
            if not self._held[model]:
                del self._held[model]
            self._counts.waited(time.monotonic() - began_s, outcome)
        return heat

    def would_answer(self, model: str) -> None:
        """Raises UnknownObject, Quarantined or NotNow if a request would not be held."""
        self._waiting.would_answer(model)

    async def _activate(self, model: str, version: str, limit_s: float) -> Heat:
        """On our own Triton if it has the model, or else where there is most room."""
        while True:
            own_has_it = self._waiting.answers(model)
            if not own_has_it and self._replicas.having(model):
                # Asked again a moment ago, or about to be found dead.
                await asyncio.sleep(REPLICAS_KNOWN_AFTER_S)
                if self._replicas.having(model):
                    return Heat.HIT
            name = None if own_has_it else self._replicas.roomiest(self._own_free_bytes())
            if name is None:
                heat = await self._waiting.wait_for(model, limit_s, look_again=True)
                self._refuse_absent(model, version)
                return heat
            with suppress(PeerLost):
                return await self._replicas.ensure(name, model, timeout_s=self._longest_s)
            await asyncio.sleep(REPLICAS_KNOWN_AFTER_S)

    def _refuse_absent(self, model: str, version: str) -> None:
        """Else the request would come back again and again."""
        answering = self._waiting.versions(model)
        if version and version not in map(str, answering):
            raise UnknownObject(
                "unknown_version",
                f"{model} answers in {', '.join(map(str, sorted(answering)))}, not in {version}",
                version=version,
            )

    def _refuse_crowd(self, model: str) -> None:
        held, in_all = self._held.get(model, 0), sum(self._held.values())
        if held >= self._most_per_model:
            raise TooManyWaiting(
                f"{held} requests wait for {model} already, which is the limit; ask again when "
                "it is loaded, or raise gateway.most_waiting_per_model",
                retry_after_s=TRY_AGAIN_S,
            )
        if in_all >= self._most:
            raise TooManyWaiting(
                f"{in_all} requests wait for models already, which is the limit; ask again, or "
                "raise gateway.most_waiting",
                retry_after_s=TRY_AGAIN_S,
            )
