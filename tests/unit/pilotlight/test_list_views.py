"""Lists of what was asked for, and what the doctor finds, at a fixed width."""

from typing import Any

from pilotlight.views.health import checks_view, readiness_line
from pilotlight.views.operations import operation_table
from pilotlight.views.plans import policy_view
from pilotlight.views.releases import release_table
from pilotlight.views.trains import train_table
from tests.unit.pilotlight.test_views import lines

AT = "2026-01-02T12:00:00Z"
LONG = "version 5 is refused\n\nAt:\n  model.py(187): open_session"


def operation(**changes: Any) -> dict[str, Any]:
    ended = {"finished_at": "2026-01-02T12:00:02Z", "done": True, "error": None, "waits_for": None}
    asked = {"id": "o1", "kind": "load", "model": "m", "actor": "ann", "created_at": AT}
    return {**asked, **ended, **changes}


def test_operations_say_who_asked_for_what_and_how_it_ended() -> None:
    going = operation(id="o2", finished_at=None, done=False)
    stalled = {**going, "id": "o3", "waits_for": "serving: no answer"}

    assert lines(operation_table([stalled, going, operation(), operation(error=LONG)])) == [
        "asked for             by   what  of  state             id  why",
        "2026-01-02 12:00:00Z  ann  load  m   goes on           o3  waits for serving: no answer",
        "2026-01-02 12:00:00Z  ann  load  m   goes on           o2",
        "2026-01-02 12:00:00Z  ann  load  m   done after 2 s    o1",
        "2026-01-02 12:00:00Z  ann  load  m   failed after 2 s  o1  version 5 is refused",
    ]
    assert lines(operation_table([])) == ["nothing was asked for yet"]


def test_releases_are_told_in_a_line_each() -> None:
    release = {
        "id": "m.2",
        "model": "m",
        "version": 2,
        "base": 1,
        "actor": "ann",
        "state": "soaking",
        "active": True,
        "share": None,
        "soak": {"watched_s": 12.0, "soak_s": 60.0},
        "reason": "too slow",
        "steps": [{"at": AT}],
    }

    assert lines(release_table([release])) == [
        "begun                 by   model  version  state                  id   why",
        "2026-01-02 12:00:00Z  ann  m      1 -> 2   soaking, 12 s of 60 s  m.2  too slow",
    ]
    assert lines(release_table([])) == ["no release yet"]


def test_trains_say_how_many_releases_are_where() -> None:
    train = {
        "id": "t1",
        "actor": "ann",
        "created_at": AT,
        "done": True,
        "stopped": LONG,
        "cars": [{"state": "done"}, {"state": "failed"}],
    }

    assert lines(train_table([train])) == [
        "begun                 by   state    releases          id  why",
        "2026-01-02 12:00:00Z  ann  stopped  1 done, 1 failed  t1  version 5 is refused",
    ]
    assert lines(train_table([])) == ["no train yet"]


def test_what_is_amiss_stands_with_its_remedy() -> None:
    readiness = {
        "ready": False,
        "missing": ["serving does not answer"],
        "checks": [
            {"name": "store", "ok": True, "detail": "readable", "remedy": None},
            {"name": "server serving", "ok": False, "detail": "no answer", "remedy": "start it"},
        ],
    }

    assert lines(checks_view(readiness)) == [
        "ok     store           readable",
        "amiss  server serving  no answer",
        "                       start it",
        "not ready: serving does not answer",
    ]


def test_a_policy_is_shown_in_the_units_of_the_settings() -> None:
    policy = {"budgets": {"cpu": 2**30, "gpu:0": 2**34}, "prewarm": True, "price": 3.0}

    assert lines(policy_view({**policy, "ranking": "value"})) == [
        "budgets  cpu 1.0 GiB, gpu:0 16.0 GiB",
        "prewarm  true",
        "price    3.0",
        "ranking  value",
    ]


def test_in_a_narrow_terminal_all_else_gives_way_before_names() -> None:
    refused = {
        "id": "customer-017-ranker.2.1a2014",
        "model": "customer-017-ranker",
        "version": 2,
        "base": 1,
        "actor": "ann",
        "state": "refused",
        "active": False,
        "share": None,
        "soak": None,
        "reason": "too slow by half in each shape",
        "steps": [{"at": AT}],
    }

    assert [lines(release_table([refused]), width)[1] for width in (110, 84, 60)] == [
        "2026-01-02 12:00:00Z  ann  customer-017-ranker  1 -> 2   refused"
        "  customer-017-ranker.2.1a2014  too slow by h…",
        "2026-01-02 12:00:00Z  ann  customer-017-ranker  1 -> 2   refused  too slow by half …",
        "2026-01-02 12:00:00Z  customer-017-ranker  1 -> 2   refused",
    ]
    assert lines(release_table([refused]), 50)[1].split()[2] == "custo…nker"
    assert lines(release_table([refused]), 60)[0].split() == [
        *("begun", "model", "version", "state")
    ]


def test_of_two_hundred_models_that_are_missing_the_first_are_told() -> None:
    missing = [f"m{number}: loading" for number in range(200)]

    assert readiness_line({"ready": False, "missing": missing}).plain == (
        "not ready: m0: loading; m1: loading; m2: loading; and 197 more, which `pilotlight doctor` "
        "tells"
    )


def test_what_ails_many_models_is_told_once() -> None:
    ailing = {"ok": False, "detail": "serving does not answer", "remedy": None}
    checks = [ailing | {"name": f"model m{number}"} for number in range(3)]
    other = ailing | {"name": "model n", "detail": "in quarantine"}

    shown = lines(checks_view({"ready": False, "missing": [], "checks": [*checks, other]}))

    assert [line.split(maxsplit=3)[-1] for line in shown[:4]] == [
        *("serving does not answer", "the same", "the same", "in quarantine")
    ]
