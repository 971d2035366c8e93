"""Spans of what took time, sent to an OpenTelemetry collector. Needs `pilotlight[otel]`."""

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import StatusCode

from sidecar.core.events import Event, EventName

_ACTIONS = {
    EventName.MODEL_LOADED: "load",
    EventName.MODEL_ADOPTED: "adopt",
    EventName.LOAD_FAILED: "load",
    EventName.MODEL_UNLOADED: "unload",
    EventName.UNLOAD_FAILED: "unload",
    EventName.CHECK_PASSED: "check",
    EventName.CHECK_FAILED: "check",
}


class Tracing:
    """Sends spans in batches from a thread of its own; a collector that is away is logged."""

    def __init__(self, endpoint: str) -> None:
        """`endpoint` is the collector's base URL for OTLP over HTTP, usually port 4318."""
        self._provider = TracerProvider(
            resource=Resource({SERVICE_NAME: "pilotlight"}), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("pilotlight")

    def record(self, event: Event, at_s: float) -> None:
        """A span for an event that took time, ending at `at_s`; nothing for others."""
        if event.seconds is None:
            return
        about = {"model": event.model, "server": event.server, **event.detail}
        span = self._tracer.start_span(
            _ACTIONS.get(event.name, event.name.value),
            start_time=_nanoseconds(at_s - event.seconds),
            attributes={
                "pilotlight.event": event.name.value,
                **{f"pilotlight.{key}": value for key, value in about.items() if value is not None},
            },
        )
        if event.is_trouble:
            span.set_status(StatusCode.ERROR, str(event.detail.get("reason", event.name.value)))
        span.end(_nanoseconds(at_s))

    def close(self) -> None:
        """Send what is left; blocks for at most some seconds."""
        self._provider.shutdown()


def _nanoseconds(at_s: float) -> int:
    return round(at_s * 1e9)
