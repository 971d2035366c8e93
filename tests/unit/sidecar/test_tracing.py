"""Spans as a collector gets them."""

import sys
import threading
from collections.abc import Iterator
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from sidecar.adapters.tracing import Tracing
from sidecar.compose import trace_to
from sidecar.core.events import Event, EventName
from sidecar.errors import InvalidSettings
from sidecar.runtime.telemetry import Telemetry
from tests.fakes.state import FakeState

AT_S = 1_800_000_000.0


class Collector:
    """Receives OTLP over HTTP."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, ExportTraceServiceRequest]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sent = ExportTraceServiceRequest.FromString(body)
                collector.requests.append((self.path, sent))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for _, request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def attributes(span: Span) -> dict[str, str | int]:
    return {
        item.key: item.value.int_value
        if item.value.HasField("int_value")
        else item.value.string_value
        for item in span.attributes
    }


def traced(collector: Collector, *events: Event) -> list[Span]:
    tracing = Tracing(collector.url)
    for event in events:
        tracing.record(event, AT_S)
    tracing.close()
    return collector.spans


def test_a_load_is_a_span_that_ends_when_it_was_told(collector: Collector) -> None:
    event = Event(
        name=EventName.MODEL_LOADED,
        model="m",
        server="serving",
        seconds=1.5,
        detail={"versions": "1, 2", "bytes": 7},
    )

    (span,) = traced(collector, event)

    assert span.name == "load"
    assert span.end_time_unix_nano == round(AT_S * 1e9)
    assert span.end_time_unix_nano - span.start_time_unix_nano == 1_500_000_000
    assert attributes(span) == {
        "pilotlight.event": "model_loaded",
        "pilotlight.model": "m",
        "pilotlight.server": "serving",
        "pilotlight.versions": "1, 2",
        "pilotlight.bytes": 7,
    }
    ((path, request),) = collector.requests
    assert path == "/v1/traces"
    (name,) = request.resource_spans[0].resource.attributes
    assert (name.key, name.value.string_value) == ("service.name", "pilotlight")


def test_what_failed_is_an_error_with_the_reason(collector: Collector) -> None:
    event = Event(
        name=EventName.UNLOAD_FAILED, model="m", seconds=0.1, detail={"reason": "no answer"}
    )

    (span,) = traced(collector, event)

    assert span.name == "unload"
    assert (span.status.code, span.status.message) == (Status.STATUS_CODE_ERROR, "no answer")


def test_what_took_no_time_is_no_span(collector: Collector) -> None:
    check = Event(name=EventName.CHECK_PASSED, model="m", seconds=0.1)
    moved = Event(name=EventName.RELEASE_MOVED, model="m")

    assert [span.name for span in traced(collector, moved, check)] == ["check"]


async def test_telemetry_sends_what_it_is_told_when_an_endpoint_is_set(
    collector: Collector,
) -> None:
    async with AsyncExitStack() as stack:
        telemetry = Telemetry(FakeState(), trace_to(collector.url, stack))
        await telemetry.record(Event(name=EventName.MODEL_UNLOADED, model="m", seconds=0.5))

    assert [span.name for span in collector.spans] == ["unload"]


async def test_without_an_endpoint_nothing_of_it_is_imported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "sidecar.adapters.tracing", raising=False)
    assert trace_to(None, AsyncExitStack()) is None
    assert "sidecar.adapters.tracing" not in sys.modules


async def test_without_the_extra_an_endpoint_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, "sidecar.adapters.tracing", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)

    with pytest.raises(InvalidSettings, match=r"otlp_endpoint is set.*pilotlight\[otel\]"):
        trace_to("http://collector:4318", AsyncExitStack())
