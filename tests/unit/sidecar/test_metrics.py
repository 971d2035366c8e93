"""What Prometheus reads, scraped as it scrapes: through the registry."""

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.core.events import Event, EventDetail, EventName
from sidecar.core.memory import Reading
from sidecar.runtime.gauges import NAMED_MODELS
from sidecar.runtime.telemetry import Telemetry
from tests.builders import (
    MIB,
    NOW_S,
    POLICY,
    asked_at,
    holding,
    kept,
    model,
    quarantine,
    server,
    snapshot,
)
from tests.fakes.state import FakeState


def scraped(telemetry: Telemetry, name: str) -> dict[tuple[str, ...], float]:
    """Values of one metric by the values of its labels, sorted by the labels' names."""
    text = generate_latest(telemetry.registry).decode()
    return {
        tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name
    }


def after(*events: Event, begins_at_s: float = NOW_S, every_s: float = 1.0) -> Telemetry:
    telemetry = Telemetry(FakeState())
    for number, event in enumerate(events):
        telemetry.counts.happened(event, begins_at_s + number * every_s)
    return telemetry


def event(name: EventName, *, seconds: float | None = None, **detail: EventDetail) -> Event:
    return Event(name=name, model="m", server="serving", seconds=seconds, detail=detail)


def test_before_the_first_look_nothing_is_said_of_models() -> None:
    assert scraped(Telemetry(FakeState()), "pilotlight_ready") == {}


def test_models_have_a_state_and_readiness_follows_the_hot_ones() -> None:
    telemetry = Telemetry(FakeState())
    hot, cold = model("hot", tier="hot"), model("cold")

    telemetry.show(snapshot(hot, cold, recorded={"hot": 1}), POLICY, 0.01)
    assert scraped(telemetry, "pilotlight_ready") == {(): 0}
    assert scraped(telemetry, "pilotlight_model_state") == {
        ("hot", "disk", "1"): 1,
        ("cold", "disk", ""): 1,
    }

    telemetry.show(snapshot(hot, cold, serving=holding(hot, 1), recorded={"hot": 1}), POLICY, 0.01)
    assert scraped(telemetry, "pilotlight_ready") == {(): 1}
    assert scraped(telemetry, "pilotlight_model_state") == {
        ("hot", "warmed", "1"): 1,
        ("cold", "disk", ""): 1,
    }
    counts = scraped(telemetry, "pilotlight_models")
    assert {warmth: count for warmth, count in counts.items() if count} == {
        ("disk",): 1,
        ("warmed",): 1,
    }
    assert scraped(telemetry, "pilotlight_reconcile_seconds_count") == {(): 2}


def test_a_large_fleet_is_named_up_to_a_bound_hot_and_most_asked_first() -> None:
    telemetry = Telemetry(FakeState())
    hot, busy = model("z_hot", tier="hot"), model("z_busy")
    idle = [model(f"idle_{number}") for number in range(NAMED_MODELS)]

    asked = snapshot(hot, busy, *idle, demand={"z_busy": asked_at(NOW_S)}, cached={"idle_1"})
    telemetry.show(asked, POLICY, 0.01)

    states = scraped(telemetry, "pilotlight_model_state")
    named = {name for name, _, _ in states} - {"other"}
    assert len(named) == NAMED_MODELS
    assert {"z_hot", "z_busy"} <= named
    assert sum(states.values()) == NAMED_MODELS + 2
    assert {key for key in states if key[0] == "other"} <= {
        ("other", "disk", ""),
        ("other", "page_cache", ""),
    }


def test_the_ledger_is_shown_by_device_and_kind() -> None:
    telemetry = Telemetry(FakeState())
    m = model("m", disk_bytes=100 * MIB)
    reading = Reading(
        capacity_bytes=1000 * MIB, used_bytes=150 * MIB, server_bytes=140 * MIB, by_model={}
    )

    telemetry.show(
        snapshot(
            m,
            serving=server(holding(m, 1)),
            recorded={"m": 1},
            kept=kept("m"),
            readings={"cpu": reading},
        ),
        POLICY,
        0.01,
    )

    assert scraped(telemetry, "pilotlight_ledger_bytes") == {
        ("cpu", "budget"): 900 * MIB,
        ("cpu", "held"): 100 * MIB,
        ("cpu", "reserved"): 0,
        ("cpu", "leaving"): 0,
        ("cpu", "foreign"): 50 * MIB,
        ("cpu", "free"): 750 * MIB,
    }
    assert scraped(telemetry, "pilotlight_ledger_error_bytes") == {("cpu",): 40 * MIB}


def test_what_is_in_quarantine_is_counted() -> None:
    telemetry = Telemetry(FakeState())
    telemetry.show(snapshot(model("m"), quarantine={"m": quarantine()}), POLICY, 0.01)
    assert scraped(telemetry, "pilotlight_quarantined_models") == {(): 1}


def test_a_load_is_timed_by_what_took_the_time() -> None:
    loaded = event(EventName.MODEL_LOADED, seconds=3.0, load_s=1.5, warm_up_s=0.5, verify_s=0.1)
    telemetry = after(loaded)
    assert scraped(telemetry, "pilotlight_load_seconds_sum") == {
        ("load",): 1.5,
        ("warmup",): 0.5,
        ("verify",): 0.1,
    }


def test_an_unload_is_timed() -> None:
    telemetry = after(event(EventName.MODEL_UNLOADED, seconds=0.25))
    assert scraped(telemetry, "pilotlight_unload_seconds_sum") == {(): 0.25}


def test_evictions_are_counted_by_what_they_were_for() -> None:
    telemetry = after(
        event(EventName.MODEL_EVICTED, needed_bytes=1, freed_bytes=2),
        event(EventName.MODEL_EVICTED, score=1.0, score_of_other=3.0),
        event(EventName.MODEL_EVICTED, budget_bytes=1, foreign_bytes=2),
        event(EventName.MODEL_LET_GO, idle_s=9.0),
    )
    assert scraped(telemetry, "pilotlight_evictions_total") == {
        ("demand",): 1,
        ("prewarm",): 1,
        ("budget",): 1,
    }


def test_a_load_soon_after_an_eviction_is_churn() -> None:
    evicted, loaded = event(EventName.MODEL_EVICTED), event(EventName.MODEL_LOADED)
    soon = after(evicted, loaded, loaded, every_s=59.0)
    late = after(evicted, loaded, every_s=60.0)
    assert scraped(soon, "pilotlight_churn_total") == {(): 1}
    assert scraped(late, "pilotlight_churn_total") == {(): 0}


def test_a_model_loaded_ahead_is_used_by_its_first_request_after_that() -> None:
    telemetry = after(event(EventName.MODEL_KEPT, score=9.0))
    for asked_s in (NOW_S - 1, NOW_S + 1, NOW_S + 2):
        look = snapshot(model("m"), kept=kept("m", since_s=NOW_S), demand={"m": asked_at(asked_s)})
        telemetry.show(look, POLICY, 0.01)
    assert scraped(telemetry, "pilotlight_prewarm_total") == {("used",): 1}


def test_a_model_loaded_ahead_is_wasted_when_it_goes_before_any_request() -> None:
    telemetry = after(
        event(EventName.MODEL_KEPT, score=9.0),
        event(EventName.MODEL_LET_GO),
        event(EventName.MODEL_KEPT),
        event(EventName.MODEL_LET_GO),
    )
    assert scraped(telemetry, "pilotlight_prewarm_total") == {("wasted",): 1}


def test_drift_is_counted_by_kind() -> None:
    telemetry = after(event(EventName.DRIFT, kind="unloaded", versions="1"))
    assert scraped(telemetry, "pilotlight_drift_total") == {("unloaded",): 1}


def test_waits_are_timed_by_how_they_ended() -> None:
    telemetry = Telemetry(FakeState())
    telemetry.counts.waited(1.5, "cold")
    telemetry.counts.waited(0.5, "joined")
    assert scraped(telemetry, "pilotlight_cold_wait_seconds_sum") == {
        ("cold",): 1.5,
        ("joined",): 0.5,
    }
