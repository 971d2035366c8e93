"""What is the case, as Prometheus asks for it: computed at the scrape, from the last look."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from contract.intent import Tier
from sidecar.core.fleet import Mode, Server, Snapshot
from sidecar.core.health import surroundings
from sidecar.core.policy import Policy
from sidecar.core.status import Warmth, unready, warmth
from sidecar.runtime.memory_gauges import memory_gauges
from sidecar.runtime.named import NAMED_MODELS, OTHER, named_models
from sidecar.runtime.release_gauges import release_gauges
from sidecar.runtime.traffic_gauges import traffic_gauges


class Gauges(Collector):
    """Silent before the first look."""

    def __init__(self) -> None:
        self._last: tuple[Snapshot, Policy] | None = None

    def look(self, snapshot: Snapshot, policy: Policy) -> None:
        """`policy` is what decides now."""
        self._last = snapshot, policy

    def collect(self) -> Iterator[Metric]:
        if self._last is None:
            return
        snapshot, policy = self._last
        named = named_models(snapshot)
        yield from _health(snapshot, policy)
        yield from _models(snapshot, named)
        yield from _quarantine(snapshot)
        yield from memory_gauges(snapshot, policy, named)
        yield from release_gauges(snapshot)
        if snapshot.traffic:
            yield from traffic_gauges(snapshot.traffic, named)


def _health(snapshot: Snapshot, policy: Policy) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "pilotlight_ready",
        "1 when every hot model answers.",
        value=int(not unready(snapshot)),
    )
    up = GaugeMetricFamily(
        "pilotlight_server_up",
        "1 when the server answers and lets itself be driven.",
        labels=["server"],
    )
    for server in Server:
        up.add_metric([server], int(snapshot.servers[server].problem is None))
    yield up
    mode = GaugeMetricFamily(
        "pilotlight_mode", "1 for the mode that the sidecar is in.", labels=["mode"]
    )
    for each in Mode:
        mode.add_metric([each], int(snapshot.mode is each))
    yield mode
    yield GaugeMetricFamily(
        "pilotlight_store_problems",
        "Things in the model repository that cannot be read.",
        value=len(snapshot.store_problems),
    )
    yield GaugeMetricFamily(
        "pilotlight_meter_up",
        "1 when memory can be measured.",
        value=int(snapshot.meter_problem is None),
    )
    checks = GaugeMetricFamily(
        "pilotlight_check_ok",
        "1 when what else was looked at is as it should be; /readyz?verbose has the words.",
        labels=["check"],
    )
    for found in surroundings(snapshot, policy):
        checks.add_metric([found.name], int(found.ok))
    yield checks


def _models(snapshot: Snapshot, named: Sequence[str]) -> Iterator[Metric]:
    warmths = {model: warmth(snapshot, model) for model in snapshot.models}
    yield _counted(snapshot, warmths)
    yield _model_state(snapshot, warmths, named)
    serving = snapshot.servers[Server.SERVING]
    missing = GaugeMetricFamily(
        "pilotlight_hot_model_missing",
        "1 for each hot model that does not answer, of those with labels.",
        labels=["model"],
    )
    for model in named:
        if snapshot.is_hot(model) and (serving.problem or not serving.answers(model)):
            missing.add_metric([model], 1)
    yield missing
    requests = CounterMetricFamily(
        "pilotlight_model_requests",
        "Requests of clients, as far as they are remembered: restarts do not count from 0.",
        labels=["model"],
    )
    for model in named:
        if model in snapshot.demand:
            requests.add_metric([model], snapshot.demand[model].requests)
    yield requests


def _counted(snapshot: Snapshot, warmths: Mapping[str, Warmth]) -> Metric:
    family = GaugeMetricFamily(
        "pilotlight_models", "Models by tier and warmth.", labels=["tier", "warmth"]
    )
    counts = Counter((snapshot.models[model].tier, found) for model, found in warmths.items())
    for tier in Tier:
        for found in Warmth:
            family.add_metric([tier, found], counts[tier, found])
    return family


def _model_state(snapshot: Snapshot, warmths: Mapping[str, Warmth], named: Sequence[str]) -> Metric:
    family = GaugeMetricFamily(
        "pilotlight_model_state",
        f"1 for the state that a model is in; beyond {NAMED_MODELS} models the number of others.",
        labels=["model", "version", "state"],
    )
    for model in named:
        version = snapshot.serving.get(model)
        labels = [model, "" if version is None else str(version), warmths[model].value]
        family.add_metric(labels, 1)
    others = Counter(warmths[model] for model in warmths.keys() - set(named))
    for found, count in others.items():
        family.add_metric([OTHER, "", found.value], count)
    return family


def _quarantine(snapshot: Snapshot) -> Iterator[Metric]:
    now_s = time.time()
    resting = [
        model
        for model, quarantine in sorted(snapshot.quarantine.items())
        if model in snapshot.models and quarantine.holds(now_s)
    ]
    yield GaugeMetricFamily(
        "pilotlight_quarantined_models",
        "Models that are not loaded for a while, because loading them failed too often.",
        value=len(resting),
    )
    each = GaugeMetricFamily(
        "pilotlight_model_quarantined",
        f"How often in a row a model was set aside, for the first {NAMED_MODELS} that are now.",
        labels=["model"],
    )
    for model in resting[:NAMED_MODELS]:
        each.add_metric([model], snapshot.quarantine[model].times)
    yield each
