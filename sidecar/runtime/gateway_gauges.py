"""What Prometheus is told of the gateway: computed at the scrape, without labels."""

import time
from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sidecar.core.routing import Routes
from sidecar.runtime.activate import Waiting
from sidecar.runtime.route import Router


class GatewayGauges(Collector):
    """Only for a sidecar with a gateway; what it counts is in `traffic_gauges`."""

    def __init__(self, router: Router, waiting: Waiting) -> None:
        self._router = router
        self._waiting = waiting

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "pilotlight_gateway_up",
            "1 when the gateway answers and has taken up its newest routes.",
            value=int(is_up(self._router)),
        )
        yield GaugeMetricFamily(
            "pilotlight_gateway_routed_models",
            "Models that the gateway sends to a replica; requests for others are held.",
            value=len(routed_models(self._router.applied)),
        )
        yield GaugeMetricFamily(
            "pilotlight_requests_waiting",
            "Requests that wait for a load.",
            value=sum(waiting_requests(self._waiting).values()),
        )
        yield GaugeMetricFamily(
            "pilotlight_longest_wait_seconds",
            "How long somebody has waited for the load that is waited for longest; 0 for nobody.",
            value=_longest_wait_s(self._waiting),
        )


def is_up(router: Router) -> bool:
    return router.applied is not None and router.problem is None


def routed_models(routes: Routes | None) -> frozenset[str]:
    """Those that some replica answers for."""
    return frozenset[str]().union(*(each.models for each in routes.replicas) if routes else ())


def waiting_requests(waiting: Waiting) -> dict[str, int]:
    """How many wait now, by model."""
    models = waiting.since_s.keys() | waiting.held.keys()
    return {model: max(waiting.count(model), waiting.held[model]) for model in sorted(models)}


def _longest_wait_s(waiting: Waiting) -> float:
    now_s = time.time()
    return max((now_s - since_s for since_s in waiting.since_s.values()), default=0.0)
