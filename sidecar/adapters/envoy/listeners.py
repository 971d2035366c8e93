"""Where clients connect."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from sidecar.adapters.envoy.filters import access_log, http_filters
from sidecar.adapters.envoy.names import (
    HTTP,
    MODEL_HEADER,
    SAMPLE_HEADER,
    TRIES_HEADER,
    VERSION_HEADER,
    Resource,
    socket_address,
    typed,
    watched,
)

TYPE = "envoy.config.listener.v3.Listener"
CERTIFICATE_TYPE = "envoy.extensions.transport_sockets.tls.v3.Secret"
SECRETS = "secrets"
_CERTIFICATE = "edge"
_READ_AT_ONCE = 2**20
_RESOURCE_EXHAUSTED = 8
_NOBODY = "the model is not loaded, and the sidecar that loads it does not answer; ask again"
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
        chain["transport_socket"] = _tls(folder)
    return {
        "name": protocol,
        "address": socket_address(*edge.addresses[protocol]),
        "per_connection_buffer_limit_bytes": _READ_AT_ONCE,
        "filter_chains": [chain],
    }


def _manager(protocol: str, edge: Edge, folder: str) -> Resource:
    """Headers pass as they are, but for those that would steer Envoy.

    `generate_request_id` is off: a request ID costs time, and clients have their own.
    `delayed_close_timeout` is how long a client that is refused while it sends its body may take
    to read so: closed before, it would lose the refusal to a connection reset (Envoy's own value
    is a second). One that reads nothing before it has sent all may lose it still, because Envoy
    stops reading what it has refused.
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
                        {"remove": SAMPLE_HEADER},
                        {"remove": TRIES_HEADER},
                        {"remove": VERSION_HEADER},
                        {"remove_on_match": {"key_matcher": {"prefix": "x-envoy-"}}},
                    ],
                ),
            }
        ],
        local_reply_config={"mappers": [_nobody_answers(protocol), *_too_large(protocol)]},
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="REJECT_REQUEST",
        generate_request_id=False,
        stream_idle_timeout="0s",
        delayed_close_timeout="10s",
        server_header_transformation="PASS_THROUGH",
    )


def _nobody_answers(protocol: str) -> Resource:
    """What clients are told when neither a replica nor the activator answered.

    Of Envoy's response flags: UF is a failed connection, UC a broken one, UH that there is
    nobody, URX that all tries are used up.
    """
    return {
        "filter": {"response_flag_filter": {"flags": ["UF", "UC", "UH", "URX"]}},
        "body": {"inline_string": _NOBODY},
        "body_format_override": (
            {"json_format": {"error": "%LOCAL_REPLY_BODY%"}}
            if protocol == HTTP
            else {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}}
        ),
        "headers_to_add": [{"header": {"key": "retry-after", "value": "1"}}],
    }


def _too_large(protocol: str) -> list[Resource]:
    """RESOURCE_EXHAUSTED, which is what gRPC's own servers say; Envoy would say UNKNOWN."""
    if protocol == HTTP:
        return []
    of_413 = {"op": "EQ", "value": {"default_value": 413, "runtime_key": "none"}}
    status = {"key": "grpc-status", "value": str(_RESOURCE_EXHAUSTED)}
    return [
        {
            "filter": {"status_code_filter": {"comparison": of_413}},
            "headers_to_add": [{"header": status, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        }
    ]


def _tls(folder: str) -> Resource:
    return {
        "name": "tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
            common_tls_context={
                "tls_certificate_sds_secret_configs": [
                    {"name": _CERTIFICATE, "sds_config": watched(folder, SECRETS)}
                ],
                "alpn_protocols": ["h2", "http/1.1"],
            },
        ),
    }


def secret(edge: Edge) -> Resource:
    """The certificate, apart from the listeners: only so it is taken up when it is renewed."""
    return {
        "name": _CERTIFICATE,
        "tls_certificate": {
            "certificate_chain": {"filename": edge.certificate},
            "private_key": {"filename": edge.key},
            "watched_directory": {"path": str(PurePosixPath(edge.certificate or "").parent)},
        },
    }
