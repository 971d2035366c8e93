"""What a policy would have done for recorded requests: waits, loads and memory held.

The model is that of POLICY.md: a request to an absent model waits for its load, and those that
arrive meanwhile wait for the remainder. Memory is taken from the beginning of a load; what is
loading cannot be evicted. Loads run side by side, and inference takes no time. A load that
finds no memory, because all of it is loading, waits for the first load that ends.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import ceil, inf

from contract.bytes import format_bytes
from sidecar.core.demand import Demand, arrived, idle_timeout_s, pooled
from sidecar.core.memory import GIB
from sidecar.core.ranking import (
    PREWARM_EVERY_S,
    Ranking,
    Resident,
    choose_prewarms,
    choose_victims,
    score,
)

Request = tuple[float, str]
"""Time in seconds, model."""
Progress = Callable[[int], None]
"""Told how many requests are done, now and then."""

POOL_EVERY_S = 600.0
QUICK_S = 60.0
PRICE_WEIGHT = 0.05
"""Share of the newest victim in the shadow price."""
TOLD_EVERY = 5_000
SOONEST_S = 1e-6
"""Keeps the worth of a model finite whose next request comes at this moment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedModel:
    """`load_s` is from the decision to load until the first good answer."""

    held_bytes: int
    load_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayResult:
    """What a replay came to.

    `waits_s` are those above zero, sorted. `quick_loads` came within a minute of their
    eviction: many of them say that memory is too small, whatever the policy. `load_s` sums up
    the loads that a request waited for. `shadow_price` is what one more GiB would save per
    hour, cold-start seconds, where the ranking counts in them.
    """

    requests: int
    span_s: float
    waits_s: tuple[float, ...]
    loads: int
    loaded_bytes: int
    load_s: float
    quick_loads: int
    prewarms: int
    prewarms_used: int
    held_gib_h: float
    shadow_price: float | None

    @property
    def wait_s(self) -> float:
        return sum(self.waits_s)

    @property
    def mean_wait_s(self) -> float:
        return self.wait_s / self.requests if self.requests else 0.0

    @property
    def cold_share(self) -> float:
        return len(self.waits_s) / self.requests if self.requests else 0.0

    @property
    def quick_share(self) -> float:
        return self.quick_loads / self.loads if self.loads else 0.0

    @property
    def load_concurrency(self) -> float:
        """Demand loads in flight on average; above about 2 the budget is too small."""
        return self.load_s / self.span_s if self.span_s else 0.0

    def wait_percentile_s(self, percent: float) -> float:
        """The wait that so many percent of all requests do not exceed."""
        warm = self.requests - len(self.waits_s)
        rank = ceil(self.requests * percent / 100) - warm
        return self.waits_s[rank - 1] if rank > 0 else 0.0


def replay(
    trace: Iterable[Request],
    models: Mapping[str, ReplayedModel],
    budget_bytes: int,
    *,
    ranking: Ranking = Ranking.VALUE,
    prewarm: bool = False,
    price: float = 0.0,
    progress: Progress | None = None,
) -> ReplayResult:
    """Play requests, sorted by time, against a budget.

    `price` is in cold-start seconds per GiB-hour: models idle for longer than it allows are
    unloaded, and none that is worth less is loaded ahead. `prewarm` needs a ranking that counts
    in the same unit.

    Raises:
        ValueError: a requested model alone is larger than the budget.
    """
    forecast = _Forecast(models, ranking)
    memory = _Memory(models, budget_bytes)
    run = _Run(memory, forecast, price=price, prewarm=prewarm and ranking.is_priced)
    return run.play(trace, progress)


def offline(
    trace: Sequence[Request],
    models: Mapping[str, ReplayedModel],
    budget_bytes: int,
    progress: Progress | None = None,
) -> ReplayResult:
    """The better of two schedules that know all requests to come and load on demand only.

    One evicts whose next request is furthest away, the other weighs that with load time per
    byte. A bound to compare with, though not the best that is possible.
    """
    results = [
        _Run(_Memory(models, budget_bytes), _Oracle(trace, models, weighted=weighted)).play(
            trace, progress
        )
        for weighted in (True, False)
    ]
    return min(results, key=lambda result: result.wait_s)


class _Forecast:
    """Scores from what was seen so far."""

    def __init__(self, models: Mapping[str, ReplayedModel], ranking: Ranking) -> None:
        self.shadow_price: float | None = None
        self._models = models
        self._ranking = ranking
        self._demand: dict[str, Demand] = {}
        self._pool = pooled(())
        self._pooled_until_s = -inf
        self._clock = 0.0
        self._aged: dict[str, float] = {}

    def seen(self, model: str, now_s: float) -> None:
        known = self._demand.get(model)
        self._demand[model] = arrived(known, count=1, since_s=now_s, until_s=now_s)
        self._aged[model] = self._clock
        if now_s >= self._pooled_until_s and self._ranking is Ranking.VALUE:
            self._pool = pooled(self._demand.values())
            self._pooled_until_s = now_s + POOL_EVERY_S

    def evicted(self, score: float) -> None:
        self._clock = score
        if self._ranking.is_priced:
            before = score if self.shadow_price is None else self.shadow_price
            self.shadow_price = PRICE_WEIGHT * score + (1 - PRICE_WEIGHT) * before

    def score(self, model: str, now_s: float) -> float:
        known = self._models[model]
        return score(
            self._ranking,
            self._demand.get(model),
            reload_s=known.load_s,
            held_bytes=known.held_bytes,
            pool=self._pool,
            now_s=now_s,
            aged=self._aged.get(model, 0.0),
        )


class _Oracle:
    """Scores from the requests to come."""

    def __init__(
        self, trace: Iterable[Request], models: Mapping[str, ReplayedModel], *, weighted: bool
    ) -> None:
        self.shadow_price: float | None = None
        self._models = models
        self._weighted = weighted
        self._times: dict[str, list[float]] = {}
        for at_s, model in trace:
            self._times.setdefault(model, []).append(at_s)
        self._seen = dict.fromkeys(self._times, 0)

    def seen(self, model: str, now_s: float) -> None:
        self._seen[model] += 1

    def evicted(self, score: float) -> None:
        pass

    def score(self, model: str, now_s: float) -> float:
        times, seen = self._times[model], self._seen[model]
        away_s = times[seen] - now_s if seen < len(times) else inf
        if not self._weighted:
            return -away_s
        known = self._models[model]
        return known.load_s / known.held_bytes / max(away_s, SOONEST_S)


@dataclass(slots=True)
class _Slot:
    """A model in memory. `is_ahead`: loaded without a request, and none came yet."""

    since_s: float
    used_s: float
    is_ahead: bool


@dataclass(slots=True)
class _Memory:
    """Who is in, and what that added up to."""

    models: Mapping[str, ReplayedModel]
    free_bytes: int
    slots: dict[str, _Slot] = field(default_factory=dict)
    gone_s: dict[str, float] = field(default_factory=dict)
    loads: int = 0
    loaded_bytes: int = 0
    load_s: float = 0.0
    quick_loads: int = 0
    prewarms: int = 0
    prewarms_used: int = 0
    held_byte_s: float = 0.0

    def put(self, model: str, now_s: float, *, is_ahead: bool) -> float:
        """Begin to load; when that will be done."""
        known = self.models[model]
        self.slots[model] = _Slot(since_s=now_s, used_s=now_s, is_ahead=is_ahead)
        self.free_bytes -= known.held_bytes
        self.loads += 1
        self.loaded_bytes += known.held_bytes
        self.quick_loads += now_s - self.gone_s.get(model, -inf) < QUICK_S
        if is_ahead:
            self.prewarms += 1
        else:
            self.load_s += known.load_s
        return now_s + known.load_s

    def use(self, model: str, now_s: float) -> None:
        slot = self.slots[model]
        slot.used_s = now_s
        self.prewarms_used += slot.is_ahead
        slot.is_ahead = False

    def drop(self, model: str, now_s: float) -> None:
        held_bytes = self.models[model].held_bytes
        self.held_byte_s += held_bytes * (now_s - self.slots.pop(model).since_s)
        self.free_bytes += held_bytes
        self.gone_s[model] = now_s


_Event = tuple[float, int, str]
_READY, _IDLE, _TICK = range(3)


class _Run:
    """One replay: requests and events in the order of their times."""

    def __init__(
        self,
        memory: _Memory,
        policy: _Forecast | _Oracle,
        *,
        price: float = 0.0,
        prewarm: bool = False,
    ) -> None:
        self._memory = memory
        self._policy = policy
        self._price = price
        self._prewarm = prewarm
        self._budget_bytes = memory.free_bytes
        self._ready_s: dict[str, float] = {}
        self._loading_bytes = 0
        self._queue: dict[str, list[float]] = {}
        self._known: dict[str, None] = {}
        self._waits_s: list[float] = []
        self._events: list[_Event] = []

    def play(self, trace: Iterable[Request], progress: Progress | None) -> ReplayResult:
        requests = 0
        first_s, now_s = None, 0.0
        for now_s, model in trace:
            if first_s is None:
                first_s = now_s
                if self._prewarm:
                    heappush(self._events, (now_s + PREWARM_EVERY_S, _TICK, ""))
            while self._events and self._events[0][0] <= now_s:
                self._handle(*heappop(self._events))
            self._request(model, now_s)
            requests += 1
            if progress is not None and requests % TOLD_EVERY == 0:
                progress(requests)
        return self._result(requests, first_s or 0.0, now_s)

    def _request(self, model: str, now_s: float) -> None:
        if model in self._queue:
            self._queue[model].append(now_s)
        elif model in self._memory.slots or self._load(model, now_s):
            self._memory.use(model, now_s)
            if model in self._ready_s:
                self._waits_s.append(self._ready_s[model] - now_s)
        else:
            self._queue[model] = [now_s]
        self._known[model] = None
        self._policy.seen(model, now_s)

    def _load(self, model: str, now_s: float) -> bool:
        """Whether there is memory for it, after evictions."""
        held_bytes = self._memory.models[model].held_bytes
        if held_bytes > self._budget_bytes:
            raise ValueError(
                f"model {model} holds {format_bytes(held_bytes)}, more than the budget of "
                f"{format_bytes(self._budget_bytes)}; give at least that much"
            )
        if held_bytes > self._memory.free_bytes:
            victims = choose_victims(self._residents(now_s), held_bytes - self._memory.free_bytes)
            if victims is None:
                return False
            self._evict(victims, now_s)
        self._begin(model, now_s, is_ahead=False)
        return True

    def _begin(self, model: str, now_s: float, *, is_ahead: bool) -> None:
        ready_s = self._memory.put(model, now_s, is_ahead=is_ahead)
        self._ready_s[model] = ready_s
        self._loading_bytes += self._memory.models[model].held_bytes
        heappush(self._events, (ready_s, _READY, model))

    def _evict(self, victims: Iterable[Resident], now_s: float) -> None:
        for victim in victims:
            self._memory.drop(victim.model, now_s)
            self._policy.evicted(victim.score)

    def _residents(self, now_s: float) -> list[Resident]:
        return [
            self._scored(model, now_s) for model in self._memory.slots if model not in self._ready_s
        ]

    def _scored(self, model: str, now_s: float) -> Resident:
        return Resident(
            model=model,
            held_bytes=self._memory.models[model].held_bytes,
            score=self._policy.score(model, now_s),
        )

    def _handle(self, now_s: float, event: int, model: str) -> None:
        if event == _READY:
            del self._ready_s[model]
            self._loading_bytes -= self._memory.models[model].held_bytes
            self._retry(now_s)
            if self._price:
                self._unload_when_idle(model, now_s)
        elif event == _IDLE:
            self._unload_when_idle(model, now_s)
        else:
            heappush(self._events, (now_s + PREWARM_EVERY_S, _TICK, ""))
            # A load ahead of its time must never stand in the way of a request.
            if not self._ready_s and not self._queue:
                self._load_ahead(now_s)

    def _retry(self, now_s: float) -> None:
        for model in list(self._queue):
            most_bytes = self._budget_bytes - self._loading_bytes
            if self._memory.models[model].held_bytes <= most_bytes and self._load(model, now_s):
                ready_s = self._ready_s[model]
                self._waits_s.extend(ready_s - since_s for since_s in self._queue.pop(model))

    def _unload_when_idle(self, model: str, now_s: float) -> None:
        slot = self._memory.slots.get(model)
        if slot is None or model in self._ready_s:
            return
        known = self._memory.models[model]
        until_s = slot.used_s + idle_timeout_s(
            price=self._price, gib=known.held_bytes / GIB, wait_s=known.load_s
        )
        if now_s >= until_s:
            self._memory.drop(model, now_s)
        else:
            heappush(self._events, (until_s, _IDLE, model))

    def _load_ahead(self, now_s: float) -> None:
        absent = [
            self._scored(model, now_s) for model in self._known if model not in self._memory.slots
        ]
        chosen = choose_prewarms(
            [each for each in absent if each.score >= self._price],
            self._residents(now_s),
            self._memory.free_bytes,
        )
        for candidate, victims in chosen:
            self._evict(victims, now_s)
            self._begin(candidate.model, now_s, is_ahead=True)

    def _result(self, requests: int, first_s: float, now_s: float) -> ReplayResult:
        # Loads that still had to wait for memory at the end count as if they began there.
        for model, since in self._queue.items():
            ready_s = now_s + self._memory.models[model].load_s
            self._waits_s.extend(ready_s - since_s for since_s in since)
        memory = self._memory
        left_byte_s = sum(
            memory.models[model].held_bytes * (now_s - slot.since_s)
            for model, slot in memory.slots.items()
        )
        return ReplayResult(
            requests=requests,
            span_s=now_s - first_s,
            waits_s=tuple(sorted(self._waits_s)),
            loads=memory.loads,
            loaded_bytes=memory.loaded_bytes,
            load_s=memory.load_s,
            quick_loads=memory.quick_loads,
            prewarms=memory.prewarms,
            prewarms_used=memory.prewarms_used,
            held_gib_h=(memory.held_byte_s + left_byte_s) / GIB / 3600,
            shadow_price=self._policy.shadow_price,
        )
