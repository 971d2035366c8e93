"""What Prometheus is told of the gateway: computed at the scrape, without labels."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from sidecar.core.routing import Routes
from sidecar.runtime.activate import Waiting
from sidecar.runtime.route import Router


class GatewayGauges(Collector):
    """Only for a sidecar with a gateway; requests per model are Envoy's own metrics."""

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


def is_up(router: Router) -> bool:
    return router.applied is not None and router.problem is None


def routed_models(routes: Routes | None) -> frozenset[str]:
    """Those that some replica answers for."""
    return frozenset[str]().union(*(each.models for each in routes.replicas) if routes else ())


def waiting_requests(waiting: Waiting) -> dict[str, int]:
    """How many wait now, by model."""
    models = waiting.since_s.keys() | waiting.held.keys()
    return {model: max(waiting.count(model), waiting.held[model]) for model in sorted(models)}
