"""What Prometheus reads, scraped as it scrapes: through the registry."""

import asyncio
import time
from dataclasses import replace

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.core.events import Event, EventDetail, EventName
from sidecar.core.fleet import Mode, Rejection
from sidecar.core.memory import Reading
from sidecar.core.release import ReleaseState, moved
from sidecar.core.traffic import Answered, Traffic
from sidecar.core.verdict import Evidence, Ruling
from sidecar.runtime.activate import Waiting
from sidecar.runtime.gateway_gauges import GatewayGauges
from sidecar.runtime.named import NAMED_MODELS
from sidecar.runtime.route import Router
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
    release,
    server,
    snapshot,
)
from tests.fakes.gateway import OWN
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


def counted(telemetry: Telemetry, name: str) -> dict[tuple[str, ...], float]:
    """As `scraped`, without what did not happen."""
    return {labels: value for labels, value in scraped(telemetry, name).items() if value}


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
    assert counted(telemetry, "pilotlight_models") == {("cold", "disk"): 1, ("hot", "warmed"): 1}
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
        ("cpu", "capacity"): 1000 * MIB,
    }
    assert scraped(telemetry, "pilotlight_ledger_error_bytes") == {("cpu",): 40 * MIB}


def test_what_is_in_quarantine_now_is_counted_and_named() -> None:
    telemetry = Telemetry(FakeState())
    rests = quarantine(at_s=time.time(), times=2)
    over = quarantine(at_s=NOW_S)
    telemetry.show(snapshot(model("m"), model("n"), quarantine={"m": rests, "n": over}), POLICY, 0)
    assert scraped(telemetry, "pilotlight_quarantined_models") == {(): 1}
    assert scraped(telemetry, "pilotlight_model_quarantined") == {("m",): 2}


def test_hot_models_that_do_not_answer_are_named() -> None:
    telemetry = Telemetry(FakeState())
    hot, late, cold = model("hot", tier="hot"), model("late", tier="hot"), model("cold")

    telemetry.show(snapshot(hot, late, cold, serving=holding(hot, 1)), POLICY, 0)
    assert scraped(telemetry, "pilotlight_hot_model_missing") == {("late",): 1}

    telemetry.show(snapshot(hot, serving=replace(holding(hot, 1), problem="gone")), POLICY, 0)
    assert scraped(telemetry, "pilotlight_hot_model_missing") == {("hot",): 1}


def test_what_the_sidecar_cannot_do_without_is_up_or_not() -> None:
    telemetry = Telemetry(FakeState())
    telemetry.show(
        snapshot(
            canary=server(problem="no answer"),
            store_problems=["model m: no manifest"],
            meter_problem="no /proc",
            mode=Mode.PAUSED,
            troubles={"state": "disk full"},
        ),
        POLICY,
        0,
    )
    assert scraped(telemetry, "pilotlight_server_up") == {("serving",): 1, ("canary",): 0}
    assert scraped(telemetry, "pilotlight_store_problems") == {(): 1}
    assert scraped(telemetry, "pilotlight_meter_up") == {(): 0}
    assert counted(telemetry, "pilotlight_mode") == {("paused",): 1}
    assert scraped(telemetry, "pilotlight_check_ok") == {("stage serving",): 1, ("state",): 0}


def test_the_last_cycle_that_ended_well_has_a_time() -> None:
    telemetry = Telemetry(FakeState())
    assert scraped(telemetry, "pilotlight_last_cycle_timestamp_seconds") == {(): 0}
    before_s = time.time()
    telemetry.show(snapshot(), POLICY, 0)
    (at_s,) = scraped(telemetry, "pilotlight_last_cycle_timestamp_seconds").values()
    assert before_s <= at_s <= time.time()


def test_requests_and_held_memory_are_told_by_model_and_the_rest_together() -> None:
    telemetry = Telemetry(FakeState())
    hot = [model(f"hot_{number}", tier="hot") for number in range(NAMED_MODELS - 1)]
    busy, quiet = model("busy", disk_bytes=3 * MIB), model("quiet", disk_bytes=5 * MIB)
    telemetry.show(
        snapshot(
            *hot,
            busy,
            quiet,
            serving=server(holding(busy, 1), holding(quiet, 1)),
            canary=holding(busy, 1),
            recorded={"busy": 1, "quiet": 1},
            kept=kept("busy", "quiet"),
            demand={"busy": asked_at(NOW_S - 1, NOW_S)},
        ),
        replace(POLICY, budgets={"cpu": 100 * MIB}),
        0,
    )
    assert scraped(telemetry, "pilotlight_model_requests_total") == {("busy",): 2}
    assert scraped(telemetry, "pilotlight_model_held_bytes") == {
        ("cpu", "busy"): 3 * MIB,
        ("cpu", "other"): 5 * MIB,
    }


def test_releases_are_counted_by_state_and_those_that_go_on_say_since_when() -> None:
    telemetry = Telemetry(FakeState())
    asking = release(ReleaseState.AWAITING, of="m")
    paused = release(ReleaseState.SOAKING, of="n", paused_by="ann")
    done = release(ReleaseState.DONE, of="o", at_s=NOW_S + 5)
    rejected = {("o", 1): Rejection(at_s=NOW_S, release="o.1", reason="slower")}
    telemetry.show(snapshot(releases=[asking, paused, done], rejected=rejected), POLICY, 0)

    assert counted(telemetry, "pilotlight_releases") == {
        ("awaiting",): 1,
        ("paused",): 1,
        ("done",): 1,
    }
    assert scraped(telemetry, "pilotlight_release_entered_timestamp_seconds") == {
        ("m", "awaiting", "2"): NOW_S,
        ("n", "paused", "2"): NOW_S,
        ("o", "done", "2"): NOW_S + 5,
    }
    assert scraped(telemetry, "pilotlight_rejected_versions") == {(): 1}


def test_steps_of_a_release_are_timed_its_checks_and_its_end_counted() -> None:
    telemetry = Telemetry(FakeState())
    found = release(ReleaseState.ADMITTED)
    evidence = (
        Evidence(check="batch 1", ruling=Ruling.PASS, note="as quick"),
        Evidence(check="outputs", ruling=Ruling.FAIL, note="others"),
    )
    telemetry.counts.happened(moved(found), NOW_S)
    found = found.entered(ReleaseState.CANARY_LOADING, at_s=NOW_S, note="")
    telemetry.counts.happened(moved(found), NOW_S + 2)
    telemetry.counts.happened(moved(found.remarked(at_s=NOW_S, note="paused")), NOW_S + 3)
    found = found.entered(ReleaseState.REFUSED, at_s=NOW_S, note="", evidence=evidence)
    telemetry.counts.happened(moved(found), NOW_S + 12)

    assert counted(telemetry, "pilotlight_release_step_seconds_sum") == {
        ("admitted",): 2,
        ("canary_loading",): 10,
    }
    assert counted(telemetry, "pilotlight_release_step_seconds_count") == {
        ("admitted",): 1,
        ("canary_loading",): 1,
    }
    assert counted(telemetry, "pilotlight_releases_ended_total") == {("refused",): 1}
    assert counted(telemetry, "pilotlight_release_checks_total") == {("pass",): 1, ("fail",): 1}


def test_a_step_that_began_before_this_process_is_not_timed() -> None:
    telemetry = Telemetry(FakeState())
    telemetry.counts.happened(moved(release(ReleaseState.REFUSED)), NOW_S)
    assert counted(telemetry, "pilotlight_release_step_seconds_count") == {}
    assert counted(telemetry, "pilotlight_releases_ended_total") == {("refused",): 1}


def test_the_time_at_rest_between_an_end_and_a_rollback_is_no_step() -> None:
    telemetry = Telemetry(FakeState())
    found = release(ReleaseState.DONE)
    telemetry.counts.happened(moved(found), NOW_S)
    found = found.entered(ReleaseState.RESTORING, at_s=NOW_S, note="")
    telemetry.counts.happened(moved(found), NOW_S + 3600)
    assert counted(telemetry, "pilotlight_release_step_seconds_count") == {}


def test_of_many_releases_those_that_go_on_are_named_first() -> None:
    telemetry = Telemetry(FakeState())
    over = [
        release(ReleaseState.DONE, of=f"m{number}", at_s=NOW_S + 1 + number)
        for number in range(NAMED_MODELS)
    ]
    telemetry.show(snapshot(releases=[release(ReleaseState.SOAKING), *over]), POLICY, 0)
    named = scraped(telemetry, "pilotlight_release_entered_timestamp_seconds")
    assert len(named) == NAMED_MODELS
    assert ("m", "soaking", "2") in named
    assert ("m0", "done", "2") not in named


def test_what_the_gateway_counts_is_told_by_code_and_by_model() -> None:
    telemetry = Telemetry(FakeState())
    answers = {
        Answered(version=None, code="200", outcome="hit"): 5,
        Answered(version=2, code="200", outcome="hit"): 2,
        Answered(version=None, code="grpc:0", outcome="cold"): 1,
        Answered(version=None, code="grpc:14", outcome="hit"): 3,
        Answered(version=None, code="503", outcome="refused"): 4,
    }
    traffic = {
        "m": Traffic(answers=answers, p50_ms=2.0, p99_ms=9.0),
        "gone": Traffic(answers={Answered(version=None, code="200", outcome="hit"): 1}),
    }
    telemetry.show(snapshot(model("m"), traffic=traffic), POLICY, 0)

    assert scraped(telemetry, "pilotlight_gateway_requests_total") == {
        ("200", "hit", "http"): 8,
        ("0", "cold", "grpc"): 1,
        ("14", "hit", "grpc"): 3,
        ("503", "refused", "http"): 4,
    }
    assert scraped(telemetry, "pilotlight_gateway_failures_total") == {(): 3}
    assert scraped(telemetry, "pilotlight_gateway_model_requests_total") == {
        ("m", "hit"): 7,
        ("m", "cold"): 1,
        ("m", "failed"): 3,
        ("m", "refused"): 4,
    }
    assert scraped(telemetry, "pilotlight_gateway_model_latency_seconds") == {
        ("m", "0.5"): 0.002,
        ("m", "0.99"): 0.009,
    }


def test_what_can_be_counted_begins_at_zero_so_that_its_first_time_is_seen() -> None:
    telemetry = Telemetry(FakeState())
    assert set(scraped(telemetry, "pilotlight_events_total")) == {(name,) for name in EventName}
    assert scraped(telemetry, "pilotlight_load_failures_total") == {("serving",): 0, ("canary",): 0}


def test_loads_that_fail_are_counted_by_server() -> None:
    telemetry = after(event(EventName.LOAD_FAILED, seconds=1.0, reason="no"))
    assert counted(telemetry, "pilotlight_load_failures_total") == {("serving",): 1}


def test_bytes_that_are_read_ahead_are_added_up() -> None:
    telemetry = after(
        event(EventName.FILES_READ_AHEAD, bytes=3), event(EventName.FILES_READ_AHEAD, bytes=4)
    )
    assert scraped(telemetry, "pilotlight_read_ahead_bytes_total") == {(): 7}


async def test_an_audit_row_that_is_lost_is_counted() -> None:
    state = FakeState()
    telemetry = Telemetry(state)
    state.problem = "disk full"
    await telemetry.record(event(EventName.DRIFT, kind="loaded"))
    assert scraped(telemetry, "pilotlight_audit_rows_lost_total") == {(): 1}


def test_a_load_is_timed_by_what_took_the_time() -> None:
    loaded = event(EventName.MODEL_LOADED, seconds=3.0, load_s=1.5, warm_up_s=0.5, verify_s=0.1)
    telemetry = after(loaded)
    assert counted(telemetry, "pilotlight_load_seconds_sum") == {
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
    assert counted(telemetry, "pilotlight_evictions_total") == {
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
    assert counted(telemetry, "pilotlight_prewarm_total") == {("used",): 1}


def test_a_model_loaded_ahead_is_wasted_when_it_goes_before_any_request() -> None:
    telemetry = after(
        event(EventName.MODEL_KEPT, score=9.0),
        event(EventName.MODEL_LET_GO),
        event(EventName.MODEL_KEPT),
        event(EventName.MODEL_LET_GO),
    )
    assert counted(telemetry, "pilotlight_prewarm_total") == {("wasted",): 1}


def test_drift_is_counted_by_kind() -> None:
    telemetry = after(event(EventName.DRIFT, kind="unloaded", versions="1"))
    assert counted(telemetry, "pilotlight_drift_total") == {("unloaded",): 1}


def test_waits_are_timed_by_how_they_ended() -> None:
    telemetry = Telemetry(FakeState())
    telemetry.counts.waited(1.5, "cold")
    telemetry.counts.waited(0.5, "joined")
    assert counted(telemetry, "pilotlight_cold_wait_seconds_sum") == {
        ("cold",): 1.5,
        ("joined",): 0.5,
    }


async def test_who_waits_longest_for_a_load_is_told() -> None:
    telemetry, waiting = Telemetry(FakeState()), Waiting()
    telemetry.registry.register(GatewayGauges(Router(None, OWN, telemetry), waiting))
    assert scraped(telemetry, "pilotlight_longest_wait_seconds") == {(): 0}

    first = asyncio.create_task(waiting.wait_for("m", 60))
    await asyncio.sleep(0)
    between_s = time.time()
    second = asyncio.create_task(waiting.wait_for("n", 60))
    await asyncio.sleep(0)
    at_least_s = time.time() - between_s
    (waited_s,) = scraped(telemetry, "pilotlight_longest_wait_seconds").values()
    assert at_least_s < waited_s < 60

    first.cancel()
    second.cancel()
    await asyncio.gather(first, second, return_exceptions=True)
    assert scraped(telemetry, "pilotlight_longest_wait_seconds") == {(): 0}
