"""What Envoy must be told before it can read the rest."""

from sidecar.adapters.envoy.names import Resource, socket_address, typed, watched

_LARGEST_PATTERN = 10_000
"""Envoy's default of 100 is less than a model's name can need."""


def bootstrap(folder: str, admin: tuple[str, int], largest_heap_bytes: int) -> Resource:
    """`folder` is where Envoy sees the other files; `admin` must be a loopback address.

    Above nine tenths of `largest_heap_bytes` requests are refused with 503: each request in
    flight keeps a copy of its body, so memory is what a crowd can take.
    """
    heap = "envoy.resource_monitors.fixed_heap"
    return {
        "node": {"id": "gateway", "cluster": "pilotlight"},
        "admin": {"address": socket_address(*admin)},
        "dynamic_resources": {
            "lds_config": watched(folder, "listeners"),
            "cds_config": watched(folder, "clusters"),
        },
        "layered_runtime": {
            "layers": [
                {
                    "name": "limits",
                    "static_layer": {"re2.max_program_size.error_level": _LARGEST_PATTERN},
                }
            ]
        },
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": heap,
                    "typed_config": typed(
                        f"{heap.replace('envoy.', 'envoy.extensions.')}.v3.FixedHeapConfig",
                        max_heap_size_bytes=largest_heap_bytes,
                    ),
                }
            ],
            "actions": [
                {
                    "name": "envoy.overload_actions.stop_accepting_requests",
                    "triggers": [{"name": heap, "threshold": {"value": 0.9}}],
                }
            ],
        },
    }
