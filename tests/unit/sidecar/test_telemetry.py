"""One event: a log line, a count, an audit row. What Prometheus reads: `test_metrics.py`."""

import asyncio
from dataclasses import replace

from structlog.contextvars import bound_contextvars
from structlog.testing import capture_logs

from sidecar.core.events import Event, EventName
from sidecar.runtime.telemetry import Telemetry
from tests.fakes.state import FakeState

LOADED = Event(
    name=EventName.MODEL_LOADED,
    model="m",
    server="serving",
    seconds=1.23456,
    detail={"load_s": 1.0, "v": "1"},
)
FAILED = Event(name=EventName.LOAD_FAILED, model="m", detail={"reason": "no"})


async def test_an_event_is_logged_counted_and_kept() -> None:
    state = FakeState()
    telemetry = Telemetry(state)

    with capture_logs() as logs:
        await telemetry.record(LOADED)
        await telemetry.record(FAILED)

    assert logs == [
        {
            "event": "model_loaded",
            "log_level": "info",
            "model": "m",
            "server": "serving",
            "seconds": 1.2346,
            "load_s": 1.0,
            "v": "1",
        },
        {"event": "load_failed", "log_level": "warning", "model": "m", "reason": "no"},
    ]
    assert [event.name for event in state.events] == [LOADED.name, FAILED.name]
    value = telemetry.registry.get_sample_value
    assert value("pilotlight_events_total", {"event": "model_loaded"}) == 1
    assert value("pilotlight_load_seconds_sum", {"phase": "load"}) == 1.0


async def test_an_audit_row_that_cannot_be_written_is_told_and_stops_nothing() -> None:
    state = FakeState()
    state.problem = "disk full"

    with capture_logs() as logs:
        await Telemetry(state).record(LOADED)

    assert [entry["event"] for entry in logs] == ["model_loaded", "audit_row_lost"]
    assert logs[-1]["reason"] == "disk full"


async def test_what_is_bound_to_the_request_is_on_log_line_and_audit_row() -> None:
    """The event's own word wins: an operation keeps the actor that it was accepted from."""
    state = FakeState()

    with capture_logs() as logs, bound_contextvars(request_id="r1", actor="ann"):
        await Telemetry(state).record(FAILED)
        await Telemetry(state).record(replace(FAILED, detail={"actor": "bob"}))

    assert [(line["request_id"], line["actor"]) for line in logs] == [("r1", "ann"), ("r1", "bob")]
    assert [event.detail for event in state.events] == [
        {"reason": "no", "request_id": "r1", "actor": "ann"},
        {"request_id": "r1", "actor": "bob"},
    ]


async def test_who_waits_wakes_for_newer_entries_only() -> None:
    telemetry = Telemetry(FakeState())
    await telemetry.record(LOADED)
    assert await telemetry.wait_beyond(0)

    waiting = asyncio.create_task(telemetry.wait_beyond(2))
    await telemetry.record(LOADED)
    await asyncio.sleep(0)
    assert not waiting.done()
    await telemetry.record(LOADED)
    assert await asyncio.wait_for(waiting, 30)


async def test_who_waits_is_sent_home_at_the_end() -> None:
    telemetry = Telemetry(FakeState())
    waiting = asyncio.create_task(telemetry.wait_beyond(0))
    await asyncio.sleep(0)
    telemetry.close()
    assert not await asyncio.wait_for(waiting, 30)
