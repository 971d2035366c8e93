"""One event, four sinks: a log line, a count, an audit row, and where asked for a span."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from structlog.contextvars import get_contextvars

from sidecar.core.events import Event
from sidecar.core.fleet import Snapshot
from sidecar.core.policy import Policy
from sidecar.errors import StateUnavailable
from sidecar.ports import Journal
from sidecar.runtime.counts import Counts
from sidecar.runtime.gauges import Gauges


class Telemetry:
    """Tells what happens, and lets others wait for it.

    What is bound to structlog's context, such as the id of the request that is being
    answered, becomes part of each event's detail. `trace` gets each event with the seconds
    since 1970 at which it ended.
    """

    def __init__(
        self, journal: Journal, trace: Callable[[Event, float], None] | None = None
    ) -> None:
        self.journal = journal
        self._trace = trace
        self._recorded = asyncio.Event()
        self._newest_id = 0
        self._closed = False
        self._log = structlog.get_logger("pilotlight")
        self.registry = CollectorRegistry()
        self.counts = Counts(self.registry)
        ProcessCollector(registry=self.registry)
        self._gauges = Gauges()
        self.registry.register(self._gauges)
        self.readers = Gauge(
            "pilotlight_event_readers", "Open event streams.", registry=self.registry
        )
        self._cycle = Histogram(
            "pilotlight_reconcile_seconds", "One look and plan.", registry=self.registry
        )
        self._cycled_at = Gauge(
            "pilotlight_last_cycle_timestamp_seconds",
            "When the last look and plan ended well; 0 before the first.",
            registry=self.registry,
        )
        self._lost_rows = Counter(
            "pilotlight_audit_rows_lost",
            "Events that the audit lacks, because they could not be written.",
            registry=self.registry,
        )

    async def record(self, event: Event) -> None:
        """A full disk must not stop the loop: the audit row is then missing, and logged."""
        event = replace(event, detail={**get_contextvars(), **event.detail})
        at_s = time.time()
        said = {key: value for key, value in _fields(event).items() if value is not None}
        (self._log.warning if event.is_trouble else self._log.info)(event.name.value, **said)
        self.counts.happened(event, at_s)
        if self._trace is not None:
            self._trace(event, at_s)
        try:
            entry_id = await self.journal.append(event, at_s)
        except StateUnavailable as error:
            self._lost_rows.inc()
            self._log.error("audit_row_lost", reason=str(error))
        else:
            self._newest_id = max(self._newest_id, entry_id)
            self._wake()

    async def wait_beyond(self, entry_id: int) -> bool:
        """Wait for a newer entry than `entry_id`; False when there will be none."""
        while self._newest_id <= entry_id and not self._closed:
            await self._recorded.wait()
        return not self._closed

    def close(self) -> None:
        """Send home who waits for entries."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        self._recorded.set()
        self._recorded = asyncio.Event()

    def show(self, snapshot: Snapshot, policy: Policy, cycle_s: float) -> None:
        """What the next scrape tells, and how long the look and the plan took."""
        self._gauges.look(snapshot, policy)
        self.counts.look(snapshot)
        self._cycle.observe(cycle_s)
        self._cycled_at.set_to_current_time()


def _fields(event: Event) -> dict[str, str | int | float | None]:
    seconds = None if event.seconds is None else round(event.seconds, 4)
    return {"model": event.model, "server": event.server, "seconds": seconds, **event.detail}
