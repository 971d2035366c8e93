"""Where clients connect."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from sidecar.adapters.envoy.filters import access_log, http_filters
from sidecar.adapters.envoy.names import (
    MODEL_HEADER,
    VERSION_HEADER,
    Resource,
    socket_address,
    typed,
    watched,
)

TYPE = "envoy.config.listener.v3.Listener"
_READ_AT_ONCE = 2**20
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """What clients meet.

    `addresses` are those of each protocol. `certificate` and `key` are PEM files as Envoy sees
    them. `api_keys` maps clients to their keys; without any, everybody is let in.
    """

    addresses: Mapping[str, tuple[str, int]]
    largest_request_bytes: int
    certificate: str | None = None
    key: str | None = None
    api_keys: Mapping[str, str] = field(default_factory=dict)


def listener(protocol: str, edge: Edge, folder: str) -> Resource:
    chain: Resource = {
        "filters": [{"name": "http", "typed_config": _manager(protocol, edge, folder)}]
    }
    if edge.certificate is not None:
        chain["transport_socket"] = _tls(edge, folder)
    return {
        "name": protocol,
        "address": socket_address(*edge.addresses[protocol]),
        "per_connection_buffer_limit_bytes": _READ_AT_ONCE,
        "filter_chains": [chain],
    }


def _manager(protocol: str, edge: Edge, folder: str) -> Resource:
    """Headers pass as they are, but for those that would steer Envoy.

    `generate_request_id` is off: a request ID costs time, and clients have their own.
    """
    return typed(
        _MANAGER,
        stat_prefix=protocol,
        codec_type="AUTO",
        rds={"route_config_name": protocol, "config_source": watched(folder, f"routes_{protocol}")},
        http_filters=http_filters(protocol, edge.api_keys, edge.largest_request_bytes),
        access_log=[access_log(protocol)],
        early_header_mutation_extensions=[
            {
                "name": "steering",
                "typed_config": typed(
                    "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    mutations=[
                        {"remove": MODEL_HEADER},
                        {"remove": VERSION_HEADER},
                        {"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}},
                    ],
                ),
            }
        ],
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        generate_request_id=False,
        stream_idle_timeout="0s",
        server_header_transformation="PASS_THROUGH",
    )


def _tls(edge: Edge, folder: str) -> Resource:
    """A renewed certificate is taken up when its file is replaced."""
    chain = {
        "certificate_chain": {"filename": edge.certificate},
        "private_key": {"filename": edge.key},
    }
    return {
        "name": "tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={
                "tls_certificates": [chain],
                "alpn_protocols": ["h2", "http/1.1"],
            },
        ),
    }
