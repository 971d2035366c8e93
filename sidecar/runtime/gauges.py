"""What is the case, as Prometheus asks for it: computed at the scrape, from the last look."""

from collections.abc import Iterator
from heapq import nlargest

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sidecar.core.demand import rate_10m
from sidecar.core.fleet import Snapshot
from sidecar.core.ledger import Hold, ledger
from sidecar.core.policy import Policy
from sidecar.core.status import Warmth, unready, warmth

NAMED_MODELS = 200
"""Models with labels of their own: the hot ones, then those asked for most. The others are
counted together as `other`, so that a fleet of thousands does not flood Prometheus."""
OTHER = "other"


class Gauges(Collector):
    """`snapshot` is the last look, None before the first; `policy` what decided then."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.policy: Policy | None = None

    def collect(self) -> Iterator[GaugeMetricFamily]:
        snapshot = self.snapshot
        if snapshot is None:
            return
        warmths = {model: warmth(snapshot, model) for model in snapshot.models}
        yield _ready(snapshot)
        yield _models(warmths)
        yield _model_state(snapshot, warmths)
        quarantined = snapshot.quarantine.keys() & snapshot.models.keys()
        yield GaugeMetricFamily(
            "pilotlight_quarantined_models",
            "Models that are not loaded for a while, because loading them failed too often.",
            value=len(quarantined),
        )
        if self.policy is not None:
            yield from _ledger(snapshot, self.policy)


def _ready(snapshot: Snapshot) -> GaugeMetricFamily:
    is_ready = not unready(snapshot)
    return GaugeMetricFamily(
        "pilotlight_ready", "1 when every hot model answers.", value=int(is_ready)
    )


def _models(warmths: dict[str, Warmth]) -> GaugeMetricFamily:
    family = GaugeMetricFamily("pilotlight_models", "Models by warmth.", labels=["warmth"])
    counts = dict.fromkeys(Warmth, 0)
    for found in warmths.values():
        counts[found] += 1
    for found, count in counts.items():
        family.add_metric([found.value], count)
    return family


def _model_state(snapshot: Snapshot, warmths: dict[str, Warmth]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(
        "pilotlight_model_state",
        f"1 for the state that a model is in; beyond {NAMED_MODELS} models the number of others.",
        labels=["model", "version", "state"],
    )
    named = _named(snapshot)
    for model in named:
        version = snapshot.serving.get(model)
        labels = [model, "" if version is None else str(version), warmths[model].value]
        family.add_metric(labels, 1)
    others = dict.fromkeys(Warmth, 0)
    for model in warmths.keys() - set(named):
        others[warmths[model]] += 1
    for found, count in others.items():
        if count:
            family.add_metric([OTHER, "", found.value], count)
    return family


def _named(snapshot: Snapshot) -> list[str]:
    demand = snapshot.demand
    now_s = max((each.last_s for each in demand.values()), default=0.0)

    def order(model: str) -> tuple[bool, float, float, str]:
        asked = demand.get(model)
        often, last_s = (rate_10m(asked, now_s), asked.last_s) if asked else (0.0, 0.0)
        return snapshot.is_hot(model), often, last_s, model

    return nlargest(NAMED_MODELS, snapshot.models, key=order)


def _ledger(snapshot: Snapshot, policy: Policy) -> Iterator[GaugeMetricFamily]:
    held = GaugeMetricFamily(
        "pilotlight_ledger_bytes",
        "Memory for models: the budget, what is held, reserved by loads or about to leave, what "
        "others use, and what is free.",
        labels=["device", "kind"],
    )
    error = GaugeMetricFamily(
        "pilotlight_ledger_error_bytes",
        "Measured minus accounted for; positive when models hold more than is known.",
        labels=["device"],
    )
    for device, account in ledger(snapshot, policy).items():
        for hold in Hold:
            held.add_metric([device, hold.value], account.sum_of(hold))
        held.add_metric([device, "foreign"], account.foreign_bytes)
        held.add_metric([device, "free"], account.free_bytes)
        held.add_metric([device, "budget"], account.budget_bytes)
        if account.error_bytes is not None:
            error.add_metric([device], account.error_bytes)
    yield held
    yield error
