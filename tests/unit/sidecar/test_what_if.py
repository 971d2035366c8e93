"""What would stay loaded under another budget. Cold starts here take 3 s."""

from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.demand import Demand
from sidecar.core.fleet import Profile, Snapshot, StoredModel
from sidecar.core.learned import Learned
from sidecar.core.memory import CPU, GIB, Reading
from sidecar.core.overflow import crowding, hot_overflow
from sidecar.core.policy import Policy
from sidecar.core.ranking import Ranking
from sidecar.core.what_if import Outlook, WhatIf, what_if
from tests.builders import MIB, NOW_S, POLICY, asked_at
from tests.unit.sidecar.test_residency import BUDGET, fleet, of_size

GIBS = replace(POLICY, budgets={CPU: 2 * GIB}, headroom=0.0, price=0.0)


def every(seconds: float) -> Demand:
    """Asked for just now: the next request is due after as long, 3600 / `seconds` per hour."""
    return asked_at(*(NOW_S - seconds * back for back in range(9, -1, -1)))


def seen(*models: StoredModel, demand: dict[str, Demand] | None = None, **more: Any) -> Snapshot:
    """Each model has one GiB."""
    known = Learned(loads=1, load_s=2.0, read_s=1.0, warm_up_s=0.0, held_bytes={CPU: GIB})
    learned = {(stored.name, 1): known for stored in models}
    return fleet(*models, demand=demand or {}, learned=learned, **more)


THREE = (of_size("a", 1), of_size("b", 1), of_size("c", 1))
DEMANDS = {"a": every(60), "b": every(90), "c": every(100)}


def asked(snapshot: Snapshot, policy: Policy = GIBS, **what: Any) -> WhatIf:
    return what_if(snapshot, policy, NOW_S, **what)


def held(outlook: Outlook) -> dict[str, str]:
    return {choice.candidate.model: choice.reason for choice in outlook.held}


def left_out(outlook: Outlook) -> dict[str, str]:
    return {choice.candidate.model: choice.reason for choice in outlook.left_out}


def test_the_best_models_are_held_and_the_rest_waits_for_each_request() -> None:
    """c: 36 requests per hour, 3 s each."""
    now = asked(seen(*THREE, demand=DEMANDS)).now

    assert held(now) == {"a": "worth its memory", "b": "worth its memory"}
    assert left_out(now) == {"c": "no room on cpu"}
    assert now.cold_start_s_per_hour == pytest.approx(108.0)
    (space,) = now.spaces
    assert (space.budget_bytes, space.held_bytes) == (2 * GIB, 2 * GIB)
    assert space.one_more_gib_saves_s_per_hour == pytest.approx(108.0)


def test_another_budget_is_compared_with_the_present_one() -> None:
    found = asked(seen(*THREE, demand=DEMANDS), budgets={CPU: GIB})

    assert list(held(found.then)) == ["a"]
    assert found.then.cold_start_s_per_hour == pytest.approx(108.0 + 120.0)
    assert found.summary == (
        "1 models held instead of 2; about 228 s of cold starts per hour instead of 108"
    )
    assert (
        asked(seen(*THREE, demand=DEMANDS), budgets={CPU: 3 * GIB})
        .then.spaces[0]
        .one_more_gib_saves_s_per_hour
        == 0.0
    )


def test_what_has_to_be_loaded_comes_first() -> None:
    found = asked(seen(*THREE, demand=DEMANDS), load=["c"])

    assert held(found.then) == {"c": "asked for by a person", "a": "worth its memory"}
    assert held(found.now) == {"a": "worth its memory", "b": "worth its memory"}


def test_priority_comes_before_score() -> None:
    models = (of_size("a", 1), of_size("b", 1), of_size("c", 1, priority=1))

    assert list(held(asked(seen(*models, demand=DEMANDS)).now)) == ["c", "a"]


def test_memory_that_others_use_is_not_given_away() -> None:
    reading = Reading(capacity_bytes=2 * GIB, used_bytes=GIB)

    now = asked(seen(*THREE, demand=DEMANDS, readings={CPU: reading})).now

    assert list(held(now)) == ["a"]


def test_what_is_worth_less_than_its_memory_is_left_out_though_there_is_room() -> None:
    """b: 40 requests of 3 s per hour, and who waits together counts too."""
    snapshot = seen(*THREE[:2], demand=DEMANDS)
    policy = replace(GIBS, price=1000.0)

    assert left_out(asked(snapshot, policy).now) == dict.fromkeys(
        ("a", "b"), "worth less than the price of its memory"
    )
    unpriced = replace(policy, ranking=Ranking.LRU)
    assert list(held(asked(snapshot, unpriced).now)) == ["a", "b"]


def test_warm_models_fill_the_room_that_is_left_and_cold_ones_without_demand_do_not() -> None:
    models = (of_size("a", 1), of_size("w", 1, tier="warm"), of_size("x", 1))

    assert list(held(asked(seen(*models, demand={"a": every(60)})).now)) == ["a", "w"]


def test_a_budget_too_small_for_the_hot_models_is_said_plainly() -> None:
    hot = [of_size(name, 1, tier="hot") for name in "ab"]

    found = asked(seen(*hot), budgets={CPU: GIB})

    assert found.now.too_small == ()
    assert found.summary.startswith(
        "budget too small: the hot models need 2.0 GiB on cpu, where 1.0 GiB are for models "
        "(a 1.0 GiB, b 1.0 GiB); raise the budget or make some of them warm; b (hot) needs 1.0 "
        "GiB on cpu, where too little of 1.0 GiB is left; "
    )


# Hot models together.


def test_hot_models_overflow_only_in_production_and_by_size() -> None:
    hot = (of_size("s", 4, tier="hot"), of_size("l", 7, tier="hot"), of_size("x", 9))

    (found,) = hot_overflow(fleet(*hot), BUDGET)

    assert (found.needed_bytes, found.budget_bytes) == (11 * MIB, 10 * MIB)
    assert list(found.by_model.items()) == [("l", 7 * MIB), ("s", 4 * MIB)]
    assert hot_overflow(fleet(*hot, profile=Profile.DEVELOPMENT), BUDGET) == ()
    assert hot_overflow(fleet(*hot), replace(BUDGET, budgets={CPU: 11 * MIB})) == ()
    assert hot_overflow(fleet(*hot), POLICY) == ()


def test_hot_models_crowd_out_what_would_fit_without_them() -> None:
    hot, large, small = of_size("h", 7, tier="hot"), of_size("l", 4), of_size("s", 3)

    (found,) = crowding(fleet(hot, large, small, of_size("x", 11)), BUDGET)

    assert (found.hot_bytes, found.budget_bytes, found.crowded_out) == (
        7 * MIB,
        10 * MIB,
        ("l",),
    )
    assert "no room for l; raise" in str(found)
    assert crowding(fleet(hot, small), BUDGET) == ()
    assert crowding(fleet(large, small), BUDGET) == ()
    assert crowding(fleet(hot, of_size("i", 7, tier="hot"), large), BUDGET) == (), "an overflow"
