"""What is open to clients, and the routes of models that need one of their own.

Only inference and questions about models and the server are open. Loading and unloading,
shared memory, traces and logging are the operator's.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import accumulate

from sidecar.adapters.envoy.descriptor import INFERENCES, QUESTIONS, SERVICE
from sidecar.adapters.envoy.filters import STREAM_PATH, read_name, switched_off, switched_on
from sidecar.adapters.envoy.names import (
    AGAIN_HEADER,
    ALIGN,
    EXTRACT,
    FINAL_HEADER,
    GRPC,
    HTTP,
    MODEL_HEADER,
    NAME,
    READ_NAME,
    READ_PATH,
    RELEASE,
    SAMPLE_HEADER,
    SEEN,
    SIZE,
    STREAMS,
    WARMTH,
    WARMTH_HEADER,
    Resource,
    canary,
    sampler,
    serving,
    typed,
)
from sidecar.core.routing import Routes, Split

TYPE = "envoy.config.route.v3.RouteConfiguration"

_INFERENCE = "/(infer|generate|generate_stream)"
_ENDPOINT = "(/(infer|generate|generate_stream|ready|config|stats))?"
_VERSION = "/versions/[^/]+"
_SERVER_QUESTIONS = "Server(Live|Ready|Metadata)"
_CLOSED = "the gateway is open to inference and to questions about models; the rest is done by "
_CLOSED += "operators, through the sidecar's API"

_NOT_GRPC = "this port is for gRPC: content-type: application/grpc"

_TRIES = 60
"""With the pauses between them fourteen seconds or so: a sidecar is restarted in less, also where
the machine is busy (six and a half were seen)."""
_LONGEST_SILENCE = "3600s"
"""Of a request and its answer; one without a message would wait for it for ever."""
_NOT_THERE, _NOT_THERE_OR_NOT_READY = (404,), (404, 503)
"""Triton has not loaded the model; with 503 it says so where the request names a version."""
_GRPC_NOT_THERE = (
    {"name": "grpc-status", "string_match": {"exact": "5"}},
    {"name": "grpc-message", "string_match": {"contains": "not at ready state"}},
)
_AGAIN = {"name": AGAIN_HEADER, "present_match": True}


def http_routes(routes: Routes, largest_request: int) -> Resource:
    """All that HTTP clients may ask for; everything else is 403."""
    closed = {"status": 403, "body": {"inline_string": json.dumps({"error": _CLOSED})}}
    found = [
        {"match": {"path": "/v2/models/stats"}, "direct_response": closed},
        *_own_http(routes),
        {
            "match": _regex(f"/v2/models/[^/]+{_VERSION}{_ENDPOINT}"),
            **_to_model(HTTP, _http_retry(_NOT_THERE_OR_NOT_READY)),
        },
        {"match": _regex(f"/v2/models/[^/]+{_ENDPOINT}"), **_to_model(HTTP, _http_retry())},
        {"match": _regex("/v2(/health/(live|ready))?"), **_to_server(HTTP)},
        {"match": {"prefix": "/"}, "direct_response": closed},
    ]
    return _configuration(HTTP, found, largest_request)


def grpc_routes(routes: Routes, largest_request: int) -> Resource:
    """All that gRPC clients may ask for; everything else is PERMISSION_DENIED.

    Envoy cannot read compressed messages: such requests go by what Triton answers, and such
    streams, which get no answer to go by, by way of the activator.
    """
    methods = "|".join(method.removeprefix("Model") for method in (*INFERENCES, *QUESTIONS))
    any_model = _regex(f"/{SERVICE}/Model({methods})")
    compressed = [
        {"name": "grpc-encoding", "present_match": True},
        {
            "name": "grpc-encoding",
            "string_match": {"exact": "identity"},
            "invert_match": True,
        },
    ]
    own = {name: _release_of(routes, name) for name in _with_own_routes(routes)}
    stream = _reading_names(own)
    stream["typed_per_filter_config"] |= {
        ALIGN: _script(ALIGN),
        READ_NAME: read_name(keep=True),
        SIZE: switched_off(),
    }
    server = f"/({SERVICE}/{_SERVER_QUESTIONS}|grpc.health.v1.Health/(Check|Watch))"
    to_model = _to_model(GRPC, _grpc_retry())
    of_stream = {"path": STREAM_PATH, "grpc": {}}
    found = [
        {
            "match": {**of_stream, "headers": compressed},
            **to_model,
            "route": {**to_model["route"], "cluster": STREAMS},
            "typed_per_filter_config": {SIZE: switched_off()},
        },
        {"match": {**any_model, "grpc": {}, "headers": compressed}, **to_model},
        *_own_grpc(routes),
        {"match": of_stream, **to_model, **stream},
        {
            "match": {**any_model, "grpc": {}},
            **to_model,
            "route": {**to_model["route"], "idle_timeout": _LONGEST_SILENCE},
            **_reading_names(own),
        },
        {"match": {**_regex(server), "grpc": {}}, **_to_server(GRPC)},
        {
            "match": {"prefix": "/", "grpc": {}},
            "direct_response": {"status": 403, "body": {"inline_string": _CLOSED}},
        },
        {
            "match": {"prefix": "/"},
            "direct_response": {"status": 415, "body": {"inline_string": _NOT_GRPC}},
        },
    ]
    return _configuration(GRPC, found, largest_request)


def _own_http(routes: Routes) -> Iterator[Resource]:
    for name in _with_own_routes(routes):
        model = f"/v2/models/{re.escape(name)}"
        of_version = f"{model}({_VERSION})?{_ENDPOINT}"
        stateful = name in routes.stateful
        route = _to_model(
            HTTP, _http_retry(_NOT_THERE_OR_NOT_READY, repeatable=not stateful), routes, name
        )
        match = of_version if stateful else f"{model}{_INFERENCE}"
        route["typed_per_filter_config"] |= _releasing({name: _release_of(routes, name)})
        yield {"match": _regex(match), **route}


def _own_grpc(routes: Routes) -> Iterator[Resource]:
    for name in _with_own_routes(routes):
        headers = [{"name": MODEL_HEADER, "string_match": {"exact": name}}]
        retry = _grpc_retry(repeatable=name not in routes.stateful)
        yield {
            "match": {"prefix": f"/{SERVICE}/Model", "headers": headers},
            "request_headers_to_remove": [MODEL_HEADER],
            **_to_model(GRPC, retry, routes, name),
        }


def _with_own_routes(routes: Routes) -> Sequence[str]:
    return sorted(
        routes.splits.keys() | routes.mirrors.keys() | routes.samples.keys() | routes.stateful
    )


def _release_of(routes: Routes, name: str) -> Resource:
    """What the script `release` must know of a model."""
    split = routes.splits.get(name)
    return {} if split is None else _split(split)


def _split(split: Split) -> Resource:
    versions, weights = zip(*sorted(split.weights.items()), strict=True)
    found: Resource = {
        "versions": [str(version) for version in versions],
        "below": [100 * below / sum(weights) for below in accumulate(weights)],
    }
    if split.sticky_header is not None:
        found["sticky_header"] = split.sticky_header
    return found


def _reading_names(own: Resource) -> Resource:
    switched = {name: switched_on() for name in (EXTRACT, NAME, READ_NAME)}
    return {"typed_per_filter_config": switched | (_releasing(own) if own else {})}


def _releasing(own: Resource) -> Resource:
    return {RELEASE: _script(RELEASE, filter_context={"models": own})}


def _script(name: str, **fields: Resource) -> Resource:
    return typed("envoy.extensions.filters.http.lua.v3.LuaPerRoute", name=name, **fields)


def _to_model(
    protocol: str, retry: Resource, routes: Routes | None = None, name: str = ""
) -> Resource:
    route: Resource = {"cluster": serving(protocol), "timeout": "0s", "retry_policy": retry}
    if routes is not None and (copies := list(_copies(protocol, routes, name))):
        route["request_mirror_policies"] = copies
    warmth = {"key": WARMTH_HEADER, "value": f"%DYNAMIC_METADATA({SEEN}:{WARMTH})%"}
    return {
        "route": route,
        "typed_per_filter_config": {READ_PATH: switched_on()} if protocol == HTTP else {},
        "response_headers_to_add": [
            {"header": warmth, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        ],
    }


def _copies(protocol: str, routes: Routes, name: str) -> Iterator[Resource]:
    if name in routes.mirrors:
        yield _mirror(canary(protocol), routes.mirrors[name])
    if name in routes.samples:
        sample = {"header": {"key": SAMPLE_HEADER, "value": "1"}}
        yield {
            **_mirror(sampler(protocol), routes.samples[name]),
            "request_headers_mutations": [{"append": sample}],
        }


def _mirror(cluster: str, percentage: int) -> Resource:
    share = {"numerator": percentage, "denominator": "HUNDRED"}
    return {"cluster": cluster, "runtime_fraction": {"default_value": share}}


def _to_server(protocol: str) -> Resource:
    return {"route": {"cluster": serving(protocol), "timeout": "0s"}}


def _http_retry(codes: Sequence[int] = _NOT_THERE, *, repeatable: bool = True) -> Resource:
    return {
        **_retry("retriable-status-codes", repeatable=repeatable),
        "retriable_status_codes": list(codes),
        "retriable_headers": [_AGAIN],
    }


def _grpc_retry(*, repeatable: bool = True) -> Resource:
    return {
        **_retry(repeatable=repeatable),
        "retriable_headers": [*_GRPC_NOT_THERE, _AGAIN],
    }


def _retry(*causes: str, repeatable: bool) -> Resource:
    """Each try goes to another priority: from the replicas to the activator, and back.

    Among replicas it goes to one that has not failed before, as long as there is one.
    """
    reset = "reset" if repeatable else "reset-before-request"
    return {
        "retry_on": ",".join(
            [reset, "connect-failure", "refused-stream", "retriable-headers", *causes]
        ),
        "num_retries": _TRIES,
        "retry_back_off": {"base_interval": "0.005s", "max_interval": "0.5s"},
        "retry_host_predicate": [
            {
                "name": "envoy.retry_host_predicates.previous_hosts",
                "typed_config": typed(
                    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                ),
            }
        ],
        "host_selection_retry_max_attempts": 5,
        "retry_priority": {
            "name": "envoy.retry_priorities.previous_priorities",
            "typed_config": typed(
                "envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
                update_frequency=1,
            ),
        },
    }


def _regex(pattern: str) -> Resource:
    """Envoy leaves the query out, and wants the whole path to match."""
    return {"safe_regex": {"regex": pattern}}


def _configuration(protocol: str, found: list[Resource], largest_request: int) -> Resource:
    """A copy of each request is kept for the next try, until it is answered."""
    return {
        "name": protocol,
        "virtual_hosts": [
            {
                "name": protocol,
                "domains": ["*"],
                "include_request_attempt_count": True,
                "request_body_buffer_limit": largest_request,
                "response_headers_to_remove": [AGAIN_HEADER, FINAL_HEADER],
                "routes": found,
            }
        ],
    }
