"""What Prometheus is told of memory: the ledger, who holds it, and what more would save."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from sidecar.core.fleet import Server, Snapshot
from sidecar.core.ledger import Account, Hold, ledger
from sidecar.core.memory import Device
from sidecar.core.policy import Policy
from sidecar.runtime.named import OTHER


def memory_gauges(snapshot: Snapshot, policy: Policy, named: Sequence[str]) -> Iterator[Metric]:
    accounts = ledger(snapshot, policy)
    yield _kinds(accounts)
    error = GaugeMetricFamily(
        "pilotlight_ledger_error_bytes",
        "Measured minus accounted for; positive when models hold more than is known.",
        labels=["device"],
    )
    for device, account in accounts.items():
        if account.error_bytes is not None:
            error.add_metric([device], account.error_bytes)
    yield error
    yield _by_model(accounts, set(named))
    yield GaugeMetricFamily(
        "pilotlight_leaked_bytes",
        "Memory that failed loads did not give back to the serving server.",
        value=snapshot.leaked_bytes,
    )
    yield GaugeMetricFamily(
        "pilotlight_shadow_price_seconds",
        "Seconds of waiting per hour that one more GiB would save; 0 before the first eviction.",
        value=snapshot.pressure.shadow_price or 0.0,
    )


def _kinds(accounts: Mapping[Device, Account]) -> Metric:
    family = GaugeMetricFamily(
        "pilotlight_ledger_bytes",
        "Memory for models: the budget, what is held, reserved by loads or about to leave, what "
        "others use, what is free, and the capacity of the device where it is measured.",
        labels=["device", "kind"],
    )
    for device, account in accounts.items():
        for hold in Hold:
            family.add_metric([device, hold.value], account.sum_of(hold))
        family.add_metric([device, "foreign"], account.foreign_bytes)
        family.add_metric([device, "free"], account.free_bytes)
        family.add_metric([device, "budget"], account.budget_bytes)
        if account.capacity_bytes is not None:
            family.add_metric([device, "capacity"], account.capacity_bytes)
    return family


def _by_model(accounts: Mapping[Device, Account], named: set[str]) -> Metric:
    family = GaugeMetricFamily(
        "pilotlight_model_held_bytes",
        "What the serving server holds of each model, loads in flight included.",
        labels=["model", "device"],
    )
    for device, account in accounts.items():
        held: Counter[str] = Counter()
        for holder in account.holders:
            if holder.server is Server.SERVING:
                held[holder.model if holder.model in named else OTHER] += holder.bytes
        for model, total in sorted(held.items()):
            family.add_metric([model, device], total)
    return family
