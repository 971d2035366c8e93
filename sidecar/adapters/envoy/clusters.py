"""The groups of servers that requests can be sent to."""

from sidecar.adapters.envoy.names import (
    ACTIVATOR,
    GRPC,
    MODEL,
    PROTOCOLS,
    ROLE,
    STREAMS,
    Resource,
    canary,
    sampler,
    serving,
    socket_address,
    upstream_protocol,
    watched,
)

TYPE = "envoy.config.cluster.v3.Cluster"
_UNLIMITED = 65_535
_MIRRORED_AT_ONCE = 64
_SAMPLED_AT_ONCE = 8
_LONGEST_MIRRORED_S = 30


def serving_clusters(folder: str, hangs_after_s: float) -> list[Resource]:
    """One for each protocol; who is in them, and for which models, comes with the endpoints.

    `STREAMS` begins with the activator, who can read a compressed message.

    A replica is out after `hangs_after_s` without an answer. Asked is whether it is live: Triton
    is not ready while any model loads, and never again after a failed load (GATEWAY.md section 1).
    """
    return [
        *(
            _of_replicas(serving(protocol), protocol, folder, hangs_after_s)
            for protocol in PROTOCOLS
        ),
        _of_replicas(STREAMS, GRPC, folder, hangs_after_s),
    ]


def _of_replicas(name: str, protocol: str, folder: str, hangs_after_s: float) -> Resource:
    return {
        "name": name,
        "type": "EDS",
        "connect_timeout": "1s",
        "lb_policy": "LEAST_REQUEST",
        "eds_cluster_config": {
            "eds_config": watched(folder, f"endpoints_{name}"),
            "service_name": name,
        },
        "lb_subset_config": {
            "list_as_any": True,
            "fallback_policy": "ANY_ENDPOINT",
            "default_subset": {ROLE: ACTIVATOR},
            "subset_selectors": [{"keys": [MODEL], "fallback_policy": "DEFAULT_SUBSET"}],
        },
        "common_lb_config": {
            "healthy_panic_threshold": {"value": 0},
            # Else a change of who has which model is held back for a second.
            "update_merge_window": "0s",
        },
        "ignore_health_on_host_removal": True,
        "circuit_breakers": _at_most(_UNLIMITED),
        "health_checks": [
            {
                "timeout": f"{hangs_after_s / 2:g}s",
                "interval": "0.25s",
                "no_traffic_interval": "0.25s",
                "unhealthy_threshold": 2,
                "healthy_threshold": 1,
                "http_health_check": {
                    "path": "/v2/health/live",
                    "codec_client_type": "HTTP1",
                },
            }
        ],
        "typed_extension_protocol_options": upstream_protocol(protocol),
    }


def canary_clusters(addresses: dict[str, tuple[str, int]]) -> list[Resource]:
    """The test instance, by protocol. What hangs there holds few requests, and not for long."""
    return [
        _copied_to(canary(protocol), protocol, addresses[protocol], at_once=_MIRRORED_AT_ONCE)
        for protocol in PROTOCOLS
    ]


def sampler_clusters(addresses: dict[str, tuple[str, int]]) -> list[Resource]:
    """The activator, by protocol, for requests that it is to compare answers to.

    It has each in memory as a whole until it has decided whether to keep it.
    """
    return [
        _copied_to(sampler(protocol), protocol, addresses[protocol], at_once=_SAMPLED_AT_ONCE)
        for protocol in PROTOCOLS
    ]


def _copied_to(name: str, protocol: str, address: tuple[str, int], *, at_once: int) -> Resource:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "circuit_breakers": _at_most(at_once),
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket_address(*address)}}]}],
        },
        "typed_extension_protocol_options": upstream_protocol(
            protocol, max_stream_duration=f"{_LONGEST_MIRRORED_S}s"
        ),
    }


def _at_most(count: int) -> Resource:
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    return {"thresholds": [{"priority": "DEFAULT", **dict.fromkeys(limits, count)}]}
