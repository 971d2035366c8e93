"""Limits that decisions obey."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sidecar.core.memory import GIB, Device
from sidecar.core.ranking import Ranking

FIRST_RETRY_S = 0.5
LAST_RETRY_S = 60.0


class OnDrift(StrEnum):
    """What follows when somebody else loads or unloads a model."""

    REPAIR = "repair"
    ADOPT = "adopt"


class Recycle(StrEnum):
    """Whether Triton is restarted when failed loads have not given their memory back."""

    OFF = "off"
    PROPOSE = "propose"
    DO = "do"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """`soak_s`: how long both versions stay after a promotion, seconds.

    `parallel_loads`: loads in flight per server; well below Triton's
    `--model-load-thread-count`, because in-place changes queue in the same pool.
    `lost_attempts`: how often the canary server may be lost under a version before the
    version is held responsible.
    `budgets`: bytes that models may hold per device, less the share `headroom`; a device
    without one has its capacity for a budget. `price`: cold-start seconds that the operator
    is willing to pay to save one GiB-hour of memory. `ranking` chooses whom to evict; `prewarm`
    whether models are loaded ahead of their requests; `cpu_while_full` whether a model that
    its GPU has no room for serves on the CPU until there is some. `page_cache_bytes`: for files
    of models that are likely next; None takes half of what is free. `canary_apart`: canary has
    memory of its own, and what it holds takes nothing from serving. `recycle` and
    `leak_limit_bytes`: what follows when so much was lost to failed loads.
    """

    soak_s: float
    parallel_loads: int
    lost_attempts: int = 3
    budgets: Mapping[Device, int] = field(default_factory=dict)
    headroom: float = 0.1
    price: float = 3.0
    ranking: Ranking = Ranking.VALUE
    prewarm: bool = True
    cpu_while_full: bool = False
    page_cache_bytes: int | None = None
    canary_apart: bool = False
    on_drift: OnDrift = OnDrift.REPAIR
    recycle: Recycle = Recycle.PROPOSE
    leak_limit_bytes: int = GIB


def retry_at_s(attempts: int, failed_at_s: float) -> float:
    """When to try again after `attempts` failures in a row: doubling, at most a minute."""
    # A thousand doublings would be too much even for a float.
    doublings = min(attempts - 1, 10)
    return failed_at_s + min(LAST_RETRY_S, FIRST_RETRY_S * 2.0**doublings)
