"""What is done to a request on its way through the gateway.

Filters that cost something are off until a route switches them on.
"""

import base64
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from sidecar.adapters.envoy.descriptor import (
    INFERENCES,
    QUESTIONS,
    SERVICE,
    descriptor_set,
    field_names,
)
from sidecar.adapters.envoy.names import (
    ACTIVATOR,
    ALIGN,
    EXTRACT,
    HTTP,
    LB,
    MODEL,
    MODEL_HEADER,
    NAME,
    READ_NAME,
    READ_PATH,
    RELEASE,
    ROLE,
    SEEN,
    SIZE,
    TRIES_HEADER,
    VERSION,
    VERSION_HEADER,
    WARMTH,
    Resource,
    typed,
)

_FILTERS = "envoy.extensions.filters.http"
_EXTRACTED = "envoy.filters.http.grpc_field_extraction"
_FIRST_OF_LIST = r'^\["(.*)"\]$'
"""Envoy extracts a list, also of a field that can occur only once."""
STREAM_PATH = f"/{SERVICE}/ModelStreamInfer"


def http_filters(
    protocol: str, api_keys: Mapping[str, str], largest_request: int
) -> list[Resource]:
    """In the order in which a request passes them. `api_keys` maps clients to their keys."""
    size = _filter(SIZE, "body_size_limit.v3.BodySizeLimit", max_request_bytes=largest_request)
    own = (
        [_read_path()]
        if protocol == HTTP
        else [_align(), _extract(), _name(), _off(READ_NAME, read_name(keep=False))]
    )
    return [
        *([_api_keys(api_keys)] if api_keys else []),
        size,
        _assume_hit(),
        *own,
        _release(),
        _router(protocol),
    ]


def switched_on() -> Resource:
    return typed("envoy.config.route.v3.FilterConfig", config={})


def switched_off() -> Resource:
    return typed("envoy.config.route.v3.FilterConfig", disabled=True)


def read_name(*, keep: bool) -> Resource:
    """Configuration of `READ_NAME`: `keep` leaves the header for the log of open streams."""
    return _header_to_metadata(
        {
            "header": MODEL_HEADER,
            "on_header_present": _value(LB, MODEL, _FIRST_OF_LIST),
            "remove": not keep,
        },
        {
            "header": VERSION_HEADER,
            "on_header_present": _value(SEEN, VERSION, _FIRST_OF_LIST),
            "remove": True,
        },
    )


def access_log(protocol: str) -> Resource:
    """Counts and durations per model of requests for inference."""
    code = "%RESPONSE_CODE%" if protocol == HTTP else "%GRPC_STATUS_NUMBER%"
    model = _tag(MODEL, f"%DYNAMIC_METADATA({LB}:{MODEL})%")
    tags = [
        model,
        _tag(VERSION, f"%DYNAMIC_METADATA({SEEN}:{VERSION})%"),
        _tag("code", code),
        _tag(WARMTH, f"%DYNAMIC_METADATA({SEEN}:{WARMTH})%"),
    ]
    inferences = (
        r"/v2/models/[^/]+(/versions/[^/]+)?/(infer|generate|generate_stream)(\?.*)?"
        if protocol == HTTP
        else f"/{SERVICE}/Model(Stream)?Infer"
    )
    return {
        "name": "stats",
        "filter": {"and_filter": {"filters": [_path_is(inferences), _is_known()]}},
        "typed_config": typed(
            "envoy.extensions.access_loggers.stats.v3.Config",
            stats_scope={
                "prefix": f"pilotlight_{protocol}",
                "max_counters": 65_536,
                "max_histograms": 16_384,
            },
            counters=[{"stat": {"name": "requests", "tags": tags}, "value_fixed": 1}],
            histograms=[
                {
                    "stat": {"name": "ms", "tags": [model]},
                    "unit": "Milliseconds",
                    "value_format": "%DURATION%",
                }
            ],
        ),
    }


def _open_streams() -> Resource:
    """Streams that a replica has accepted and that have not ended, per model."""
    return {
        "name": "stats",
        "filter": {"and_filter": {"filters": [_path_is(STREAM_PATH), _is_replica()]}},
        "typed_config": typed(
            "envoy.extensions.access_loggers.stats.v3.Config",
            stats_scope={"prefix": "pilotlight_streams", "max_gauges": 16_384},
            gauges=[
                {
                    "stat": {"name": "open", "tags": [_tag(MODEL, f"%REQ({MODEL_HEADER})%")]},
                    "value_fixed": 1,
                    "add_subtract": {
                        "add_log_type": "UpstreamPoolReady",
                        "sub_log_type": "UpstreamEnd",
                    },
                }
            ],
        ),
    }


def _router(protocol: str) -> Resource:
    streams = (
        {}
        if protocol == HTTP
        else {
            "upstream_log": [_open_streams()],
            "upstream_log_options": {"flush_upstream_log_on_upstream_stream": True},
        }
    )
    return _filter(
        "router",
        "router.v3.Router",
        suppress_envoy_headers=True,
        upstream_http_filters=[
            _note_try(),
            _filter("warmth", "lua.v3.Lua", default_source_code=_script("warmth")),
            _filter("codec", "upstream_codec.v3.UpstreamCodec"),
        ],
        **streams,
    )


def _note_try() -> Resource:
    """Adds to `TRIES_HEADER`, which a request keeps from one try to the next.

    Whom this try goes to, milliseconds since the request came, and bytes of heads that all
    tries before have sent and received. So a try whose server died shows in the next one.
    """
    value = (
        f"%UPSTREAM_METADATA({LB}:{ROLE})%:%DURATION%"
        ":%UPSTREAM_HEADER_BYTES_SENT%:%UPSTREAM_HEADER_BYTES_RECEIVED%"
    )
    note = {"append": {"header": {"key": TRIES_HEADER, "value": value}}}
    return _filter(
        "tries", "header_mutation.v3.HeaderMutation", mutations={"request_mutations": [note]}
    )


def _api_keys(api_keys: Mapping[str, str]) -> Resource:
    return _filter(
        "api_key",
        "api_key_auth.v3.ApiKeyAuth",
        credentials=[{"client": client, "key": key} for client, key in sorted(api_keys.items())],
        key_sources=[{"header": "x-api-key"}, {"header": "authorization"}],
        forwarding={"hide_credentials": True},
    )


def _assume_hit() -> Resource:
    """The activator's answer puts it right."""
    entry = {"metadata_namespace": SEEN, "value": {WARMTH: "hit"}, "allow_overwrite": True}
    return _filter("hit", "set_metadata.v3.Config", metadata=[entry])


def _read_path() -> Resource:
    model, version = "^/v2/models/([^/?]+).*$", "^/v2/models/[^/?]+(?:/versions/([^/?]+))?.*$"
    return _off(
        READ_PATH,
        _header_to_metadata(
            {"header": ":path", "on_header_present": _value(LB, MODEL, model)},
            {"header": ":path", "on_header_present": _value(SEEN, VERSION, version)},
        ),
    )


def _align() -> Resource:
    return _off(ALIGN, typed(f"{_FILTERS}.lua.v3.Lua", source_codes={ALIGN: _script(ALIGN)}))


def _extract() -> Resource:
    """Hold a request until its first message is there, and read it."""
    fields = {
        f"{SERVICE}.{method}": {
            "request_field_extractions": {
                name: {"dynamic_metadata": "", "metadata_key": key}
                for name, key in zip(field_names(method), (MODEL, VERSION), strict=True)
            }
        }
        for method in (*INFERENCES, *QUESTIONS)
    }
    return _off(
        EXTRACT,
        typed(
            f"{_FILTERS}.grpc_field_extraction.v3.GrpcFieldExtractionConfig",
            descriptor_set={"inline_bytes": base64.b64encode(descriptor_set()).decode()},
            extractions_by_method=fields,
        ),
    )


def _name() -> Resource:
    """Through headers: that is the way from one filter's findings to the load balancer's key."""
    return _off(
        NAME,
        typed(
            f"{_FILTERS}.header_mutation.v3.HeaderMutation",
            mutations={
                "request_mutations": [
                    {
                        "append": {
                            "header": {
                                "key": header,
                                "value": f"%DYNAMIC_METADATA({_EXTRACTED}:{key})%",
                            },
                            "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                        }
                    }
                    for header, key in ((MODEL_HEADER, MODEL), (VERSION_HEADER, VERSION))
                ]
            },
        ),
    )


def _release() -> Resource:
    return _off(
        RELEASE, typed(f"{_FILTERS}.lua.v3.Lua", source_codes={RELEASE: _script("release")})
    )


def _filter(name: str, message: str, **fields: object) -> Resource:
    return {"name": name, "typed_config": typed(f"{_FILTERS}.{message}", **fields)}


def _off(name: str, config: Resource) -> Resource:
    return {"name": name, "disabled": True, "typed_config": config}


def _header_to_metadata(*rules: Resource) -> Resource:
    return typed(f"{_FILTERS}.header_to_metadata.v3.Config", request_rules=list(rules))


def _value(namespace: str, key: str, pattern: str) -> Resource:
    return {
        "metadata_namespace": namespace,
        "key": key,
        "regex_value_rewrite": {"pattern": {"regex": pattern}, "substitution": r"\1"},
    }


def _tag(name: str, value: str) -> Resource:
    return {"name": name, "value_format": value}


def _is_known() -> Resource:
    """Not a name that somebody made up: each would stay in memory."""
    return {
        "metadata_filter": {
            "matcher": {
                "filter": SEEN,
                "path": [{"key": WARMTH}],
                "value": {"string_match": {"safe_regex": {"regex": "hit|cold|joined|refused"}}},
            },
            "match_if_key_not_found": True,
        }
    }


def _is_replica() -> Resource:
    """What the activator holds keeps no model from going."""
    role = f"xds.upstream_host_metadata.filter_metadata['{LB}']['{ROLE}']"
    return {
        "extension_filter": {
            "name": "replica",
            "typed_config": typed(
                "envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                expression=f"{role} != '{ACTIVATOR}'",
            ),
        }
    }


def _path_is(pattern: str) -> Resource:
    return {
        "header_filter": {
            "header": {"name": ":path", "string_match": {"safe_regex": {"regex": pattern}}}
        }
    }


@cache
def _script(name: str) -> Resource:
    path = Path(__file__).parent / "scripts" / f"{name}.lua"
    return {"inline_string": path.read_text()}
