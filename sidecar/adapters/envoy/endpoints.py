"""Which replica answers for which model."""

from collections.abc import Callable, Sequence

from sidecar.adapters.envoy.names import (
    ACTIVATOR,
    GRPC,
    LB,
    MODEL,
    ROLE,
    Resource,
    metadata,
    socket_address,
)
from sidecar.core.routing import Replica

TYPE = "envoy.config.endpoint.v3.ClusterLoadAssignment"
Resolve = Callable[[str], tuple[str, int]]
"""From `host:port` to an IP address and the port."""


def endpoints(
    cluster: str,
    protocol: str,
    replicas: Sequence[Replica],
    activator: str,
    resolve: Resolve,
    *,
    activator_first: bool = False,
) -> Resource:
    """Replicas first; the activator gets what none of them can answer.

    The activator has the models of all replicas too, for when these are dead. Whoever asks for
    another model is sent to it by the cluster's default.
    """
    loaded = sorted({model for replica in replicas for model in replica.models})
    holding = {
        "endpoint": {
            "address": socket_address(*resolve(activator)),
            "health_check_config": {"disable_active_health_check": True},
        },
        "metadata": metadata({MODEL: loaded, ROLE: ACTIVATOR}),
    }
    groups = [[_replica(protocol, replica, resolve) for replica in replicas], [holding]]
    return {
        "cluster_name": cluster,
        "endpoints": [
            {"priority": priority, "lb_endpoints": group}
            for priority, group in enumerate(reversed(groups) if activator_first else groups)
        ],
    }


def models(assignment: Resource, replica: str) -> frozenset[str]:
    """Those that an assignment sends to a replica."""
    told = [
        endpoint["metadata"]["filter_metadata"][LB]
        for endpoint in assignment["endpoints"][0]["lb_endpoints"]
    ]
    return frozenset(model for each in told if each.get(ROLE) == replica for model in each[MODEL])


def _replica(protocol: str, replica: Replica, resolve: Resolve) -> Resource:
    host, port = resolve(replica.grpc if protocol == GRPC else replica.http)
    _, http_port = resolve(replica.http)
    return {
        "endpoint": {
            "address": socket_address(host, port),
            "health_check_config": {"port_value": http_port},
        },
        "metadata": metadata({MODEL: sorted(replica.models), ROLE: replica.name}),
    }
