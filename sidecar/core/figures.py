"""What the planner weighs of the models of one snapshot, for lists and answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from sidecar.core.demand import rates
from sidecar.core.fleet import Server, Snapshot
from sidecar.core.ledger import Account, Holder, ledger
from sidecar.core.memory import Device
from sidecar.core.policy import Policy
from sidecar.core.worth import Worth


class LatencyBasis(StrEnum):
    """How a model's latency is known.

    `gateway`: clients' requests of the last some seconds. `warm_up`: our own requests of the
    quickest shape when its latency had settled after the newest load.
    """

    GATEWAY = "gateway"
    WARM_UP = "warm_up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    p50_ms: float
    basis: LatencyBasis


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One model now. `requests_per_hour` is over about the last hour.

    `requests_by_hour` counts all of its requests by hour of the day, UTC; empty before the first.
    `latency` is None until anything is known of it. `held_bytes` is what the serving server holds
    of it on all devices; `score` is what holding it is worth in cold-start seconds per hour and
    GiB, or the ranking's own unit. `quarantined_until_s` is None also for a quarantine without an
    end.
    """

    pin: bool
    priority: int
    requests_per_hour: float
    requests_by_hour: tuple[int, ...]
    latency: Latency | None
    last_request_at_s: float | None
    held_bytes: int
    score: float
    quarantined: bool
    quarantined_until_s: float | None


class Weighing:
    """One snapshot under one policy at one time; computes only what is asked, and that once."""

    def __init__(self, snapshot: Snapshot, policy: Policy, now_s: float) -> None:
        self.snapshot = snapshot
        self.policy = policy
        self.now_s = now_s
        self.worth = Worth(snapshot, policy, now_s)

    @cached_property
    def accounts(self) -> Mapping[Device, Account]:
        return ledger(self.snapshot, self.policy)

    @cached_property
    def held(self) -> Mapping[str, Mapping[Device, Holder]]:
        """What the serving server holds of each model."""
        found: dict[str, dict[Device, Holder]] = {}
        for device, account in self.accounts.items():
            for holder in account.holders:
                if holder.server is Server.SERVING:
                    found.setdefault(holder.model, {})[device] = holder
        return found

    def score(self, model: str) -> float:
        """By what the model holds, or would hold, on the first of its devices.

        An ensemble is weighed by what comes with it.
        """
        is_ensemble = bool(self.snapshot.composing(model))
        there = {} if is_ensemble else self.held.get(model, {})
        held = [holder.bytes for holder in there.values()]
        return self.worth.score(model, next(iter(held or self.worth.brought(model).values())))

    def latency(self, model: str) -> Latency | None:
        """Of clients' requests where there are any, else of the warm-up."""
        traffic = self.snapshot.traffic.get(model)
        if traffic is not None and traffic.p50_ms is not None:
            return Latency(p50_ms=traffic.p50_ms, basis=LatencyBasis.GATEWAY)
        learned = self.worth.learned(model)
        if learned is None or not learned.curves:
            return None
        quickest_ms = min(curve.steady_ms for curve in learned.curves)
        return Latency(p50_ms=quickest_ms, basis=LatencyBasis.WARM_UP)

    def figures(self, model: str) -> Figures:
        intent = self.snapshot.models[model].intent
        demand = self.worth.demand(model)
        quarantine = self.snapshot.quarantine.get(model)
        if quarantine is not None and not quarantine.holds(self.now_s):
            quarantine = None
        return Figures(
            pin=intent.pin,
            priority=intent.priority,
            requests_per_hour=3600.0 * rates(demand, self.now_s)["1h"] if demand else 0.0,
            requests_by_hour=demand.by_hour if demand else (),
            latency=self.latency(model),
            last_request_at_s=demand.last_s if demand else None,
            held_bytes=sum(holder.bytes for holder in self.held.get(model, {}).values()),
            score=self.score(model),
            quarantined=quarantine is not None,
            quarantined_until_s=quarantine.until_s if quarantine else None,
        )
