"""How long, and how many, requests for models that are not loaded are held."""

import asyncio
import math
import time
from contextlib import suppress

from sidecar.core.activation import Heat
from sidecar.errors import HeldTooLong, TooLate, TooManyWaiting, UnknownObject
from sidecar.runtime.activate import Waiting
from sidecar.runtime.counts import Counts
from sidecar.runtime.place import Placer
from sidecar.runtime.route import Router

TRY_AGAIN_S = 1.0
ROUTED_WITHIN_S = 2.0


class Hold:
    """Holds requests until their model is loaded, warmed, and the gateway sends them there."""

    def __init__(
        self,
        waiting: Waiting,
        router: Router,
        placer: Placer,
        counts: Counts,
        *,
        longest_s: float,
        most: int,
        most_per_model: int,
    ) -> None:
        self._waiting = waiting
        self._router = router
        self._placer = placer
        self._counts = counts
        self._longest_s = longest_s
        self._most = most
        self._most_per_model = most_per_model

    async def hold(
        self,
        model: str,
        *,
        version: str = "",
        timeout_s: float | None,
        age_s: float = 0.0,
        held_s: float = 0.0,
    ) -> Heat:
        """Return when the request can be sent again. `timeout_s` is what its client allows.

        `version` is the one that it names, if any. It came `age_s` ago, and has been held for
        `held_s` of them: limits are those of a request, not of one of its tries.

        Raises:
            UnknownObject: no such model; or the model is loaded, but not in this version.
            Quarantined, DoesNotFit, NotNow: as `Waiting.wait_for`.
            TooManyWaiting: no place is left in the queue.
            TooLate: the client's time is up; the load goes on for the next one.
            HeldTooLong: ours is.
        """
        self._waiting.refuse_unknown(model)
        self._refuse_crowd(model)
        held = self._waiting.held
        held[model] += 1
        began_s, outcome = time.monotonic(), "refused"
        ours_s = self._longest_s - held_s
        clients_s = math.inf if timeout_s is None else timeout_s - age_s
        try:
            async with asyncio.timeout(min(ours_s, clients_s)):
                heat = await self._activate(model)
            self._refuse_absent(model, version)
            outcome = heat.value
        except (TimeoutError, TooLate) as error:
            if clients_s <= ours_s:
                raise TooLate(
                    f"{model} was not loaded within the {timeout_s:g} s that the client allows; "
                    "the load goes on: ask again"
                ) from error
            raise HeldTooLong(
                f"{model} was not loaded within {self._longest_s:g} s, and no request is held for "
                "longer; the load goes on: ask again",
                retry_after_s=TRY_AGAIN_S,
            ) from error
        finally:
            held[model] -= 1
            if not held[model]:
                del held[model]
            self._counts.waited(time.monotonic() - began_s, outcome)
        return heat

    def would_answer(self, model: str) -> None:
        """Raises UnknownObject, Quarantined or NotNow if a request would not be held."""
        self._waiting.would_answer(model)

    async def _activate(self, model: str) -> Heat:
        """A replica may let the model go, or die, before the gateway knows that it has it."""
        found: Heat | None = None
        while True:
            # Who joins a load late shares its end, but has more time than it.
            with suppress(TimeoutError, TooLate):
                now = await self._placer.activate(model)
                found = found or now
                async with asyncio.timeout(ROUTED_WITHIN_S):
                    await self._router.until_routed(model)
                    return found

    def _refuse_absent(self, model: str, version: str) -> None:
        """Else the request would come back again and again."""
        answering = self._placer.versions(model)
        if version and version not in map(str, answering):
            raise UnknownObject(
                "unknown_version",
                f"{model} answers in {', '.join(map(str, sorted(answering)))}, not in {version}",
                version=version,
            )

    def _refuse_crowd(self, model: str) -> None:
        held, in_all = self._waiting.held[model], self._waiting.held.total()
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
