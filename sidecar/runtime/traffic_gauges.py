"""What Prometheus is told of clients' requests, as the gateway counts them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from sidecar.core.traffic import Answered, Traffic

FAILED = "failed"


def traffic_gauges(traffic: Mapping[str, Traffic], named: Sequence[str]) -> Iterator[Metric]:
    """Models that are not `named` are only in the sums: what joins and leaves must not count."""
    yield _by_code(traffic)
    kinds = (kind for seen in traffic.values() for kind in seen.answers.items())
    failures = sum(count for kind, count in kinds if kind.is_failure)
    yield CounterMetricFamily(
        "pilotlight_gateway_failures",
        "Requests that a server failed; what clients ask wrongly, or what is refused, is none.",
        value=failures,
    )
    by_model = CounterMetricFamily(
        "pilotlight_gateway_model_requests",
        "Requests by model: failed, or how warm the model was found.",
        labels=["model", "outcome"],
    )
    latency = GaugeMetricFamily(
        "pilotlight_gateway_model_latency_seconds",
        "From a request's first byte to its answer's last, over the last some seconds.",
        labels=["model", "quantile"],
    )
    for model in named:
        seen = traffic.get(model)
        if seen is None:
            continue
        for outcome, count in sorted(_outcomes(seen).items()):
            by_model.add_metric([model, outcome], count)
        for quantile, ms in (("0.5", seen.p50_ms), ("0.99", seen.p99_ms)):
            if ms is not None:
                latency.add_metric([model, quantile], ms / 1e3)
    yield by_model
    yield latency


def _by_code(traffic: Mapping[str, Traffic]) -> Metric:
    family = CounterMetricFamily(
        "pilotlight_gateway_requests",
        "Requests for inference by protocol, its status code, and how the model was found.",
        labels=["protocol", "code", "outcome"],
    )
    counts: Counter[tuple[str, str, str]] = Counter()
    for seen in traffic.values():
        for kind, count in seen.answers.items():
            counts[(*_code(kind), kind.outcome)] += count
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, count)
    return family


def _outcomes(seen: Traffic) -> Counter[str]:
    found: Counter[str] = Counter()
    for kind, count in seen.answers.items():
        found[FAILED if kind.is_failure else kind.outcome] += count
    return found


def _code(kind: Answered) -> tuple[str, str]:
    protocol, _, code = kind.code.rpartition(":")
    return protocol or "http", code
