"""What stays loaded within a memory budget. The budget here is 10 MiB, without headroom."""

from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.actions import Blocked, Ensure, Keep, LetGo, Plan, ReadAhead, Remove
from sidecar.core.fleet import Departure, Profile, ServerView, Snapshot, StoredModel, Verification
from sidecar.core.memory import CPU, GIB, Reading
from sidecar.core.planner import plan
from sidecar.core.policy import Policy
from sidecar.core.ranking import PREWARM_EVERY_S
from sidecar.core.release import ReleaseState
from sidecar.core.residency import VALUED_AT_ONCE
from sidecar.core.stage_config import stage_config
from tests.builders import (
    CANARY,
    MIB,
    NOW_S,
    POLICY,
    SERVING,
    asked_at,
    failure,
    holding,
    kept,
    model,
    placed,
    quarantine,
    release,
    server,
    snapshot,
)

BUDGET = replace(POLICY, budgets={CPU: 10 * MIB}, headroom=0.0)
OFTEN = asked_at(*(NOW_S - back for back in (50, 40, 30, 20, 10)))
SELDOM = asked_at(NOW_S - 900)


def of_size(name: str, mib: int, **intent: Any) -> StoredModel:
    return model(name, disk_bytes=mib * MIB, **{"tier": "auto", **intent})


def fleet(*models: StoredModel, loaded: str = "", **more: Any) -> Snapshot:
    """All have served before; `loaded` are on the serving server, and kept unless said."""
    names = loaded.split()
    there = [each for each in models if each.name in names]
    told = {"kept": kept(*names), "recorded": {each.name: 1 for each in models}, **more}
    return snapshot(*models, serving=server(*(holding(each, 1) for each in there)), **told)


def planned(seen: Snapshot, policy: Policy = BUDGET, now_s: float = NOW_S) -> Plan:
    return plan(seen, policy, now_s)


def told(found: Plan) -> list[str]:
    """The notes in short."""
    return [f"{type(note).__name__} {getattr(note, 'model', '')}" for note in found.notes]


# Somebody waits.


def test_a_model_that_somebody_waits_for_is_kept_and_then_loaded() -> None:
    a = of_size("a", 4)
    waiting = {"a": NOW_S - 1}

    assert planned(fleet(a, waiting=waiting)).notes == (
        Keep(model="a", reason="a request waits for it", waited_for=True),
    )
    (load,) = planned(fleet(a, waiting=waiting, kept=kept("a"))).work
    assert load == Ensure(server=SERVING, model="a", placement=placed(a, 1), reason="it was needed")


def test_the_least_worth_model_goes_for_the_one_that_is_waited_for() -> None:
    seen = fleet(
        of_size("busy", 4),
        of_size("idle", 4),
        of_size("new", 4),
        loaded="busy idle",
        waiting={"new": NOW_S},
        demand={"busy": OFTEN, "idle": SELDOM},
    )

    found = planned(seen)

    assert told(found) == ["Keep new", "LetGo idle"]
    gone = found.notes[1]
    assert isinstance(gone, LetGo)
    assert gone.evicted
    assert gone.reason == "evicted for new"
    assert (gone.numbers["needed_bytes"], gone.numbers["free_bytes"]) == (4 * MIB, 2 * MIB)


def test_nothing_is_loaded_before_what_leaves_has_left() -> None:
    busy, idle, new = of_size("busy", 4), of_size("idle", 4), of_size("new", 4)
    let_go = {"idle": Departure(at_s=NOW_S, reason="evicted")}
    leaving = fleet(
        busy, idle, new, loaded="busy idle", kept=kept("busy", "new"), departures=let_go
    )

    assert planned(leaving).work == (
        Remove(server=SERVING, model="idle", reason="nobody needs it now"),
    )
    gone = fleet(busy, idle, new, loaded="busy", kept=kept("busy", "new"))
    assert [type(work) for work in planned(gone).work] == [Ensure]


def test_several_go_for_a_large_one_but_none_too_many() -> None:
    seen = fleet(
        *(of_size(name, 2) for name in "abcde"),
        of_size("large", 5),
        loaded="a b c d e",
        waiting={"large": NOW_S},
        demand={name: asked_at(NOW_S - 100 * age) for age, name in enumerate("abcde", start=1)},
    )

    assert told(planned(seen)) == ["Keep large", "LetGo e", "LetGo d", "LetGo c"]


def test_what_cannot_fit_is_refused_with_the_numbers_and_nobody_goes() -> None:
    seen = fleet(
        of_size("hot", 4, tier="hot"),
        of_size("pinned", 3, pin=True),
        of_size("idle", 1),
        of_size("new", 5),
        loaded="hot pinned idle",
        kept=kept("pinned", "idle"),
        waiting={"new": NOW_S},
    )

    found = planned(seen)

    assert found.notes == ()
    assert found.blocked == {
        "new": Blocked(
            model="new",
            device=CPU,
            needed_bytes=5 * MIB,
            free_bytes=2 * MIB,
            evictable_bytes=1 * MIB,
            blocked_by=("hot (hot, 4.0 MiB)", "pinned (pinned, 3.0 MiB)"),
            is_final=True,
        )
    }
    assert str(found.blocked["new"]) == (
        "new needs 5.0 MiB on cpu, where 2.0 MiB are free and 1.0 MiB can be freed; in the way: "
        "hot (hot, 4.0 MiB), pinned (pinned, 3.0 MiB); raise the budget, or unload or unpin "
        "something"
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"busy": {(SERVING, "other")}},
        {"waiting": {"new": NOW_S, "other": NOW_S - 1}},
        {"releases": [release(ReleaseState.SOAKING, of="other")]},
    ],
    ids=["loading", "waited for", "being released"],
)
def test_what_is_in_the_way_for_a_moment_only_refuses_nobody(changed: dict[str, Any]) -> None:
    other = model("other", versions=[1, 2], tier="auto", disk_bytes=4 * MIB)
    seen = fleet(other, of_size("new", 8), **{"waiting": {"new": NOW_S}, **changed}, loaded="other")

    assert not planned(seen).blocked["new"].is_final


def test_a_model_never_goes_for_one_of_a_lower_priority() -> None:
    vip, low = of_size("vip", 8, priority=1), of_size("low", 8)
    assert "low" in planned(fleet(vip, low, loaded="vip", waiting={"low": NOW_S})).blocked
    assert told(planned(fleet(vip, low, loaded="low", waiting={"vip": NOW_S}))) == [
        "Keep vip",
        "LetGo low",
    ]


def test_whoever_waits_longest_is_served_first() -> None:
    """Together they would not fit."""
    late, early = of_size("a", 8), of_size("b", 8)
    seen = fleet(late, early, waiting={"a": NOW_S, "b": NOW_S - 5})

    found = planned(seen)

    assert told(found) == ["Keep b"]


def test_a_model_in_quarantine_is_not_kept() -> None:
    seen = fleet(of_size("a", 1), waiting={"a": NOW_S}, quarantine={"a": quarantine()})

    assert planned(seen).notes == ()


# The budget.


def test_loads_that_fit_one_by_one_but_not_together_wait_for_each_other() -> None:
    a, b = of_size("a", 6, tier="hot"), of_size("b", 6, tier="hot")

    found = planned(fleet(a, b))

    assert [work.model for work in found.work] == ["a"]
    assert found.blocked["b"].blocked_by == ("a (about to be loaded, 6.0 MiB)",)
    assert not found.blocked["b"].is_final


def test_memory_of_others_leaves_less() -> None:
    """12 MiB of 16 are used by others: 4 are left, whatever the budget says."""
    reading = Reading(capacity_bytes=16 * MIB, used_bytes=12 * MIB)
    a = of_size("a", 5, tier="hot")

    found = planned(fleet(a, readings={CPU: reading}))

    assert found.work == ()
    assert found.blocked["a"].free_bytes == 4 * MIB


def test_the_headroom_stays_free() -> None:
    a = of_size("a", 10, tier="hot")

    assert planned(fleet(a)).work != ()
    assert planned(fleet(a), replace(BUDGET, headroom=0.01)).work == ()


def test_a_measured_model_counts_as_measured() -> None:
    reading = Reading(capacity_bytes=100 * MIB, used_bytes=9 * MIB, by_model={"a": 9 * MIB})
    seen = fleet(
        of_size("a", 1), of_size("b", 2), loaded="a", kept=kept("a", "b"), readings={CPU: reading}
    )

    assert planned(seen).work == ()


def test_a_budget_that_shrank_is_met_again() -> None:
    seen = fleet(of_size("a", 4), of_size("b", 4), loaded="a b", demand={"a": OFTEN, "b": SELDOM})

    (gone,) = planned(seen, replace(BUDGET, budgets={CPU: 5 * MIB})).notes

    assert isinstance(gone, LetGo)
    assert (gone.model, gone.reason) == ("b", "cpu holds 3.0 MiB more than it may")


def test_without_a_budget_and_a_meter_nothing_is_refused() -> None:
    a = of_size("a", 10**6, tier="hot")

    assert len(planned(fleet(a), POLICY).work) == 1


# Idle.


def test_a_kept_model_goes_when_holding_it_costs_more_than_its_next_cold_start() -> None:
    a = of_size("a", 4)
    timeout_s = 500.0
    a = replace(a, intent=a.intent.model_copy(update={"idle_timeout_s": timeout_s}))
    seen = fleet(a, loaded="a", demand={"a": asked_at(NOW_S - 100)}, kept=kept("a", since_s=1.0))

    assert planned(seen) == Plan(wake_at_s=NOW_S - 100 + timeout_s)
    (gone,) = planned(seen, now_s=NOW_S + 400).notes
    assert isinstance(gone, LetGo)
    assert not gone.evicted
    assert gone.numbers["idle_s"] == 500.0


def test_the_idle_timeout_is_where_memory_and_cold_start_cost_the_same() -> None:
    """1 GiB, 1 s at a price of 3 s per GiB-hour: 1/3 h."""
    a = of_size("a", 1024)
    declared = a.versions[1].manifest
    cost = replace(declared.cost, load_s=1.0, disk_bytes=0)
    version = replace(a.versions[1], manifest=replace(declared, cost=cost))
    a = replace(a, versions={1: version})
    seen = fleet(a, loaded="a", kept=kept("a", since_s=NOW_S))

    wake_at_s = planned(seen, replace(BUDGET, budgets={})).wake_at_s

    assert wake_at_s == pytest.approx(NOW_S + 1200.0)


@pytest.mark.parametrize("changed", [{"pin": True}, {"tier": "warm"}, {"tier": "hot"}])
def test_pinned_warm_and_hot_models_are_never_idle(changed: dict[str, Any]) -> None:
    a = of_size("a", 4, **{"idle_timeout_s": 1.0, **changed})
    seen = fleet(a, loaded="a", kept=kept("a", since_s=1.0))

    assert planned(seen).notes == ()


def test_a_model_that_a_person_loaded_stays_until_a_person_unloads_it() -> None:
    a = of_size("a", 4, idle_timeout_s=1.0)
    seen = fleet(a, loaded="a", kept=kept("a", since_s=1.0), asked={"a": True})

    assert planned(seen) == Plan()


def test_an_unload_by_hand_ends_what_the_planner_kept() -> None:
    a = of_size("a", 4)
    seen = fleet(a, loaded="a", kept=kept("a", since_s=NOW_S - 1), asked={"a": False})

    assert told(planned(seen)) == ["LetGo a"]


def test_in_development_hot_models_are_as_any_other() -> None:
    a = of_size("a", 4, tier="hot", idle_timeout_s=1.0)
    developing = {"profile": Profile.DEVELOPMENT}

    assert planned(fleet(a, **developing)) == Plan()
    assert told(planned(fleet(a, loaded="a", kept=kept("a", since_s=1.0), **developing))) == [
        "LetGo a"
    ]


# Loaded ahead.

TICK: dict[str, Any] = {"prewarmed_at_s": 0.0}


def test_a_warm_model_is_loaded_while_there_is_room() -> None:
    a = of_size("a", 4, tier="warm")

    assert told(planned(fleet(a, **TICK))) == ["Keep a"]
    assert planned(fleet(a)).notes == ()


def test_a_large_fleet_is_looked_at_in_parts_all_of_them_within_one_period() -> None:
    warm = [of_size(f"m{number}", 1, tier="warm") for number in range(VALUED_AT_ONCE + 1)]
    roomy = replace(POLICY, budgets={CPU: 2 * len(warm) * MIB}, headroom=0.0)

    def at(now_s: float, *, last_s: float) -> Plan:
        return planned(fleet(*warm, prewarmed_at_s=last_s), roomy, now_s)

    every_s = PREWARM_EVERY_S / 2
    begin_s = 10 * PREWARM_EVERY_S
    assert told(at(begin_s, last_s=begin_s - every_s)) == ["Keep m0", "Keep m10"]
    assert told(at(begin_s + every_s - 1, last_s=begin_s)) == []
    assert told(at(begin_s + every_s, last_s=begin_s)) == ["Keep m1", "Keep m101"]


def test_a_model_is_loaded_ahead_when_it_is_worth_its_memory() -> None:
    often = fleet(of_size("a", 4), demand={"a": OFTEN}, **TICK)
    seldom = fleet(of_size("a", 4), demand={"a": SELDOM}, **TICK)

    assert told(planned(often)) == ["Keep a"]
    assert told(planned(seldom, replace(BUDGET, price=1e6))) == []


@pytest.mark.parametrize(
    "changed",
    [
        {"waiting": {"other": NOW_S}},
        {"busy": {(SERVING, "other")}},
        {"asked": {"a": False}},
        {"tier": "cold"},
    ],
    ids=["somebody waits", "a load is in flight", "unloaded by hand", "cold"],
)
def test_nothing_is_loaded_ahead_against(changed: dict[str, Any]) -> None:
    tier = changed.pop("tier", "auto")
    seen = fleet(
        of_size("a", 4, tier=tier), of_size("other", 1), demand={"a": OFTEN}, **TICK, **changed
    )

    assert "Keep a" not in told(planned(seen))


def test_a_voluntary_load_evicts_only_what_is_worth_half_as_much() -> None:
    a, b = of_size("a", 8), of_size("b", 8)
    much = fleet(a, b, loaded="b", demand={"a": OFTEN, "b": SELDOM}, **TICK)
    little = fleet(a, b, loaded="b", demand={"a": OFTEN, "b": OFTEN}, **TICK)

    assert told(planned(much)) == ["LetGo b", "Keep a"]
    assert told(planned(little)) == []


def test_prewarming_can_be_switched_off() -> None:
    seen = fleet(of_size("a", 4), demand={"a": OFTEN}, **TICK)

    assert planned(seen, replace(BUDGET, prewarm=False)).notes == ()


# Releases.


def test_a_release_that_can_never_fit_ends_with_the_numbers() -> None:
    m = model("m", versions=[1, 2], tier="hot", disk_bytes=6 * MIB)
    seen = snapshot(
        m,
        serving=holding(m, 1),
        recorded={"m": 1},
        releases=[release(ReleaseState.CANARY_LOADING)],
    )

    (note,) = planned(seen).notes

    assert note.release.state is ReleaseState.REFUSED
    assert "needs 6.0 MiB on cpu, where 4.0 MiB are free" in note.release.reason


def test_what_others_hold_with_a_model_does_not_count_as_freed_by_it() -> None:
    """Its share of mapped libraries falls to them as soon as it has gone."""
    seen = fleet(of_size("pinned", 4, pin=True), of_size("old", 4), of_size("new", 5))
    seen = replace(fleet(*seen.models.values(), loaded="pinned old"), waiting={"new": NOW_S})
    held = {"pinned": 5 * MIB, "old": 5 * MIB}

    def measured(**alone: int) -> Plan:
        reading = Reading(
            capacity_bytes=GIB,
            used_bytes=20 * MIB,
            by_model=held,
            alone_by_model={name: mib * MIB for name, mib in alone.items()},
        )
        return planned(replace(seen, readings={CPU: reading}))

    assert told(measured(old=5)) == ["Keep new", "LetGo old"]
    shared = measured(old=4)
    assert "LetGo old" not in told(shared)
    assert (shared.blocked["new"].free_bytes, shared.blocked["new"].evictable_bytes) == (0, 4 * MIB)


# Two devices. The GPU has 10 MiB for models, the CPU 100.

GPU = "gpu:0"
BOTH = replace(POLICY, budgets={CPU: 100 * MIB, GPU: 10 * MIB}, headroom=0.0, cpu_while_full=True)


def on_gpu(name: str, mib: int, **intent: Any) -> StoredModel:
    found = of_size(name, mib, **intent)
    version = found.versions[1]
    return replace(
        found, versions={1: replace(version, config=version.config.replace("_CPU", "_GPU"))}
    )


def on_cpu_instead(stored: StoredModel) -> ServerView:
    """Serving on the CPU what belongs on the GPU."""
    config = stage_config(stored.versions[1].config, versions=(1,), warmup=True, on_cpu=True)
    view = holding(stored, 1)
    return replace(
        view,
        staged={stored.name: config},
        verified={stored.name: Verification(versions=frozenset({1}), config=config)},
    )


def test_each_device_has_its_own_budget() -> None:
    seen = fleet(
        on_gpu("old", 8),
        of_size("beside", 8),
        on_gpu("new", 8),
        loaded="old beside",
        waiting={"new": NOW_S},
    )

    assert told(planned(seen, replace(BOTH, cpu_while_full=False))) == ["Keep new", "LetGo old"]


def test_nobody_goes_for_a_model_whose_gpu_the_machine_lacks() -> None:
    other = on_gpu("other", 8)
    config = other.versions[1].config.replace("KIND_GPU", "KIND_GPU gpus: 1")
    other = replace(other, versions={1: replace(other.versions[1], config=config)})
    seen = fleet(of_size("old", 8), on_gpu("any", 8), other, loaded="old")

    for name in ("any", "other"):
        assert told(planned(replace(seen, waiting={name: NOW_S}))) == [f"Keep {name}"]


def test_a_model_serves_on_the_cpu_while_its_gpu_is_full() -> None:
    hot, new = on_gpu("hot", 8, tier="hot"), on_gpu("new", 8)
    seen = fleet(hot, new, loaded="hot", kept={}, waiting={"new": NOW_S})

    found = planned(seen, BOTH)

    assert found.notes == (
        Keep(
            model="new",
            reason="a request waits for it, and gpu:0 is full",
            waited_for=True,
            on_cpu=True,
        ),
    )
    assert found.blocked == {}
    on_cpu = {"new": replace(kept("new")["new"], on_cpu=True)}
    (load,) = planned(replace(seen, kept=on_cpu), BOTH).work
    assert isinstance(load, Ensure)
    assert "KIND_CPU" in load.placement.config
    assert "new" in planned(seen, replace(BOTH, cpu_while_full=False)).blocked


def test_what_only_a_gpu_can_run_does_not_go_to_the_cpu() -> None:
    hot, new = on_gpu("hot", 8, tier="hot"), on_gpu("new", 8)
    config = new.versions[1].config.replace('backend: "onnxruntime"', 'platform: "tensorrt_plan"')
    new = replace(new, versions={1: replace(new.versions[1], config=config)})
    seen = fleet(hot, new, loaded="hot", kept={}, waiting={"new": NOW_S})

    assert planned(seen, BOTH).blocked["new"].device == GPU


def test_it_moves_in_place_when_its_gpu_has_room() -> None:
    a = on_gpu("a", 8)
    seen = replace(
        fleet(a, kept={"a": replace(kept("a", since_s=1.0)["a"], on_cpu=True)}, **TICK),
        servers={SERVING: on_cpu_instead(a), CANARY: ServerView()},
    )

    found = planned(seen, BOTH)

    assert found.notes == (Keep(model="a", reason="gpu:0 has room for it again"),)
    (move,) = planned(replace(seen, kept=kept("a")), BOTH).work
    assert isinstance(move, Ensure)
    assert "KIND_GPU" in move.placement.config


def test_it_stays_on_the_cpu_when_moving_failed() -> None:
    a = on_gpu("a", 8)
    seen = replace(
        fleet(a, kept=kept("a", since_s=1.0), **TICK),
        servers={SERVING: on_cpu_instead(a), CANARY: ServerView()},
        failures={(SERVING, "a"): failure(placed(a, 1), "no GPU", at_s=NOW_S)},
    )

    assert planned(seen, BOTH).notes == (
        Keep(model="a", reason="it could not be moved and stays on the CPU: no GPU", on_cpu=True),
    )


# Files read ahead.


def read_ahead(seen: Snapshot, policy: Policy = POLICY) -> list[str]:
    """The models whose files the next plan reads."""
    return [work.model for work in planned(seen, policy).work if isinstance(work, ReadAhead)]


HOST = replace(POLICY, price=1e9, page_cache_bytes=10 * MIB)


def test_files_of_the_likely_next_models_are_read_ahead_within_the_hosts_budget() -> None:
    demand = {"often": OFTEN, "seldom": asked_at(NOW_S - 300, NOW_S - 200), "once": asked_at(1.0)}
    models = [of_size("often", 4), of_size("seldom", 4), of_size("once", 4)]
    seen = fleet(*models, demand=demand, **TICK)

    assert read_ahead(seen, HOST) == ["often", "seldom"]
    assert read_ahead(replace(seen, cached=frozenset({"often"})), HOST) == ["seldom"]
    assert read_ahead(seen, replace(HOST, page_cache_bytes=7 * MIB)) == ["often"]


def test_without_a_budget_files_take_half_of_what_is_free() -> None:
    reading = Reading(capacity_bytes=10 * MIB, used_bytes=2 * MIB)
    seen = fleet(of_size("a", 4), demand={"a": OFTEN}, readings={CPU: reading}, **TICK)
    without = replace(HOST, page_cache_bytes=None)

    assert read_ahead(seen, without) == ["a"]
    fuller = replace(seen, readings={CPU: replace(reading, used_bytes=3 * MIB)})
    assert read_ahead(fuller, without) == []


@pytest.mark.parametrize(
    "changed", [{"busy": {(SERVING, "b")}}, {"waiting": {"b": NOW_S}}, {"prewarmed_at_s": NOW_S}]
)
def test_files_are_read_only_while_nothing_else_goes_on(changed: dict[str, Any]) -> None:
    told_otherwise = {**TICK, **changed}
    seen = fleet(of_size("a", 4), of_size("b", 4), demand={"a": OFTEN}, **told_otherwise)

    assert read_ahead(seen, HOST) == []


def test_a_model_that_is_hot_no_more_stays_until_it_is_idle() -> None:
    a = of_size("a", 4, tier="hot")
    switched = fleet(a, loaded="a", kept={}, profile=Profile.DEVELOPMENT)

    assert planned(switched).notes == (
        Keep(model="a", reason="it serves, and nobody has let it go"),
    )


def test_a_model_that_was_let_go_is_not_kept_again_before_it_has_gone() -> None:
    a = of_size("a", 4)
    departed = {"a": Departure(at_s=NOW_S, reason="idle")}

    (work,) = planned(fleet(a, loaded="a", kept={}, departures=departed)).work
    assert isinstance(work, Remove)


def test_an_unload_by_hand_holds_after_a_restart_of_the_sidecar() -> None:
    seen = fleet(
        of_size("a", 4),
        demand={"a": OFTEN},
        asked={"a": False},
        watched_since_s=NOW_S + 10,
        **TICK,
    )

    assert planned(seen, now_s=NOW_S + 20).notes == ()


def test_who_was_not_watched_may_have_been_asked() -> None:
    """The sidecar was away for a while; traffic went on."""
    a = of_size("a", 4, idle_timeout_s=60.0)
    seen = fleet(a, loaded="a", kept=kept("a", since_s=1.0), watched_since_s=NOW_S - 1)

    assert planned(seen) == Plan(wake_at_s=NOW_S + 59)
