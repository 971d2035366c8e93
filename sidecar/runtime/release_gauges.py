"""What Prometheus is told of releases: where each stands, and since when."""

from collections import Counter
from collections.abc import Iterator
from heapq import nlargest

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from sidecar.core.fleet import Snapshot
from sidecar.core.release import Release, ReleaseState
from sidecar.runtime.named import NAMED_MODELS

PAUSED = "paused"


def release_gauges(snapshot: Snapshot) -> Iterator[Metric]:
    """Releases that go on, and then those that ended last, have series of their own."""
    releases = snapshot.releases.values()
    counts = Counter(map(_state, releases))
    by_state = GaugeMetricFamily(
        "pilotlight_releases",
        "Models by the state of their newest release; paused ones are not in another state.",
        labels=["state"],
    )
    for state in (*ReleaseState, PAUSED):
        by_state.add_metric([state], counts[state])
    yield by_state
    entered = GaugeMetricFamily(
        "pilotlight_release_entered_timestamp_seconds",
        "When a model's newest release came to its state.",
        labels=["model", "version", "state"],
    )
    for each in nlargest(NAMED_MODELS, releases, key=_newest):
        entered.add_metric([each.model, str(each.version), _state(each)], each.entered_at_s)
    yield entered
    yield GaugeMetricFamily(
        "pilotlight_rejected_versions",
        "Versions that are not released again as they are.",
        value=len(snapshot.rejected),
    )


def _state(release: Release) -> str:
    return release.state if release.paused_by is None else PAUSED


def _newest(release: Release) -> tuple[bool, float]:
    return release.is_active, release.entered_at_s
