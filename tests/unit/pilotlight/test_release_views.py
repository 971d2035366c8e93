"""Releases as people read them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pilotlight.views.releases import (
    CSV_COLUMNS,
    end_line,
    history_rows,
    history_view,
    may_say,
    passed_line,
    progress_view,
    step_view,
)
from tests.unit.pilotlight.test_views import lines

BEGAN = datetime(2026, 1, 2, 12, tzinfo=UTC)


def check(ruling: str = "pass", **changes: Any) -> dict[str, Any]:
    numbers = {"pairs": 64, "slower_share": 0.95, "base_ms": 4.0, "limit_ms": None}
    note = "batch [8]: slower in 61 of 64 pairs"
    return {
        "check": "latency: [8]",
        "ruling": ruling,
        "note": note,
        "numbers": numbers,
        **changes,
    }


def step(state: str, after_s: float, seconds: float | None = 1.0, **changes: Any) -> dict[str, Any]:
    return {
        "state": state,
        "at": (BEGAN + timedelta(seconds=after_s)).isoformat(),
        "seconds": seconds,
        "note": f"came to [{state}]",
        "evidence": [],
        "actor": None,
        "operation": None,
        **changes,
    }


def release(*steps: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Of version 2 after version 1; it is where the last step is."""
    last = steps[-1]
    return {
        "id": "m.2.abc",
        "model": "m",
        "version": 2,
        "base": 1,
        "actor": "ann",
        "state": last["state"],
        "active": last["state"] not in ("done", "refused", "rolled_back"),
        "reason": last["note"],
        "share": None,
        "paused_by": None,
        "waits_for": None,
        "rejected": False,
        "soak": None,
        "seconds": sum(each["seconds"] or 0 for each in steps if each["state"] != "done"),
        "steps": list(steps),
        **changes,
    }


BEGIN = step("admitted", 0.0, 0.5)


def test_a_step_shows_when_it_came_and_what_did_not_pass() -> None:
    failed = step("refused", 12.25, None, evidence=[check(), check("fail", check="leak")])

    assert lines(step_view(release(BEGIN, failed), failed)) == [
        "    12.2 s  refused         came to [refused]",
        "            fail          leak  batch [8]: slower in 61 of 64 pairs",
    ]


def test_a_step_shows_every_check_where_it_is_asked_to() -> None:
    named = check(check="latency: batch [8]")
    passed = step("soaking", 12.25, evidence=[named, check(check="tail", note="2 of 9")])

    assert lines(step_view(release(BEGIN, passed), passed, verbose=True))[1:] == [
        "            pass          latency: batch [8]  slower in 61 of 64 pairs",
        "            pass          tail  2 of 9",
    ]


def test_what_passed_is_counted_over_all_steps() -> None:
    soaking = step("soaking", 1.0, evidence=[check(), check("fail")])

    counted = passed_line(release(step("comparing", 0.5, evidence=[check()]), soaking))

    assert counted is not None
    assert counted.plain == "2 checks passed (pilotlight report m)"
    assert passed_line(release(BEGIN)) is None


def test_what_a_step_says_is_not_said_again_by_its_checks() -> None:
    note = "on canary: batch [8]: slower in 61 of 64 pairs"
    failed = step("refused", 1.0, None, note=note, evidence=[check("fail")])

    assert lines(step_view(release(BEGIN, failed), failed)) == [
        f"     1.0 s  refused         {note}",
        "            fail          latency: [8]",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "soaking"),
        ({"soak": {"watched_s": 12.4, "soak_s": 60.0, "progress": 0.2}}, "soaking, 12 s of 60 s"),
        (
            {"share": 5, "soak": {"watched_s": 0.0, "soak_s": 180.0, "progress": 0.0}},
            "soaking 5 %, 0 s of 3 min",
        ),
    ],
)
def test_how_far_it_is_fits_into_a_line(changes: dict[str, Any], said: str) -> None:
    (line,) = lines(progress_view(release(step("soaking", 1.0), **changes)))
    assert line.rstrip("━╺╸ ") == said


@pytest.mark.parametrize(
    ("state", "changes", "said"),
    [
        ("done", {}, "done: version 2 of m serves, after 500 ms"),
        ("refused", {}, "refused: version 2 of m, after 500 ms: came to [refused]"),
        ("rolled_back", {}, "rolled back: version 2 of m, after 500 ms: came to [rolled_back]"),
        (
            "awaiting",
            {},
            "waits for a person: version 2 of m; `pilotlight promote m` or `pilotlight abort m`",
        ),
        (
            "soaking",
            {"paused_by": "bob"},
            "paused by bob: version 2 of m; `pilotlight resume m` or `pilotlight abort m`",
        ),
    ],
)
def test_the_last_line_says_how_it_ended_or_what_to_type(
    state: str, changes: dict[str, Any], said: str
) -> None:
    ended = release(BEGIN, step(state, 0.5, None), **changes)

    assert end_line(ended).plain == said
    assert bool(may_say(ended)) == (state in ("awaiting", "soaking"))


def test_a_release_that_cannot_go_on_says_what_it_waits_for() -> None:
    stalled = release(step("canary_loading", 1.0), waits_for="canary: no answer")

    assert lines(progress_view(stalled)) == ["canary_loading, waits for canary: no answer"]


def test_history_tells_who_when_why_and_how_long_but_not_what_went_well() -> None:
    refused = release(
        BEGIN,
        step("comparing", 0.5, 12.0),
        step("comparing", 12.5, 3.0, note="paused by bob"),
        step("refused", 15.5, None, evidence=[check(), check("fail")]),
    )
    first = release(BEGIN, step("done", 0.5, 3600.0), base=None, version=1, id="m.1.aaa")

    assert lines(history_view([refused, first])) == [
        "m.2.abc  version 1 -> 2, asked for by ann  refused",
        "  2026-01-02 12:00:00Z  came to [refused]",
        "            fail          latency: [8]  batch [8]: slower in 61 of 64 pairs",
        "  admitted 500 ms, comparing 15 s; 15.5 s in all",
        "",
        "m.1.aaa  version 1, its first, asked for by ann  done",
        "  2026-01-02 12:00:00Z  came to [done]",
        "  admitted 500 ms; 500 ms in all",
    ]


def test_a_release_that_goes_on_has_no_total_yet() -> None:
    assert lines(history_view([release(BEGIN, step("verifying", 0.5, None))]))[-1] == (
        "  admitted 500 ms; 500 ms in all so far"
    )
    assert lines(history_view([release(step("admitted", 0.0, None))]))[-1] == "  just begun"


def test_a_model_without_a_release_has_no_history() -> None:
    assert lines(history_view([])) == ["no release yet"]


def test_a_table_has_a_row_for_each_step() -> None:
    evidence = [check("fail"), check("fail", check="leak"), check("inconclusive", check="tail")]
    refused = release(BEGIN, step("refused", 0.5, None, evidence=evidence, actor="bob"))

    first, last = history_rows([refused])

    assert tuple(first) == CSV_COLUMNS
    assert (first["state"], first["seconds"], first["asked_by"], first["failed"]) == (
        "admitted",
        0.5,
        None,
        "",
    )
    assert (last["asked_by"], last["failed"], last["inconclusive"]) == (
        "bob",
        "latency: [8]; leak",
        "tail",
    )
