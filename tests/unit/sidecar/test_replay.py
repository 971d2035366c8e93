"""Replays by hand, and against an LRU that was written for this test."""

import csv
import gzip
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.traces import read_models
from sidecar.core.ranking import Ranking
from sidecar.core.replay import ReplayedModel, ReplayResult, Request, offline, replay

GIB = 2**30
TRACES = Path(__file__).resolve().parents[3] / "bench" / "traces"
EQUAL = {name: ReplayedModel(held_bytes=GIB, load_s=10) for name in "abc"}
TIMERS = sorted(
    (600.0 * number + offset, model)
    for number in range(30)
    for model, offset in (("a", 0.0), ("b", 300.0))
)
TRACE = st.lists(st.tuples(st.floats(0, 500), st.sampled_from("abc")), min_size=1).map(sorted)


def lru(trace: list[Request], gib: float = 1, **options: float) -> ReplayResult:
    return replay(trace, EQUAL, int(gib * GIB), ranking=Ranking.LRU, **options)


def test_who_comes_during_a_load_waits_for_its_remainder() -> None:
    """a loads from 0 to 10; b evicts it at 3600, and it comes back within a minute."""
    found = lru([(0, "a"), (4, "a"), (10, "a"), (3600, "b"), (3630, "a"), (7200, "a")])

    assert found == ReplayResult(
        requests=6,
        span_s=7200,
        waits_s=(6, 10, 10, 10),
        loads=3,
        loaded_bytes=3 * GIB,
        load_s=30,
        quick_loads=1,
        prewarms=0,
        prewarms_used=0,
        held_gib_h=2,
        shadow_price=None,
    )
    assert found.mean_wait_s == 6
    assert found.cold_share == pytest.approx(4 / 6)
    assert found.load_concurrency == pytest.approx(30 / 7200)
    assert [found.wait_percentile_s(percent) for percent in (30, 50, 99)] == [0, 6, 10]


def test_what_is_loading_is_not_evicted() -> None:
    """b can only begin when a is loaded, at 10; all who asked for b wait until 20."""
    found = lru([(0, "a"), (5, "b"), (8, "b"), (30, "b")])

    assert found.waits_s == (10, 12, 15)
    assert found.loads == 2


def test_loads_run_side_by_side_where_there_is_room() -> None:
    assert lru([(0, "a"), (5, "b")], gib=2).waits_s == (10, 10)


def test_who_still_waits_for_memory_at_the_end_is_counted() -> None:
    assert lru([(0, "a"), (5, "b"), (8, "a")]).waits_s == (2, 10, 13)


def test_the_least_recently_used_goes() -> None:
    found = lru([(0, "a"), (20, "b"), (40, "a"), (60, "c"), (80, "a"), (100, "b")], gib=2)

    assert (found.loads, found.quick_loads) == (4, 1)


def test_gdsf_forgets_old_fame_as_victims_grow_in_worth() -> None:
    """a is worth 4 x 10. b goes at 10, c at 10 + 10, then b is worth 20 + 2 x 10 and a goes."""
    trace = [(0, "a"), (1, "a"), (2, "a"), (3, "a"), (100, "b"), (200, "c"), (300, "b"), (400, "c")]
    found = replay([*trace, (500, "a")], EQUAL, 2 * GIB, ranking=Ranking.GDSF)

    assert found.loads == 6


def test_an_idle_model_leaves_when_its_memory_cost_as_much_as_its_load() -> None:
    """10 s of load at 100 s per GiB-hour: 360 s. Loaded until 370, and from 400 on."""
    found = lru([(0, "a"), (10, "a"), (400, "a"), (759, "a")], price=100)

    assert found.waits_s == (10, 10)
    assert found.held_gib_h == pytest.approx((370 + 359) / 3600)


def test_a_regular_model_is_loaded_ahead_when_it_is_due() -> None:
    """Both want the place every ten minutes, b five minutes after a."""
    ahead = replay(TIMERS, EQUAL, GIB, prewarm=True)
    on_demand = replay(TIMERS, EQUAL, GIB)

    assert on_demand.cold_share == 1
    assert ahead.cold_share < 0.4
    assert ahead.prewarms_used >= 0.9 * ahead.prewarms - 2


def test_nothing_is_loaded_ahead_that_is_worth_less_than_its_price() -> None:
    assert replay(TIMERS, EQUAL, GIB, prewarm=True, price=1e6).prewarms == 0


ROOM_FOR_C: list[Request] = [(0, "a"), (200, "c"), (400, "b"), (600, "a"), (710, "c"), (900, "c")]
"""b takes the place of both others; when a comes back, half of that place is left."""
LARGE_B = {
    name: ReplayedModel(held_bytes=gib * GIB, load_s=100)
    for name, gib in {"a": 1, "b": 2, "c": 1}.items()
}


def test_free_memory_is_filled_ahead_but_never_during_another_load() -> None:
    """a loads until 700; at the next tick, 705, c begins, and waits for 95 s instead of 100."""
    found = replay(ROOM_FOR_C, LARGE_B, 2 * GIB, prewarm=True)

    assert found.waits_s == (95, 100, 100, 100, 100)
    assert (found.prewarms, found.prewarms_used) == (1, 1)


@pytest.mark.parametrize("ranking", [Ranking.LRU, Ranking.LFU, Ranking.GDSF])
def test_rankings_without_seconds_do_not_load_ahead(ranking: Ranking) -> None:
    found = replay(ROOM_FOR_C, LARGE_B, 2 * GIB, ranking=ranking, prewarm=True)

    assert found.waits_s == (100, 100, 100, 100, 100)
    assert found.prewarms == 0


def test_value_keeps_what_is_asked_for_often_and_lru_what_came_last() -> None:
    """Every two minutes a twice, then one of two others once."""
    trace = [
        (120.0 * number + offset, model)
        for number in range(60)
        for model, offset in (("a", 0.0), ("a", 5.0), ("b" if number % 2 else "c", 60.0))
    ]
    assert lru(trace).loads == 120
    kept = replay(trace, EQUAL, 2 * GIB, ranking=Ranking.VALUE)
    assert kept.loads == 61


def test_the_shadow_price_follows_the_worth_of_the_last_victims() -> None:
    trace = [(100.0 * number, "abc"[number % 3]) for number in range(60)]
    price = replay(trace, EQUAL, 2 * GIB).shadow_price
    assert price is not None
    # One request in 300 s, each of 10 s, with at most as many waiting: of the order of 120 s/h.
    assert 30 < price < 500


def test_a_model_larger_than_the_budget_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"model a holds 1\.0 GiB, more than the budget of 512\.0"):
        lru([(0, "a")], gib=0.5)


def test_progress_is_told_on_the_way() -> None:
    told: list[int] = []
    replay([(float(number), "a") for number in range(12_000)], EQUAL, GIB, progress=told.append)

    assert told == [5_000, 10_000]


def test_whose_next_request_is_furthest_away_goes_offline() -> None:
    """At 40 LRU drops a, which is asked for again at once."""
    trace: list[Request] = [(0, "a"), (20, "b"), (40, "c"), (60, "a"), (80, "c"), (900, "b")]

    assert lru(trace, gib=2).loads == 5
    assert offline(trace, EQUAL, 2 * GIB).loads == 4


def test_offline_weighs_load_times() -> None:
    """Keeping a saves 100 s at 300; keeping b would save 1 s at 200."""
    models = {
        "a": ReplayedModel(held_bytes=GIB, load_s=100),
        "b": ReplayedModel(held_bytes=GIB, load_s=1),
        "c": ReplayedModel(held_bytes=GIB, load_s=1),
    }
    trace: list[Request] = [(0, "a"), (110, "b"), (120, "c"), (200, "b"), (300, "a")]

    assert offline(trace, models, 2 * GIB).wait_s == 100 + 1 + 1 + 1


def test_offline_takes_the_plain_order_where_weighing_is_worse() -> None:
    """d throws out all, so keeping a for its 100 s was in vain, and cost the 1 s of b."""
    models = {
        name: ReplayedModel(held_bytes=gib * GIB, load_s=load_s)
        for name, gib, load_s in (("a", 1, 100), ("b", 1, 1), ("c", 1, 1), ("d", 2, 5))
    }
    trace: list[Request] = [(0, "a"), (110, "b"), (120, "c"), (200, "b"), (220, "d"), (600, "a")]

    assert offline(trace, models, 2 * GIB).wait_s == 100 + 1 + 1 + 5 + 100


@given(trace=TRACE, ranking=st.sampled_from(Ranking), prewarm=st.booleans())
def test_whatever_the_policy_everybody_is_served_within_the_budget(
    *, trace: list[Request], ranking: Ranking, prewarm: bool
) -> None:
    found = replay(trace, EQUAL, 2 * GIB, ranking=ranking, prewarm=prewarm)

    assert found.requests == len(trace)
    assert found.held_gib_h <= 2 * found.span_s / 3600 + 1e-9
    # At worst three loads one after the other.
    assert all(0 < wait_s <= 30 for wait_s in found.waits_s)


def recorded(requests: int) -> tuple[list[Request], dict[str, ReplayedModel]]:
    with gzip.open(TRACES / "servegen_large.csv.gz", "rt") as file:
        rows = list(islice(csv.reader(file), 1, requests + 1))
    trace = [(float(at_s), model) for at_s, model in rows]
    return trace, read_models(TRACES / "servegen_large.models.csv")


def test_lru_is_what_a_plain_lru_makes_of_a_recorded_trace() -> None:
    trace, models = recorded(20_000)
    budget = sum(model.held_bytes for model in models.values()) // 5

    found = replay(trace, models, budget, ranking=Ranking.LRU)
    assert found.wait_s == pytest.approx(plain_lru_wait_s(trace, models, budget))


def plain_lru_wait_s(trace: list[Request], models: dict[str, ReplayedModel], budget: int) -> float:
    used_s: dict[str, float] = {}
    ready_s: dict[str, float] = {}
    wait_s = 0.0
    for now_s, model in trace:
        if model not in used_s:
            free = budget - sum(models[other].held_bytes for other in used_s)
            out: list[str] = []
            for other in sorted(used_s, key=lambda each: (used_s[each], each)):
                if free >= models[model].held_bytes:
                    break
                if ready_s[other] <= now_s:
                    out.append(other)
                    free += models[other].held_bytes
            assert free >= models[model].held_bytes, "this slice never waits for memory"
            for other in reversed(out):
                if free - models[other].held_bytes >= models[model].held_bytes:
                    free -= models[other].held_bytes
                else:
                    del used_s[other]
            ready_s[model] = now_s + models[model].load_s
        used_s[model] = now_s
        wait_s += max(0.0, ready_s[model] - now_s)
    return wait_s


def test_on_a_recorded_trace_value_waits_less_than_lru_and_more_than_offline() -> None:
    trace, models = recorded(20_000)
    budget = sum(model.held_bytes for model in models.values()) // 10
    waits = {
        ranking: replay(trace, models, budget, ranking=ranking).mean_wait_s for ranking in Ranking
    }
    bound = offline(trace, models, budget).mean_wait_s

    assert bound < waits[Ranking.VALUE] < 0.8 * waits[Ranking.LRU]
    assert waits[Ranking.VALUE_LITE] < 0.85 * waits[Ranking.LRU]
