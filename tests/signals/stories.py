"""For each alert what makes it fire, and what nearly does; a sample each minute.

Values are written as promtool has them: `0+5x10` begins at 0 and grows by 5 ten times, `stale`
is the end of a series.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

Series = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """At `at` the alert fires with these labels, and `summary` after the instance's name."""

    fires: Series
    quiet: Series
    at: str
    summary: str
    severity: str = "warning"
    labels: Mapping[str, str] = field(default_factory=dict)


def one(name: str, values: str, /, **labels: str) -> Series:
    said = "".join(f', {label}="{value}"' for label, value in labels.items())
    return {f'{name}{{instance="pod"{said}}}': values}


def waits(values: str, le: str = "100", outcome: str = "cold") -> Series:
    return one("pilotlight_cold_wait_seconds_bucket", values, outcome=outcome, le=le) | one(
        "pilotlight_cold_wait_seconds_bucket", values, outcome=outcome, le="+Inf"
    )


def refused(refused: str, cold: str) -> Series:
    name = "pilotlight_cold_wait_seconds_count"
    return one(name, refused, outcome="refused") | one(name, cold, outcome="cold")


def gateway(failures: str, requests: str) -> Series:
    return one("pilotlight_gateway_failures_total", failures) | one(
        "pilotlight_gateway_requests_total", requests, protocol="http", code="200", outcome="hit"
    )


def churned(churn: str, loads: str) -> Series:
    return one("pilotlight_churn_total", churn) | one(
        "pilotlight_load_seconds_count", loads, phase="load"
    )


def ledger(**values: str) -> Series:
    found: dict[str, str] = {}
    for kind, value in values.items():
        found |= one("pilotlight_ledger_bytes", value, device="cpu", kind=kind)
    return found


def entered(values: str, state: str) -> Series:
    name = "pilotlight_release_entered_timestamp_seconds"
    return one(name, values, model="m", version="2", state=state)


def up(server: str, values: str) -> Series:
    return one("pilotlight_server_up", values, server=server)


GIB = 2**30
STORIES: Mapping[str, Story] = {
    "PilotlightNotReady": Story(
        fires=one("pilotlight_ready", "0x10")
        | one("pilotlight_hot_model_missing", "1x10", model="m")
        | one("pilotlight_hot_model_missing", "1x10", model="n"),
        quiet=one("pilotlight_ready", "0 0 1 0 0"),
        at="4m",
        summary="not ready; hot models that do not answer: m n",
        severity="critical",
    ),
    "PilotlightSidecarDown": Story(
        fires=one("up", "1 0 0 0", job="pilotlight"),
        quiet=one("up", "1 0 1 0", job="pilotlight") | one("up", "0x10", job="triton"),
        at="3m",
        summary="the sidecar does not answer; what is loaded goes on, what is not cannot be loaded",
        severity="critical",
        labels={"job": "pilotlight"},
    ),
    "PilotlightServingDown": Story(
        fires=up("serving", "1 0 0 0"),
        quiet=up("serving", "1 0 1 0") | up("canary", "0x10"),
        at="3m",
        summary="the serving Triton does not answer, and requests wait or fail",
        severity="critical",
        labels={"server": "serving"},
    ),
    "PilotlightRequestsFail": Story(
        fires=gateway("0+2x20", "0+100x20"),
        quiet=gateway("0+1x20", "0+100x20"),
        at="20m",
        summary="2% of the requests fail in a server (limit: 1%)",
        severity="critical",
    ),
    "PilotlightRequestsRefused": Story(
        fires=refused("0+2x30", "0+6x30"),
        quiet=refused("0+1x30", "0+9x30"),
        at="30m",
        summary="25% of the requests that wait for a load are refused in the end (limit: 10%)",
    ),
    "PilotlightColdWaitsLong": Story(
        fires=waits("0x30", le="30") | waits("0+6x30"),
        quiet=waits("0+6x30", le="30") | waits("0+60x30", outcome="refused"),
        at="30m",
        summary="one in 20 first requests waits longer than 1m 36s for its model (limit: 30 s)",
    ),
    "PilotlightSidecarStale": Story(
        fires=one("pilotlight_last_cycle_timestamp_seconds", "0 60x10"),
        quiet=one("pilotlight_last_cycle_timestamp_seconds", "0+60x2 120 120 240"),
        at="4m",
        summary="the sidecar answers, but its last cycle ended well 3m 0s ago",
        severity="critical",
    ),
    "PilotlightGatewayDown": Story(
        fires=one("pilotlight_gateway_up", "1 0 0"),
        quiet=one("pilotlight_gateway_up", "0 1 0"),
        at="2m",
        summary="the gateway does not answer, or has rejected its newest routes; models come and "
        "go without it knowing",
        severity="critical",
    ),
    "PilotlightCanaryDown": Story(
        fires=up("canary", "0x20"),
        quiet=up("canary", "0x8 1 0x10") | up("serving", "0x20"),
        at="15m",
        summary="canary does not answer, so no version can be proven, and no model be loaded for "
        "the first time",
        labels={"server": "canary"},
    ),
    "PilotlightLoadsFail": Story(
        fires=one("pilotlight_load_failures_total", "0 0 1 2 3 3x20", server="serving"),
        quiet=one("pilotlight_load_failures_total", "0 0 1 2 2x20", server="serving")
        | one("pilotlight_load_failures_total", "0+5x20", server="canary"),
        at="15m",
        summary="3 loads on the serving server failed within 15 minutes",
        labels={"server": "serving"},
    ),
    "PilotlightModelInQuarantine": Story(
        fires=one("pilotlight_model_quarantined", "2x10", model="m"),
        quiet=one("pilotlight_model_quarantined", "2x3 stale", model="m"),
        at="6m",
        summary="m is not loaded for a while, because that failed too often; set aside 2 times in "
        "a row",
        labels={"model": "m"},
    ),
    "PilotlightModelDoesNotFit": Story(
        fires=one("pilotlight_events_total", "0x5 1x25", event="does_not_fit"),
        quiet=one("pilotlight_events_total", "1x30", event="does_not_fit")
        | one("pilotlight_events_total", "0+1x30", event="model_loaded"),
        at="30m",
        summary="1 times within 30 minutes a model was asked for that has no room, also without "
        "all that may be evicted",
        labels={"event": "does_not_fit"},
    ),
    "PilotlightThrash": Story(
        fires=churned("0+1x90", "0+4x90"),
        quiet=churned("0+1x90", "0+10x90"),
        at="90m",
        summary="25% of the last hour's loads brought back what had been evicted less than a "
        "minute before (limit: 10%)",
    ),
    "PilotlightMemoryOverBudget": Story(
        fires=ledger(free=f"-{GIB}x20", held="0x20"),
        quiet=ledger(free=f"-{GIB}x8 0x12", held="0x20"),
        at="15m",
        summary="on cpu models and others use more than models may have, free: -1GiB",
        labels={"device": "cpu", "kind": "free"},
    ),
    "PilotlightMemoryNearlyFull": Story(
        fires=ledger(
            held="50x20", reserved="10x20", leaving="6x20", foreign="30x20", capacity="100x20"
        ),
        quiet=ledger(held="65x20", foreign="30x20", free="99x20", capacity="100x20"),
        at="10m",
        summary="cpu is 96% full (limit: 95%)",
        labels={"device": "cpu"},
    ),
    "PilotlightLedgerDrift": Story(
        fires=one("pilotlight_ledger_error_bytes", "-20x60", device="cpu")
        | ledger(budget="100x60"),
        quiet=one("pilotlight_ledger_error_bytes", "-10x60", device="cpu")
        | ledger(budget="100x60", held="1x60"),
        at="40m",
        summary="what is measured on cpu and what models are thought to hold differ by 20% of the "
        "budget (limit: 10%)",
        labels={"device": "cpu"},
    ),
    "PilotlightMeterFailed": Story(
        fires=one("pilotlight_meter_up", "0x20"),
        quiet=one("pilotlight_meter_up", "0x10 1x10"),
        at="20m",
        summary="memory has not been measured for 15 minutes; the last figures are used",
    ),
    "PilotlightReleaseStuck": Story(
        fires=entered("60x30", "canary_loading"),
        quiet=entered("60x30", "soaking") | entered("1140x30", "promoting"),
        at="20m",
        summary="the release of m 2 has been canary_loading for 19m 0s (limit: 15 min)",
        labels={"model": "m", "version": "2", "state": "canary_loading"},
    ),
    "PilotlightReleaseAwaitsPerson": Story(
        fires=entered("60x90", "awaiting"),
        quiet=entered("1260x90", "awaiting") | entered("60x90", "soaking"),
        at="50m",
        summary="the release of m 2 is awaiting since 49m 0s, until a person decides",
        severity="info",
        labels={"model": "m", "version": "2", "state": "awaiting"},
    ),
    "PilotlightReleaseFailed": Story(
        fires=one("pilotlight_releases_ended_total", "0x5 1x10", outcome="refused"),
        quiet=one("pilotlight_releases_ended_total", "1x15", outcome="rolled_back")
        | one("pilotlight_releases_ended_total", "0+1x15", outcome="done"),
        at="15m",
        summary="1 releases were refused within 15 minutes",
        labels={"outcome": "refused"},
    ),
    "PilotlightStoreDamaged": Story(
        fires=one("pilotlight_store_problems", "2x20"),
        quiet=one("pilotlight_store_problems", "2x9 0 2x10"),
        at="15m",
        summary="2 things in the model repository cannot be read",
    ),
    "PilotlightCheckFails": Story(
        fires=one("pilotlight_check_ok", "0x20", check="state"),
        quiet=one("pilotlight_check_ok", "0x8 1 0x10", check="state")
        | one("pilotlight_check_ok", "0x20", check="gateway"),
        at="15m",
        summary="state is not as it should be; `pilotlight doctor` says what to do",
        labels={"check": "state"},
    ),
    "PilotlightDrift": Story(
        fires=one("pilotlight_drift_total", "0x5 2x10", kind="unloaded"),
        quiet=one("pilotlight_drift_total", "2x15", kind="unloaded"),
        at="15m",
        summary="somebody else unloaded models on the serving server, 2 times within 15 minutes",
        labels={"kind": "unloaded"},
    ),
    "PilotlightRecordsLost": Story(
        fires=one("pilotlight_audit_rows_lost_total", "0x5 4x10"),
        quiet=one("pilotlight_audit_rows_lost_total", "4x15"),
        at="15m",
        summary="4 events within 15 minutes are not in the audit, because it cannot be written",
    ),
    "PilotlightPaused": Story(
        fires=one("pilotlight_mode", "1x90", mode="paused")
        | one("pilotlight_mode", "0x90", mode="running"),
        quiet=one("pilotlight_mode", "1x90", mode="running")
        | one("pilotlight_mode", "0x90", mode="paused"),
        at="70m",
        summary="paused for more than an hour; nothing is loaded, evicted or released",
        severity="info",
        labels={"mode": "paused"},
    ),
}
