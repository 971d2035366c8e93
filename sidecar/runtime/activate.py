"""First requests to models that are not loaded: held, and answered after one load for all."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import assert_never

from sidecar.core.actions import Blocked
from sidecar.core.activation import Answers, Heat, NotServed, Resting, Verdict, verdict
from sidecar.core.faults import ended_by
from sidecar.core.fleet import Quarantine, Server, Snapshot
from sidecar.core.routing import is_served
from sidecar.errors import (
    DoesNotFit,
    NotNow,
    Quarantined,
    RequestRefused,
    TooLate,
    UnknownObject,
)


class Waiting:
    """Who waits for which model. Each look of the loop answers those that can be answered."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.held = Counter[str]()
        """Requests that the gateway has sent here, by model; one of us waits for all."""
        self._since_s: dict[str, float] = {}
        self._waiters: dict[str, set[asyncio.Future[Verdict]]] = {}
        self._awaited: frozenset[asyncio.Future[Verdict]] = frozenset()
        self._absent: set[str] = set()
        self._seen: Snapshot | None = None

    @property
    def since_s(self) -> Mapping[str, float]:
        return dict(self._since_s)

    def begin_look(self) -> Mapping[str, float]:
        """Since when somebody waits, by model. The look that begins answers these alone."""
        self._awaited = frozenset(chain.from_iterable(self._waiters.values()))
        return self.since_s

    def count(self, model: str) -> int:
        """How many wait for a model."""
        return len(self._waiters.get(model, ()))

    async def wait_for(self, model: str, timeout_s: float, *, look_again: bool = False) -> Heat:
        """Return when the model answers; at once if it did at the last look.

        `look_again` is for who has a reason to doubt that look.

        Raises:
            UnknownObject: it is not in the store.
            Quarantined, DoesNotFit, NotNow: why it will not be loaded now.
            TooLate: not within `timeout_s`; the load goes on for the next one.
        """
        if not look_again and self.answers(model):
            return Heat.HIT
        first = model not in self._waiters
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(model, set()).add(answer)
        self._since_s.setdefault(model, time.time())
        self.wake.set()
        try:
            async with asyncio.timeout(timeout_s):
                found = await answer
        except TimeoutError:
            raise TooLate(
                f"{model} was not loaded within {timeout_s:g} s; the load goes on: ask again"
            ) from None
        finally:
            was_absent = model in self._absent
            self._waiters[model].discard(answer)
            if not self._waiters[model]:
                del self._waiters[model], self._since_s[model]
                self._absent.discard(model)
        if not isinstance(found, Answers):
            raise refusal(model, found)
        if not was_absent:
            return Heat.HIT
        return Heat.COLD if first else Heat.JOINED

    def answers(self, model: str) -> bool:
        """Whether the model answered at the last look, and is not about to go."""
        return self._seen is not None and is_served(self._seen, model)

    def versions(self, model: str) -> frozenset[int]:
        """Those that answered at the last look."""
        return self._seen.servers[Server.SERVING].answers(model) if self._seen else frozenset()

    def refuse_unknown(self, model: str) -> None:
        """Raises UnknownObject where the last look knew no such model."""
        seen = self._seen
        if seen is None or model in seen.models or is_served(seen, model):
            return
        raise refusal(model, NotServed())

    def would_answer(self, model: str) -> None:
        """Whether the model would be loaded if somebody asked, as far as the last look tells.

        Raises:
            UnknownObject, Quarantined, NotNow: why not.
        """
        if self._seen is None:
            raise NotNow("the sidecar has not looked at its servers yet; try again in a second")
        found = verdict(self._seen, {}, model, time.time())
        if found is not None and not isinstance(found, Answers):
            raise refusal(model, found)

    def look(self, snapshot: Snapshot, blocked: Mapping[str, Blocked]) -> None:
        """Answer whom this look has an answer for; who came after it began waits for the next."""
        self._seen = snapshot
        now_s = time.time()
        for model, waiters in self._waiters.items():
            awaited = waiters & self._awaited
            if not awaited:
                continue
            found = verdict(snapshot, blocked, model, now_s)
            if found is None:
                self._absent.add(model)
                continue
            for waiter in awaited:
                if not waiter.done():
                    waiter.set_result(found)


def quarantined(model: str, quarantine: Quarantine) -> Quarantined:
    return Quarantined(
        f"{model} is in quarantine: {quarantine}; {ended_by(quarantine.kind)} ends it",
        until_s=quarantine.until_s,
    )


def refusal(model: str, found: NotServed | Resting | Quarantine | Blocked) -> RequestRefused:
    match found:
        case NotServed():
            return UnknownObject("unknown_model", f"no model {model!r} in the store")
        case Resting(mode=mode):
            return NotNow(f"the sidecar is {mode} and loads nothing; resume it first")
        case Quarantine():
            return quarantined(model, found)
        case Blocked():
            return DoesNotFit(
                str(found),
                device=found.device,
                needed_bytes=found.needed_bytes,
                free_bytes=found.free_bytes,
                evictable_bytes=found.evictable_bytes,
                blocked_by=found.blocked_by,
            )
        case _:
            assert_never(found)
