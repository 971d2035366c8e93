"""Names that several of the resources share, and words for what Envoy's messages have in common."""

from collections.abc import Mapping
from typing import Any

Resource = dict[str, Any]

HTTP, GRPC = "http", "grpc"
PROTOCOLS = (HTTP, GRPC)

LB = "envoy.lb"
MODEL = "model"
"""Key in the namespace `LB` by which a replica is chosen."""
ROLE, ACTIVATOR = "role", "activator"
SEEN = "pilotlight"
"""Namespace of what was found out about a request: its `VERSION`, and the model's `WARMTH`."""
VERSION, WARMTH = "version", "warmth"

AGAIN_HEADER = "x-pilotlight-again"
MODEL_HEADER = "x-pilotlight-model"
SAMPLE_HEADER = "x-pilotlight-sample"
TRIES_HEADER = "x-pilotlight-tries"
"""What was done with a request so far: `filters` writes it, the activator reads it."""
VERSION_HEADER = "x-pilotlight-version"
WARMTH_HEADER = "x-warmth"
FINAL_HEADER = "x-envoy-ratelimited"
"""Envoy repeats no request that was answered with this header."""

READ_PATH = "read_path"
ALIGN, EXTRACT, NAME, READ_NAME = "align", "extract", "name", "read_name"
RELEASE, SIZE = "release", "size"
"""Filters that routes switch on."""

_MANY_FRAMES = 65_535
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def typed(name: str, /, **fields: Any) -> Resource:
    """A message of Envoy's API inside an `Any`; `name` as in its documentation."""
    return {"@type": f"type.googleapis.com/{name}", **fields}


STREAMS = "compressed_streams"


def serving(protocol: str) -> str:
    return f"serving_{protocol}"


def canary(protocol: str) -> str:
    return f"canary_{protocol}"


def sampler(protocol: str) -> str:
    return f"sampler_{protocol}"


def socket_address(host: str, port: int) -> Resource:
    """`host` must be an IP address."""
    return {"socket_address": {"address": host, "port_value": port}}


def metadata(values: Mapping[str, Any]) -> Resource:
    """What the load balancer compares."""
    return {"filter_metadata": {LB: dict(values)}}


def watched(folder: str, name: str) -> Resource:
    """A resource in a file that is replaced by rename."""
    return {
        "resource_api_version": "V3",
        "path_config_source": {
            "path": f"{folder}/{name}.json",
            "watched_directory": {"path": folder},
        },
    }


def upstream_protocol(protocol: str, **common: Any) -> Resource:
    """A cluster's protocol options; `common` are those of every protocol."""
    # Triton reads many small messages of a stream one by one, and says so for each.
    http2 = {"max_inbound_window_update_frames_per_data_frame_sent": _MANY_FRAMES}
    options: Resource = {
        "explicit_http_config": (
            {"http2_protocol_options": http2} if protocol == GRPC else {"http_protocol_options": {}}
        )
    }
    if common:
        options["common_http_protocol_options"] = common
    return {_HTTP_OPTIONS: typed(_HTTP_OPTIONS, **options)}
