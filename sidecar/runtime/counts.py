"""What has happened so far, counted for Prometheus. Fed by events; some need the last look too."""

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram

from sidecar.core.events import Event, EventDetail, EventName
from sidecar.core.fleet import Server, Snapshot
from sidecar.core.pressure import QUICK_S

BUCKETS_S = (0.1, 0.3, 1, 3, 10, 30, 100, 300)
PHASES = {"stage": "read_s", "load": "load_s", "warmup": "warm_up_s", "verify": "verify_s"}
"""Of a load, and what the event calls their seconds."""
CAUSES = {"budget_bytes": "budget", "score_of_other": "prewarm", "needed_bytes": "demand"}
"""What an eviction was for, by the figure that only such an eviction weighs."""


class Counts:
    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"pilotlight_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(
                f"pilotlight_{name}", text, labels, buckets=BUCKETS_S, registry=registry
            )

        self._events = counter("events", "What happened.", "event")
        self._loads = histogram(
            "load_seconds", "Loads on the serving server, by what took the time.", "phase"
        )
        self._unloads = histogram(
            "unload_seconds", "From the call to unload until the server's index says so."
        )
        self._evictions = counter("evictions", "Models let go for others.", "reason")
        self._churn = counter(
            "churn", f"Loads within {QUICK_S:.0f} s of an eviction of the same model."
        )
        self._prewarms = counter(
            "prewarm",
            "Models loaded ahead: used by a request, or wasted: let go before any.",
            "result",
        )
        self._drift = counter("drift", "What others did to the serving server.", "kind")
        self._waits = histogram(
            "cold_wait_seconds", "Requests that waited for a load, by how that ended.", "outcome"
        )
        self._ahead: set[str] = set()
        self._evicted_at_s: dict[str, float] = {}

    def happened(self, event: Event, at_s: float) -> None:
        """Count an event that ended `at_s` seconds after 1970."""
        self._events.labels(event.name.value).inc()
        model, detail = event.model or "", event.detail
        match event.name:
            case EventName.MODEL_LOADED if event.server == Server.SERVING:
                self._loaded(model, detail, at_s)
            case EventName.MODEL_UNLOADED if event.seconds is not None:
                self._unloads.observe(event.seconds)
            case EventName.MODEL_KEPT if "score" in detail:
                self._ahead.add(model)
            case EventName.MODEL_EVICTED | EventName.MODEL_LET_GO:
                self._let_go(event, at_s)
            case EventName.DRIFT:
                self._drift.labels(str(detail["kind"])).inc()
            case _:
                pass

    def waited(self, seconds: float, outcome: str) -> None:
        """A request was held until its model answered; a `hit` was not."""
        if outcome != "hit":
            self._waits.labels(outcome).observe(seconds)

    def look(self, snapshot: Snapshot) -> None:
        """Models loaded ahead are of use with their first request."""
        for model in list(self._ahead):
            demand, kept = snapshot.demand.get(model), snapshot.kept.get(model)
            if demand is not None and kept is not None and demand.last_s > kept.since_s:
                self._ahead.discard(model)
                self._prewarms.labels("used").inc()

    def _loaded(self, model: str, detail: Mapping[str, EventDetail], at_s: float) -> None:
        for phase, name in PHASES.items():
            seconds = detail.get(name)
            if isinstance(seconds, float):
                self._loads.labels(phase).observe(seconds)
        if at_s - self._evicted_at_s.pop(model, -QUICK_S) < QUICK_S:
            self._churn.inc()

    def _let_go(self, event: Event, at_s: float) -> None:
        model = event.model or ""
        if model in self._ahead:
            self._ahead.discard(model)
            self._prewarms.labels("wasted").inc()
        if event.name is EventName.MODEL_EVICTED:
            cause = next((cause for name, cause in CAUSES.items() if name in event.detail), "other")
            self._evictions.labels(cause).inc()
            self._evicted_at_s[model] = at_s
