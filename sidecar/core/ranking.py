"""Whom to evict and whom to load ahead: one order, for the planner and for replays."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import assert_never

from sidecar.core.demand import Demand, Pool, expected_rate, gap_rate, rate_10m, rates
from sidecar.core.memory import GIB

MOST_WAITING = 20.0
WAITING_WEIGHT = 0.5
"""Requests that arrive during one load wait for its remainder: half of it on average."""

PREWARM_EVERY_S = 15.0
PREWARMS_AT_ONCE = 2
HYSTERESIS = 2.0
"""A voluntary load must be worth this many times what it evicts (POLICY.md section 2)."""


class Ranking(StrEnum):
    """`value`: cold-start seconds saved per byte held, from rates and gaps.

    `value-lite`: the same from rates alone. `lru`: last used. `lfu`: requests of the last hour.
    `gdsf`: requests times load time per byte, aged as by FaasCache.
    """

    VALUE = "value"
    VALUE_LITE = "value-lite"
    LRU = "lru"
    LFU = "lfu"
    GDSF = "gdsf"

    @property
    def is_priced(self) -> bool:
        """Whether scores are cold-start seconds per GiB-hour, which memory has a price in."""
        return self in {Ranking.VALUE, Ranking.VALUE_LITE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resident:
    """A model on one device, or one that could be loaded there.

    Of one that is there `held_bytes` is what comes free when it goes.
    `parts`: of an ensemble the models of its steps, which never go for it.
    """

    model: str
    held_bytes: int
    score: float
    priority: int = 0
    parts: tuple[str, ...] = ()

    @property
    def worth(self) -> float:
        """Of all its bytes together."""
        return self.score * self.held_bytes


def score(
    ranking: Ranking,
    demand: Demand | None,
    *,
    reload_s: float,
    held_bytes: int,
    pool: Pool,
    now_s: float,
    aged: float = 0.0,
) -> float:
    """How much it is worth to hold a model; 0 when nobody ever asked for it.

    `value` and `value-lite`: cold-start seconds avoided per hour for each GiB held. `aged`
    matters to `gdsf` only: the score of the last victim when the model was last asked for.
    """
    if demand is None:
        return 0.0
    match ranking:
        case Ranking.VALUE:
            return expected_rate(demand, pool, now_s) * _density(
                demand, reload_s, held_bytes, now_s
            )
        case Ranking.VALUE_LITE:
            return gap_rate(demand, now_s) * _density(demand, reload_s, held_bytes, now_s)
        case Ranking.LRU:
            return demand.last_s
        case Ranking.LFU:
            return rates(demand, now_s)["1h"]
        case Ranking.GDSF:
            return aged + demand.requests * reload_s * GIB / max(1, held_bytes)
        case _:
            assert_never(ranking)


def choose_victims(residents: Iterable[Resident], need_bytes: int) -> tuple[Resident, ...] | None:
    """Who must go to free so many bytes, in that order; None when all together hold too little.

    The lowest priority goes first, then the lowest score. None is chosen who is not needed.
    """
    return _victims(sorted(residents, key=_order), need_bytes)


def choose_prewarms(
    absent: Iterable[Resident],
    residents: Iterable[Resident],
    free_bytes: int,
    *,
    hysteresis: float = HYSTERESIS,
    limit: int = PREWARMS_AT_ONCE,
) -> list[tuple[Resident, tuple[Resident, ...]]]:
    """Which absent models to load without being asked, each with whom it displaces.

    The highest score comes first. One is loaded if it fits, or if it is worth at least
    `hysteresis` times all whom it displaces together; none of those has a higher priority.
    """
    staying = sorted(residents, key=_order)
    lowest = min((resident.score for resident in staying), default=0.0)
    chosen: list[tuple[Resident, tuple[Resident, ...]]] = []
    for candidate in sorted(absent, key=lambda each: (-each.score, each.model)):
        if len(chosen) == limit:
            break
        victims = _displaced(candidate, staying, lowest, free_bytes, hysteresis)
        if victims is not None:
            chosen.append((candidate, victims))
            free_bytes += sum(victim.held_bytes for victim in victims) - candidate.held_bytes
            gone = {victim.model for victim in victims}
            staying = [resident for resident in staying if resident.model not in gone]
    return chosen


def _order(resident: Resident) -> tuple[int, float, str]:
    return resident.priority, resident.score, resident.model


def _displaced(
    candidate: Resident,
    staying: Sequence[Resident],
    lowest: float,
    free_bytes: int,
    hysteresis: float,
) -> tuple[Resident, ...] | None:
    """Who of those in `_order` would go for a candidate; None if it is not worth that."""
    need_bytes = candidate.held_bytes - free_bytes
    if need_bytes <= 0:
        return ()
    # Most candidates fail here: whoever goes is worth at least this much.
    if candidate.score <= 0 or candidate.worth < hysteresis * need_bytes * lowest:
        return None
    allowed = takewhile(lambda resident: resident.priority <= candidate.priority, staying)
    others = (resident for resident in allowed if resident.model not in candidate.parts)
    victims = _victims(others, need_bytes)
    if victims is None or candidate.worth < hysteresis * sum(each.worth for each in victims):
        return None
    return victims


def _victims(in_order: Iterable[Resident], need_bytes: int) -> tuple[Resident, ...] | None:
    chosen: list[Resident] = []
    freed = 0
    for resident in in_order:
        if freed >= need_bytes:
            break
        chosen.append(resident)
        freed += resident.held_bytes
    if freed < need_bytes:
        return None
    # A large one at the end of the order can make small ones before it needless.
    needed: list[Resident] = []
    for resident in reversed(chosen):
        if freed - resident.held_bytes >= need_bytes:
            freed -= resident.held_bytes
        else:
            needed.append(resident)
    return tuple(reversed(needed))


def _density(demand: Demand, reload_s: float, held_bytes: int, now_s: float) -> float:
    """Cold-start seconds per GiB that one miss costs, times 3600 s per hour.

    Whoever arrives during the load waits too (section 2 of POLICY.md).
    """
    waiting = min(rate_10m(demand, now_s) * reload_s, MOST_WAITING)
    return 3600.0 * reload_s * (1.0 + WAITING_WEIGHT * waiting) * GIB / max(1, held_bytes)
