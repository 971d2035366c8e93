"""Answers of the API as people read them, at a fixed width."""

import io
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from rich.console import Console, RenderableType

from pilotlight.views import words
from pilotlight.views.devices import memory_bars
from pilotlight.views.entries import event_line
from pilotlight.views.explanation import explanation_view, load_sentence
from pilotlight.views.models import control_line, model_table, spec_view
from pilotlight.views.plans import plan_view, what_if_view
from pilotlight.views.status import Status
from pilotlight.views.traffic import gateway_view, traffic_view

WIDTH = 120
GIB = 2**30
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
ALL_WELL = {
    "devices": {"devices": [], "advice": []},
    "control": {"mode": "running", "since": None, "actor": None, "profile": "production"},
    "readiness": {"ready": True, "missing": []},
    "gateway": None,
}


def lines(view: RenderableType, width: int = WIDTH) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def model(name: str = "m", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "tier": "auto",
        "pin": False,
        "priority": 0,
        "warmth": "warmed",
        "ready_versions": [1],
        "rejected_versions": {},
        "pending_version": None,
        "requests_per_hour": 0.0,
        "last_request_at": None,
        "held_bytes": GIB,
        "score": 2.0,
        "reason": "loaded, warmed and probed",
        **changes,
    }


def cold(name: str, **changes: Any) -> dict[str, Any]:
    said = {"ready_versions": [], "held_bytes": 0, "reason": "not asked for yet", **changes}
    return model(name, warmth="disk", **said)


def device(**changes: Any) -> dict[str, Any]:
    """Ten GiB for models, all of them free."""
    return {
        "device": "cpu",
        "budget_bytes": 10 * GIB,
        "held_bytes": 0,
        "reserved_bytes": 0,
        "leaving_bytes": 0,
        "free_bytes": 10 * GIB,
        "holders": [],
        **changes,
    }


def explanation(**changes: Any) -> dict[str, Any]:
    """A model that somebody asks for at times, and that is loaded."""
    return {
        "model": model(score=4.2, pin=True, priority=1),
        "ranking": "value",
        "price": 3.0,
        "stays_because": None,
        "demand": {
            "requests": 40,
            "first_at": "2026-01-01T12:00:00Z",
            "last_at": "2026-01-02T11:59:15Z",
            "per_hour": {"1m": 0.0, "1h": 2.5},
            "expected_per_hour": 2.25,
            "next_at": "2026-01-02T12:20:00Z",
            "by_hour": [0] * 22 + [5, 10],
        },
        "cost": {
            "version": 3,
            "loads": 7,
            "reload": {"read_s": 1.5, "load_s": 2.0, "warm_up_s": 0.5, "seconds": 4.0},
            "acceptable_s": 1.0,
            "counted_s": 3.0,
            "needed": [{"device": "gpu:0", "bytes": GIB, "basis": "learned"}],
            "held": [{"device": "gpu:0", "bytes": 2 * GIB, "basis": "measured"}],
        },
        "idle": {
            "timeout_s": 1800.0,
            "let_go_at": "2026-01-02T12:29:15Z",
            "break_even_per_hour": 2.0,
            "forecast": {"cold_starts_per_hour": 0.5, "held_share": 0.75},
            "advice": "better left to the idle timeout",
        },
        "load": None,
        "quarantine": None,
        "curves": [],
        **changes,
    }


def gateway(**changes: Any) -> dict[str, Any]:
    """One replica, and five requests that wait."""
    replica = {"name": "own", "http": "triton:8000", "grpc": "triton:8001", "joined": True}
    return {
        "http": "0.0.0.0:8000",
        "grpc": "0.0.0.0:8001",
        "routed": True,
        "problem": None,
        "replicas": [{**replica, "models": 2}],
        "routed_models": 2,
        "requests": 120,
        "by_outcome": {"cold": 1, "hit": 119},
        "open_streams": 3,
        "waiting": {"a": 4, "b": 1},
        **changes,
    }


def steered(
    said: Mapping[str, Any],
    effective: Mapping[str, Any] | None,
    more: Mapping[str, Any] = MappingProxyType({}),
    **counts: int,
) -> list[str]:
    """Of a model; `v1=3` are requests that met version 1, `unnamed` those without a version."""
    nothing = {"weights": {}, "sticky_header": None, "mirror": 0, "sample": 0}
    versions = [
        {
            "version": None if name == "unnamed" else int(name[1:]),
            "requests": count,
            "percentage": 100 * count / sum(counts.values()),
        }
        for name, count in counts.items()
    ]
    body = {
        "model": "m",
        "said": nothing | dict(said),
        "effective": None if effective is None else nothing | dict(effective),
        "not_loaded": [],
        "versions": versions,
        "comparison": None,
    }
    return lines(traffic_view(body | dict(more)))


def explained(**changes: Any) -> list[str]:
    return lines(explanation_view(explanation(**changes), now=NOW))


def load(*victims: str, **changes: Any) -> dict[str, Any]:
    evicted = [{"model": name, "freed_bytes": GIB, "score": 0.25} for name in victims]
    return {"victims": evicted, "blocked": None, "on_cpu": False, **changes}


def outlook(held: Mapping[str, str], left_out: Mapping[str, str], budget: int) -> dict[str, Any]:
    """Reasons by model; each one needs 1 GiB and saves half a second per hour."""

    def choices(reasons: Mapping[str, str]) -> list[dict[str, Any]]:
        costs = {"needed": {"cpu": GIB}, "score": 0.5, "cold_start_s_per_hour": 0.5}
        return [{"model": name, "reason": reason, **costs} for name, reason in reasons.items()]

    return {
        "held": choices(held),
        "left_out": choices(left_out),
        "devices": [
            {
                "device": "cpu",
                "budget_bytes": budget,
                "held_bytes": len(held) * GIB,
                "one_more_gib_saves_s_per_hour": 0.5 * bool(left_out),
            }
        ],
        "cold_start_s_per_hour": 0.5 * len(left_out),
        "too_small": [],
    }


def test_warm_models_come_first_and_then_those_that_are_asked_for_most() -> None:
    asked = model("asked", requests_per_hour=1250.0, last_request_at="2026-01-02T11:59:00Z")
    pinned = model("pinned", tier="warm", pin=True, priority=2, ready_versions=[1, 2])
    rare = cold("rare", requests_per_hour=0.25, last_request_at="2025-12-31T12:00:00Z")

    assert lines(model_table([cold("never"), rare, pinned, asked], limit=None, now=NOW)) == [
        "model   tier         warmth  serves   asked    holds  idle  why",
        "asked   auto         warmed  1       1250/h  1.0 GiB  60 s  loaded, warmed and probed",
        "pinned  warm pin +2  warmed  1, 2       0/h  1.0 GiB     -  loaded, warmed and probed",
        "rare    auto         disk    -       0.25/h        -   2 d  not asked for yet",
        "never   auto         disk    -          0/h        -     -  not asked for yet",
        "2 warmed, 2 disk",
    ]


def test_of_two_hundred_models_each_takes_one_line() -> None:
    reason = "in quarantine: Internal: failed to load, " + "because of something " * 9
    models = [cold(f"model_{number:03}", reason=reason, pin=True) for number in range(200)]

    shown = lines(model_table(models, limit=None, now=NOW), width=80)

    assert (
        shown[1]
        == "model_000  auto pin  disk    -         0/h      -     -  in quarantine: Interna…"
    )
    assert len(shown) == 202


def test_what_the_limit_leaves_out_is_counted() -> None:
    models = [model("m"), *(cold(f"c{number}") for number in range(9))]

    shown = lines(model_table(models, limit=2, now=NOW))

    assert [line.split()[0] for line in shown] == ["model", "m", "c0", "1"]
    assert shown[-1] == "1 warmed, 9 disk; 8 not shown"


def test_the_bar_of_a_device_shows_who_has_its_memory() -> None:
    busy = device(held_bytes=5 * GIB, reserved_bytes=GIB, leaving_bytes=GIB, free_bytes=2 * GIB)

    assert lines(memory_bars([busy, device(device="gpu:0")]), width=140) == [
        f"cpu    {'█' * 16}{'▓' * 3}{'▒' * 3}{'░' * 4}{'·' * 6}  2.0 GiB free of 10.0 GiB"
        "  █ held 5.0 GiB  ▓ loading 1.0 GiB  ▒ leaving 1.0 GiB  ░ others 1.0 GiB",
        f"gpu:0  {'·' * 32}  10.0 GiB free of 10.0 GiB",
    ]


def test_a_device_that_holds_too_much_says_how_much() -> None:
    over = device(held_bytes=12 * GIB, free_bytes=-2 * GIB)

    assert lines(memory_bars([over])) == [
        f"cpu  {'█' * 32}  2.0 GiB too much of 10.0 GiB  █ held 12.0 GiB"
    ]


def test_status_ends_with_what_is_amiss() -> None:
    status = Status(
        models=[],
        devices={"devices": [device()], "advice": ["one more GiB would save about 3 s"]},
        control={
            "mode": "paused",
            "since": "2026-01-02T11:00:00.123456Z",
            "actor": "ann",
            "profile": "production",
        },
        readiness={"ready": False, "missing": ["m: loading", "n: loading"]},
        gateway=gateway(),
        now=NOW,
    )

    assert lines(status.view(limit=None))[1:] == [
        "no model",
        f"cpu  {'·' * 32}  10.0 GiB free of 10.0 GiB",
        "advice: one more GiB would save about 3 s",
        "gateway HTTP 0.0.0.0:8000, gRPC 0.0.0.0:8001: 2 models routed, 5 requests waiting; "
        "routes in force",
        "paused since 2026-01-02 11:00:00Z, asked for by ann; profile production",
        "not ready: m: loading; n: loading",
    ]


def test_a_rejected_version_is_told_with_its_reason_and_how_to_clear_it() -> None:
    rejected = model(rejected_versions={"2": "slower", "3": "it leaks"})

    told = lines(model_table([rejected], limit=None, now=NOW))[1]
    found = explained(model=rejected)

    assert told.endswith("loaded, warmed and probed; rejected: version 2, 3")
    assert found[1:3] == [
        "rejected    version 2: slower; `pilotlight unreject m 2` lets it be released again",
        "rejected    version 3: it leaks; `pilotlight unreject m 3` lets it be released again",
    ]


def test_a_version_that_nobody_has_released_is_told_with_the_command_that_does() -> None:
    pending = model(pending_version=3, rejected_versions={"2": "slower"})

    told = lines(Status(models=[pending, model("n")], now=NOW, **ALL_WELL).view(limit=None))

    assert "probed; not released: version 3; rejected:" in told[1]
    assert told[-2:] == [
        "nobody has released version 3 of m: pilotlight release m 3",
        "ready",
    ]
    assert explained(model=pending)[1] == "newer       version 3; `pilotlight release m 3`"


def test_models_with_a_newer_version_are_counted_also_those_that_are_not_shown() -> None:
    models = [model(f"m{number}", pending_version=2) for number in range(3)]

    told = lines(Status(models=[*models, model()], now=NOW, **ALL_WELL).view(limit=1))

    assert told[-2] == (
        "3 models have a newer version that nobody has released: pilotlight release --all-pending"
    )


def test_when_all_is_well_status_says_only_ready() -> None:
    assert lines(Status(models=[model()], now=NOW, **ALL_WELL).view(limit=None))[2:] == [
        "1 warmed",
        "ready",
    ]


def test_a_live_status_is_as_high_as_the_terminal() -> None:
    models = [cold(f"m{number:03}") for number in range(200)]
    status = Status(models=models, now=NOW, **ALL_WELL)
    console = Console(file=io.StringIO(), width=80, height=24)

    assert len(lines(status.fitted(console, limit=None), width=80)) == 23
    assert len(lines(status.fitted(console, limit=5), width=80)) == 8


def test_a_loaded_model_is_explained_by_demand_cost_and_price() -> None:
    assert explained() == [
        "m           auto, pinned, priority 1; warmed: loaded, warmed and probed",
        "asked for   40 times since 2026-01-01 12:00:00Z, last 45 s ago, next in 20 min",
        "per hour    0 in 1m, 2.5 in 1h; 2.25 expected",
        "by hour     ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▅█ 0 to 23 h UTC",
        "cold start  version 3: 4 s (read 1.5 s, load 2 s, warm-up 500 ms; loads seen: 7); 1 s are "
        "accepted; 3 s count",
        "memory      holds 2.0 GiB on gpu:0 (measured)",
        "worth       4.2 s of cold starts per hour for each GiB; the price of a GiB-hour is 3 s",
        "idle        let go after 30 min without a request, in 29 min; always loaded pays above "
        "2/h",
        "forecast    0.5 cold starts per hour, loaded 75% of the time",
        "advice      better left to the idle timeout",
    ]


def test_a_model_that_nobody_asked_for_is_explained_by_what_was_declared() -> None:
    cost = explanation()["cost"] | {"loads": 0, "held": [], "acceptable_s": 0.0}
    never = {"timeout_s": None, "let_go_at": None, "break_even_per_hour": None, "forecast": None}
    idle = explanation()["idle"] | never

    shown = explained(
        demand=None, cost=cost, idle=idle, ranking="lru", load=load("a"), stays_because="hot"
    )

    assert shown[1:] == [
        "stays       hot",
        "asked for   never",
        "cold start  version 3: 4 s (read 1.5 s, load 2 s, warm-up 500 ms; declared, never loaded "
        "yet); 3 s count",
        "memory      would hold 1.0 GiB on gpu:0 (learned)",
        "worth       score 4.2 (lru)",
        "idle        never let go for want of requests",
        "advice      better left to the idle timeout",
        "a request   loading m would evict a (1.0 GiB, score 0.25)",
    ]


def test_a_quarantine_says_why_and_how_it_ends() -> None:
    failed = {
        "since": "2026-01-02T11:50:00Z",
        "times": 2,
        "kind": "corrupt",
        "reason": "no [graph]",
    }

    assert explained(quarantine={**failed, "until": "2026-01-02T12:10:00Z"})[1] == (
        "quarantine  for 10 min, ends by itself in 10 min; 2 in a row, corrupt: no [graph]"
    )
    assert explained(quarantine={**failed, "until": None})[1] == (
        "quarantine  for 10 min, ends with a newer version or `pilotlight unquarantine`; "
        "2 in a row, corrupt: no [graph]"
    )
    assert explained(quarantine={**failed, "kind": "no_gpu", "until": None})[1].startswith(
        "quarantine  for 10 min, ends with a restart of the server, a newer version or "
    )


def test_warm_up_is_drawn_as_a_curve_for_each_shape() -> None:
    settled = {
        "shape": "x [1, 2]",
        "runs": 12,
        "first_ms": 80.0,
        "steady_ms": 10.0,
        "steady": True,
        "seconds": 0.25,
        "sparkline": "█▄▁▁",
    }
    restless = {**settled, "shape": "x [8, 2]", "runs": 100, "steady": False, "seconds": 60.0}

    assert explained(curves=[settled, restless])[-4:] == [
        "warm-up after the newest load",
        "shape     runs  first        steady    took  latency",
        "x [1, 2]    12  80 ms         10 ms  250 ms  █▄▁▁",
        "x [8, 2]   100  80 ms  not by 10 ms    60 s  █▄▁▁",
    ]


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        (None, "m is loaded, is being loaded, or is in quarantine"),
        (load(), "m fits; nothing would be evicted"),
        (
            load("a", "b"),
            "loading m would evict a (1.0 GiB, score 0.25), b (1.0 GiB, score 0.25)",
        ),
        (
            load(on_cpu=True),
            "m would serve on the CPU, as its GPU is full; nothing would be evicted",
        ),
        (load(blocked={"reason": "m needs 3.0 GiB"}), "m cannot be loaded: m needs 3.0 GiB"),
    ],
)
def test_what_a_load_would_set_off_is_one_sentence(
    now: dict[str, Any] | None, sentence: str
) -> None:
    assert load_sentence("m", now) == sentence


def test_a_plan_tells_what_is_under_way_decided_and_blocked() -> None:
    holders = [
        {"server": "serving", "model": "a", "bytes": GIB, "hold": "reserved"},
        {"server": "canary", "model": "b", "bytes": GIB, "hold": "leaving"},
        {"server": "serving", "model": "c", "bytes": GIB, "hold": "held"},
    ]
    numbers = {"freed_bytes": 2.0 * GIB, "idle_s": 720.0, "score": 0.25}
    goes = {"action": "let_go", "model": "d", "server": None, "reason": "idle", "numbers": numbers}
    ends = {**goes, "action": "restart", "model": None, "server": "serving", "numbers": {}}
    plan = {
        "notes": [goes],
        "work": [ends],
        "blocked": [{"model": "e", "reason": "e needs 9.0 GiB on cpu"}],
        "wake_at": "2026-01-02T12:10:00Z",
    }

    def shown(*, explained: bool) -> list[str]:
        return lines(plan_view(plan, [device(holders=holders)], explained=explained, now=NOW))

    assert shown(explained=False) == [
        "loading  a  serving  1.0 GiB on cpu",
        "leaving  b  canary   1.0 GiB on cpu",
        "let go   d           idle",
        "restart  -  serving  idle",
        "blocked  e           e needs 9.0 GiB on cpu",
        "plans again in 10 min at the latest",
    ]
    assert shown(explained=True)[3] == (
        "                     freed 2.0 GiB, idle 12 min, score 0.25"
    )


def test_an_empty_plan_says_so() -> None:
    plan = {"notes": [], "work": [], "blocked": [], "wake_at": None}

    assert lines(plan_view(plan, [device()], explained=True, now=NOW)) == ["nothing to do"]


def test_another_budget_is_shown_next_to_the_present_one() -> None:
    now = outlook({"hot": "hot", "a": "worth its memory"}, {"b": "no room on cpu"}, 2 * GIB)
    then = outlook(dict.fromkeys(("hot", "a", "b"), "worth its memory"), {}, 4 * GIB)

    assert lines(what_if_view({"now": now, "then": then}, explained=False)) == [
        "                         now                 then",
        "models held              2                   3",
        "cold starts              0.5 s/h             0 s/h",
        "cpu                      2.0 GiB of 2.0 GiB  3.0 GiB of 4.0 GiB",
        "cpu: one more GiB saves  0.5 s/h             0 s/h",
        "",
        "then   model  needs           saves    score  why",
        "comes  b      1.0 GiB on cpu  0.5 s/h  0.5    worth its memory",
    ]
    back = lines(what_if_view({"now": then, "then": now}, explained=True))
    assert [line.split()[:2] for line in back[7:]] == [
        ["stays", "hot"],
        ["stays", "a"],
        ["goes", "b"],
    ]


def test_a_budget_that_changes_nobody_or_is_too_small_says_so() -> None:
    same = outlook({"m": "hot"}, {}, 2 * GIB)
    small = {**same, "too_small": ["m (hot) needs 1.0 GiB"]}

    assert lines(what_if_view({"now": same, "then": small}, explained=False))[-2:] == [
        "the same models are held",
        "budget too small: m (hot) needs 1.0 GiB",
    ]


def test_a_device_without_a_budget_so_far_has_no_present() -> None:
    then = outlook({"m": "hot"}, {}, GIB)
    shown = lines(what_if_view({"now": {**then, "devices": []}, "then": then}, explained=False))

    assert "cpu                      -      1.0 GiB of 1.0 GiB" in shown


def test_a_spec_shows_what_holds_and_what_of_it_was_said_over_rest() -> None:
    effective = {"tier": "warm", "pin": True, "idle_timeout_s": 600.0}
    overrides = {"tier": "warm", "pin": None, "idle_timeout_s": None}

    spec = {"model": "m", "effective": effective, "overrides": overrides, "warnings": ["no room"]}

    assert lines(spec_view(spec)) == [
        "m               is    said over REST",
        "tier            warm  warm",
        "pin             true  -",
        "idle_timeout_s  600   -",
        "warning: no room",
    ]


def test_a_mode_that_nobody_set_has_no_time() -> None:
    assert control_line(ALL_WELL["control"]) == "running; profile production"


def test_an_event_is_one_line_with_all_that_is_known() -> None:
    entry = {
        "at": "2026-01-02T11:00:00.123Z",
        "event": "load_failed",
        "model": "m",
        "server": "serving",
        "seconds": 0.0,
        "actor": "ann",
        "detail": {"reason": "no [graph]", "attempts": 2, "error": ""},
    }
    quiet = {**dict.fromkeys(entry), "at": entry["at"], "event": "became_ready", "detail": {}}

    assert event_line(entry).plain == (
        "2026-01-02 11:00:00Z  load_failed         m  on serving  in 0 ms  for ann  "
        "reason: no [graph]  attempts: 2"
    )
    assert event_line(quiet).plain == "2026-01-02 11:00:00Z  became_ready"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0"), (0.0002, "<0.001"), (0.0341, "0.0341"), (12_345.6, "12346")]
)
def test_figures_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert words.figure(value) == text


@pytest.mark.parametrize(
    ("span_s", "text"),
    [(-3.0, "0 s"), (0.4, "0 s"), (119.0, "119 s"), (7199.0, "120 min"), (7200.0, "2 h")],
)
def test_a_span_is_told_in_the_largest_unit_of_which_there_are_two(
    span_s: float, text: str
) -> None:
    assert words.span(span_s) == text


def test_traffic_shows_what_was_said_what_holds_and_what_came() -> None:
    said = {"weights": {"1": 19, "2": 1}, "sticky_header": "x-user-id"}
    now = {"weights": {"1": 19}, "sticky_header": "x-user-id"}

    assert steered(said, now, v1=150, v3=2, unnamed=48) == [
        "m                 said    now  requests  of all",
        "version 1         95 %  100 %       150    75 %",
        "version 2          5 %      -         -       -",
        "version 3            -      -         2     1 %",
        "no version named     -      -        48    24 %",
        "requests with the same x-user-id meet the same version",
    ]


def test_traffic_says_how_a_version_that_is_not_loaded_comes_to_its_share() -> None:
    told = steered({"weights": {"1": 19, "2": 1}}, {"weights": {"1": 19}}, {"not_loaded": [2]})

    assert " ".join(told[3:]).startswith(
        "version 2 is not loaded: it gets no request until a release has proven it and loaded it "
        "beside the one that serves; `pilotlight release m 2`, with --shift"
    )


def test_a_model_that_is_not_steered_meets_the_serving_version() -> None:
    assert steered({}, {}) == ["requests that name no version meet the one that serves"]


@pytest.mark.parametrize(
    ("effective", "gets", "compared"),
    [
        ({"mirror": 10, "sample": 2}, "10 %", "2 %"),
        ({}, "0 %", "0 %"),
        (None, "not known", "not known"),
    ],
)
def test_a_mirror_shows_what_canary_gets_now(
    effective: Mapping[str, Any] | None, gets: str, compared: str
) -> None:
    assert steered({"mirror": 10, "sample": 2}, effective)[1:] == [
        f"canary gets a copy of 10 % of the requests; now {gets}",
        f"canary is compared with 2 % of the requests; now {compared}",
    ]


def test_a_comparison_shows_what_differs_and_what_failed() -> None:
    agreeing = {"requests": 60, "agreeing": 60, "largest_error": 0.0, "reason": None}
    differing = {**agreeing, "agreeing": 58, "reason": "scaled error 3e-2 is above 1e-5"}
    comparison = {
        "serving": {"version": 1, "failures": 0, "failure": None},
        "canary": {"version": 2, "failures": 1, "failure": "server lost"},
        "compared": 60,
        "agreeing": 58,
        "outputs": {"label": agreeing, "score": differing},
        "missed": {"too_large": 2},
    }
    said = {"mirror": 10, "sample": 2}

    assert steered(said, said, {"comparison": comparison})[3:] == [
        "versions 1 and 2 answered 60 sampled requests, 58 of them alike",
        "  score: 2 differ; scaled error 3e-2 is above 1e-5",
        "  canary failed 1 times: server lost",
        "  not compared: 2: 2 too_large",
    ]


def test_the_gateway_shows_addresses_replicas_and_counts() -> None:
    away = {**gateway()["replicas"][0], "name": "b", "joined": False, "models": 1}
    replicas = [*gateway()["replicas"], away]

    assert lines(gateway_view(gateway(replicas=replicas))) == [
        "clients      HTTP 0.0.0.0:8000, gRPC 0.0.0.0:8001",
        "replica own  2 models; HTTP triton:8000, gRPC triton:8001",
        "replica b    1 model, has not joined; HTTP triton:8000, gRPC triton:8001",
        "requests     120: 1 cold, 119 hit",
        "waiting      5: 4 a, 1 b",
        "streams      3 open",
        "routes in force",
    ]


def test_a_gateway_says_why_it_does_not_route() -> None:
    quiet = {"requests": 0, "by_outcome": {}, "waiting": {}, "routed": False}

    assert lines(gateway_view(gateway(problem="Envoy [admin] is down", **quiet)))[-4:] == [
        "requests     0",
        "waiting      0",
        "streams      3 open",
        "Envoy [admin] is down",
    ]
    assert lines(gateway_view(gateway(**quiet)))[-1] == "no routes yet"


def test_no_gateway_is_said() -> None:
    (line,) = lines(gateway_view(None))
    assert line.startswith("no gateway: clients speak to Triton itself")
