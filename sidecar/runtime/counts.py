"""What has happened so far, counted for Prometheus. Fed by events; some need the last look too."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram

from sidecar.core.activation import Heat
from sidecar.core.events import Event, EventDetail, EventName
from sidecar.core.fleet import DriftKind, Server, Snapshot
from sidecar.core.pressure import QUICK_S
from sidecar.core.release import RESTING, ReleaseState
from sidecar.core.verdict import Ruling

BUCKETS_S = (0.1, 0.3, 1, 3, 10, 30, 100, 300)
STEP_BUCKETS_S = (*BUCKETS_S, 1_800, 7_200, 28_800, 86_400)
"""A soak, or a person who is asked, can take a day."""
PHASES = {"stage": "read_s", "load": "load_s", "warmup": "warm_up_s", "verify": "verify_s"}
"""Of a load, and what the event calls their seconds."""
CAUSES = {"budget_bytes": "budget", "score_of_other": "prewarm", "needed_bytes": "demand"}
"""What an eviction was for, by the figure that only such an eviction weighs."""


WAITS = (Heat.COLD.value, Heat.JOINED.value, "refused")


class Counts:
    """Each series begins at 0, or `increase` would not see the first time that a thing happens."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, **labels: Iterable[str]) -> Counter:
            made = Counter(f"pilotlight_{name}", text, list(labels), registry=registry)
            return _begun(made, labels)

        def histogram(
            name: str, text: str, buckets: Sequence[float] = BUCKETS_S, **labels: Iterable[str]
        ) -> Histogram:
            made = Histogram(
                f"pilotlight_{name}", text, list(labels), buckets=buckets, registry=registry
            )
            return _begun(made, labels)

        self._events = counter(
            "events", "What happened; each is in the audit too.", event=EventName
        )
        self._loads = histogram(
            "load_seconds", "Loads on the serving server, by what took the time.", phase=PHASES
        )
        self._load_failures = counter(
            "load_failures", "Loads that did not end with a proven model.", server=Server
        )
        self._unloads = histogram(
            "unload_seconds", "From the call to unload until the server's index says so."
        )
        self._evictions = counter(
            "evictions", "Models let go for others.", reason=(*CAUSES.values(), "other")
        )
        self._churn = counter(
            "churn", f"Loads within {QUICK_S:.0f} s of an eviction of the same model."
        )
        self._prewarms = counter(
            "prewarm",
            "Models loaded ahead: used by a request, or wasted: let go before any.",
            result=("used", "wasted"),
        )
        self._read_ahead = counter(
            "read_ahead_bytes", "Files of models read into the page cache before a request."
        )
        self._drift = counter("drift", "What others did to the serving server.", kind=DriftKind)
        self._waits = histogram(
            "cold_wait_seconds",
            "Requests that waited for a load, by how that ended.",
            outcome=WAITS,
        )
        self._steps = histogram(
            "release_step_seconds",
            "How long releases were in each state that they have left.",
            STEP_BUCKETS_S,
            state=[state for state in ReleaseState if state not in RESTING],
        )
        self._ends = counter("releases_ended", "Releases, by how they ended.", outcome=RESTING)
        self._checks = counter(
            "release_checks", "Checks of releases, by what the judge said of each.", ruling=Ruling
        )
        self._ahead: set[str] = set()
        self._evicted_at_s: dict[str, float] = {}
        self._step_of: dict[str, tuple[str, float]] = {}

    def happened(self, event: Event, at_s: float) -> None:
        """Count an event that ended `at_s` seconds after 1970."""
        self._events.labels(event.name.value).inc()
        model, detail = event.model or "", event.detail
        match event.name:
            case EventName.MODEL_LOADED | EventName.LOAD_FAILED:
                self._load_ended(event, at_s)
            case EventName.MODEL_UNLOADED if event.seconds is not None:
                self._unloads.observe(event.seconds)
            case EventName.MODEL_KEPT if "score" in detail:
                self._ahead.add(model)
            case EventName.MODEL_EVICTED | EventName.MODEL_LET_GO:
                self._let_go(event, at_s)
            case EventName.FILES_READ_AHEAD:
                self._read_ahead.inc(float(detail["bytes"]))
            case EventName.RELEASE_MOVED:
                self._moved(detail, at_s)
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

    def _load_ended(self, event: Event, at_s: float) -> None:
        if event.name is EventName.LOAD_FAILED:
            self._load_failures.labels(event.server).inc()
            return
        if event.server != Server.SERVING:
            return
        for phase, name in PHASES.items():
            seconds = event.detail.get(name)
            if isinstance(seconds, float):
                self._loads.labels(phase).observe(seconds)
        if at_s - self._evicted_at_s.pop(event.model or "", -QUICK_S) < QUICK_S:
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

    def _moved(self, detail: Mapping[str, EventDetail], at_s: float) -> None:
        """A step into the same state is a remark. What began before this process is not timed."""
        release, state = str(detail["release"]), str(detail["state"])
        for ruling in Ruling:
            self._checks.labels(ruling).inc(list(detail.values()).count(ruling))
        before, since_s = self._step_of.get(release, (None, at_s))
        if before == state:
            return
        if before is not None:
            self._steps.labels(before).observe(at_s - since_s)
        self._step_of[release] = (state, at_s)
        if state in RESTING:
            del self._step_of[release]
            self._ends.labels(state).inc()


_Metric = TypeVar("_Metric", Counter, Histogram)


def _begun(metric: _Metric, labels: Mapping[str, Iterable[str]]) -> _Metric:
    if labels:
        for values in product(*labels.values()):
            metric.labels(*values)
    return metric
