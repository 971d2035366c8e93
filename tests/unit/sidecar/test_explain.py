"""Why a model is warm or cold, in the planner's own figures."""

from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.actions import LetGo
from sidecar.core.cost import Basis, Reload
from sidecar.core.explain import Bytes, Explanation, LoadNow, explain
from sidecar.core.fleet import Snapshot
from sidecar.core.learned import Learned
from sidecar.core.memory import CPU, GIB, Reading
from sidecar.core.planner import plan
from sidecar.core.policy import Policy
from sidecar.core.status import Warmth
from tests.builders import MIB, NOW_S, POLICY, SERVING, asked_at, kept, quarantine
from tests.unit.sidecar.test_residency import BUDGET, OFTEN, SELDOM, fleet, of_size

HOUR_S = 3600.0
# 1 GiB; 3 s from the page cache, 4 s from the disk.
KNOWN = Learned(loads=2, read_s=1.0, load_s=2.0, warm_up_s=1.0, held_bytes={CPU: GIB})


def one(*, loaded: str = "", **more: Any) -> Snapshot:
    intent = more.pop("intent", {})
    return fleet(of_size("a", 1, **intent), loaded=loaded, **{"learned": {("a", 1): KNOWN}, **more})


def told(seen: Snapshot, policy: Policy = POLICY, now_s: float = NOW_S) -> Explanation:
    return explain(seen, policy, now_s, "a")


# Cost.


def test_a_reload_is_told_in_its_parts_as_the_files_lie_now() -> None:
    cold = told(one(intent={"acceptable_cold_start_s": 1.5})).costs
    assert cold.reload == Reload(read_s=1.0, load_s=2.0, warm_up_s=1.0)
    assert (cold.reload.seconds, cold.acceptable_s, cold.counted_s) == (4.0, 1.5, 2.5)

    cached = told(one(cached=frozenset({"a"}))).costs
    assert (cached.reload.seconds, cached.counted_s) == (3.0, 3.0)


def test_bytes_are_told_with_how_they_are_known() -> None:
    declared = told(one(learned={})).costs
    assert declared.needed == (Bytes(device=CPU, bytes=MIB, basis=Basis.DECLARED),)
    assert (declared.held, declared.loads) == ((), 0)

    reading = Reading(capacity_bytes=8 * GIB, used_bytes=2 * GIB, by_model={"a": 2 * GIB})
    measured = told(one(loaded="a", readings={CPU: reading})).costs
    assert measured.needed == (Bytes(device=CPU, bytes=GIB, basis=Basis.LEARNED),)
    assert measured.held == (Bytes(device=CPU, bytes=2 * GIB, basis=Basis.MEASURED),)
    assert measured.loads == 2


# Demand.


def test_demand_is_told_by_horizon_and_when_it_is_due_next() -> None:
    every_100_s = asked_at(*(NOW_S - 100 * back for back in range(9, -1, -1)))

    asked = told(one(demand={"a": every_100_s})).asked

    assert asked is not None
    assert (asked.requests, asked.last_at_s, asked.next_at_s) == (10, NOW_S, NOW_S + 100)
    assert asked.expected_per_hour == pytest.approx(36.0)
    assert set(asked.per_hour) == {"1m", "10m", "1h", "24h"}
    assert sum(asked.by_hour) == 10
    assert told(one()).asked is None


# Idle.


def test_a_kept_model_is_let_go_when_its_memory_has_cost_as_much_as_a_cold_start() -> None:
    """1 GiB at 3 s per GiB-hour, for a cold start of 4 s: 4/3 hours; even at 3/4 per hour."""
    seen = one(loaded="a", demand={"a": asked_at(NOW_S - 100)}, kept=kept("a", since_s=1.0))

    idle = told(seen).idle

    assert idle.timeout_s == pytest.approx(HOUR_S * 4 / 3)
    assert idle.let_go_at_s == pytest.approx(NOW_S - 100 + HOUR_S * 4 / 3)
    assert idle.break_even_per_hour == pytest.approx(0.75)
    assert plan(seen, POLICY, NOW_S).wake_at_s == idle.let_go_at_s


def test_what_never_leaves_says_so() -> None:
    pinned = told(one(loaded="a", intent={"pin": True}))
    assert pinned.idle.let_go_at_s is None
    assert pinned.stays_because == "pinned"
    assert pinned.idle.advice == "it stays loaded in any case: pinned"

    free = told(one(loaded="a"), replace(POLICY, price=0.0)).idle
    assert (free.timeout_s, free.let_go_at_s) == (None, None)


EVERY_4_H = asked_at(*(4 * HOUR_S * turn for turn in range(50)))
LAST_S = 4 * HOUR_S * 49


def test_a_forecast_weighs_staying_always_against_the_idle_timeout() -> None:
    """Gaps of 4 h and a timeout of 4/3 h: a cold start each 4 h, loaded for a third."""
    found = told(one(demand={"a": EVERY_4_H}), now_s=LAST_S).idle.forecast

    assert found is not None
    assert found.cold_starts_per_hour == pytest.approx(1 / 4, rel=0.01)
    assert found.held_share == pytest.approx(1 / 3, rel=0.05)
    assert found.always_saves_s_per_hour == pytest.approx(4 / 4, rel=0.01)
    assert found.always_costs_gib == pytest.approx(2 / 3, rel=0.05)
    assert found.value == pytest.approx(1.5, rel=0.05)
    assert not found.is_worth_it


@pytest.mark.parametrize(
    ("price", "said"),
    [(3.0, "at a price of 3: better left to the idle timeout"), (1.0, "keeps it loaded anyway")],
)
def test_whether_to_keep_it_always_is_one_sentence(price: float, said: str) -> None:
    """At a price of 1 the timeout is 4 h: as long as the gaps."""
    seen = one(demand={"a": EVERY_4_H}, learned={("a", 1): replace(KNOWN, warm_up_s=3.0)})

    advice = told(seen, replace(POLICY, price=price), LAST_S).idle.advice

    assert advice.endswith(said)


def test_a_short_timeout_of_a_persons_choice_can_make_a_pin_worth_it() -> None:
    """A cold start of 4 s each 4 h, for about one GiB more: 1 s per GiB-hour."""
    seen = one(demand={"a": EVERY_4_H}, intent={"idle_timeout_s": 60.0})

    idle = told(seen, replace(POLICY, price=0.9), LAST_S).idle

    assert idle.advice.endswith("at a price of 0.9: worth a pin")


def test_before_a_day_of_requests_nothing_is_forecast() -> None:
    idle = told(one(demand={"a": OFTEN})).idle

    assert idle.forecast is None
    assert idle.advice == "whether keeping it always loaded pays is told after a day of requests"


# What a load would set off.


def test_it_names_whom_the_planner_would_evict() -> None:
    seen = fleet(
        of_size("busy", 4),
        of_size("idle", 4),
        of_size("a", 4),
        loaded="busy idle",
        demand={"busy": OFTEN, "idle": SELDOM},
    )

    found = told(seen, BUDGET).load

    evicted = plan(replace(seen, waiting={"a": NOW_S}), BUDGET, NOW_S).notes[1]
    assert isinstance(evicted, LetGo)
    assert evicted.model == "idle"
    assert found == LoadNow(victims=(evicted,), blocked=None, on_cpu=False)


def test_it_names_only_the_victims_of_this_model() -> None:
    seen = fleet(
        *(of_size(name, 4) for name in ("old", "older", "other", "a")),
        loaded="old older",
        demand={"old": OFTEN, "older": SELDOM},
        waiting={"other": NOW_S - 1},
    )

    found = told(seen, BUDGET).load

    assert found is not None
    assert [victim.model for victim in found.victims] == ["old"]


def test_it_says_with_numbers_why_the_model_cannot_be_loaded() -> None:
    seen = fleet(of_size("pinned", 8, pin=True), of_size("a", 4), loaded="pinned")

    found = told(seen, BUDGET).load

    blocked = plan(replace(seen, waiting={"a": NOW_S}), BUDGET, NOW_S).blocked["a"]
    assert (blocked.needed_bytes, blocked.free_bytes) == (4 * MIB, 2 * MIB)
    assert found == LoadNow(victims=(), blocked=blocked, on_cpu=False)


@pytest.mark.parametrize(
    "changed",
    [{"loaded": "a"}, {"busy": {(SERVING, "a")}, "kept": kept("a")}, {"quarantine": quarantine()}],
    ids=["loaded", "being loaded", "in quarantine"],
)
def test_nothing_is_to_load_while(changed: dict[str, Any]) -> None:
    if "quarantine" in changed:
        changed = {"quarantine": {"a": changed["quarantine"]}}

    assert told(one(**changed)).load is None


# The whole.


def test_warmth_reason_and_score_are_those_of_the_list() -> None:
    seen = fleet(of_size("a", 4), loaded="a", demand={"a": OFTEN}, kept=kept("a", reason="why"))

    found = told(seen, BUDGET)

    assert (found.status.warmth, found.status.reason) == (
        Warmth.WARMED,
        "since 00:16Z: why",
    )
    assert found.figures.held_bytes == 4 * MIB
    assert found.figures.score > 0
    assert found.stays_because is None


def test_a_quarantine_is_shown_while_it_holds() -> None:
    resting = quarantine()
    seen = one(quarantine={"a": resting})

    found = told(seen)

    assert found.quarantine == resting
    assert (found.figures.quarantined, found.figures.quarantined_until_s) == (
        True,
        resting.until_s,
    )
    assert resting.until_s is not None
    assert not told(seen, now_s=resting.until_s).figures.quarantined


def test_what_leaves_anyway_is_no_victim() -> None:
    gone = of_size("old", 8, idle_timeout_s=1.0)
    seen = fleet(gone, of_size("a", 4), loaded="old", kept=kept("old", since_s=1.0))

    assert told(seen, BUDGET).load == LoadNow(victims=(), blocked=None, on_cpu=False)
