"""Which models have labels of their own, so that a fleet of thousands does not flood Prometheus."""

from heapq import nlargest

from sidecar.core.demand import rate_10m
from sidecar.core.fleet import Snapshot

NAMED_MODELS = 200
OTHER = "other"
"""All the others, where they are counted together."""


def named_models(snapshot: Snapshot) -> list[str]:
    """The hot ones, then those asked for most."""
    demand = snapshot.demand
    now_s = max((each.last_s for each in demand.values()), default=0.0)

    def order(model: str) -> tuple[bool, float, float, str]:
        asked = demand.get(model)
        often, last_s = (rate_10m(asked, now_s), asked.last_s) if asked else (0.0, 0.0)
        return snapshot.is_hot(model), often, last_s, model

    return nlargest(NAMED_MODELS, snapshot.models, key=order)
