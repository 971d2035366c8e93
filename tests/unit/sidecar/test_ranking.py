"""Whom to evict and whom to load ahead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.core.demand import Demand, arrived, pooled
from sidecar.core.ranking import Ranking, Resident, choose_prewarms, choose_victims, score
from tests.builders import asked_at

GIB = 2**30
SEVERAL = st.lists(
    st.builds(
        Resident,
        model=st.uuids().map(str),
        held_bytes=st.integers(1, 100),
        score=st.floats(0, 100),
        priority=st.integers(0, 2),
    ),
    max_size=12,
)


def of(model: str, held_bytes: int, score: float, priority: int = 0) -> Resident:
    return Resident(model=model, held_bytes=held_bytes, score=score, priority=priority)


def worth(
    ranking: Ranking,
    demand: Demand | None,
    *,
    reload_s: float = 4.0,
    gib: float = 2.0,
    now_s: float = 19.0,
    aged: float = 0.0,
) -> float:
    return score(
        ranking,
        demand,
        reload_s=reload_s,
        held_bytes=int(gib * GIB),
        pool=pooled(()),
        now_s=now_s,
        aged=aged,
    )


def test_value_is_cold_start_seconds_per_hour_and_gib() -> None:
    """A tenth of a request per second, 4 s each, for 2 GiB.

    About 2 requests in ten minutes make 0.013 others that come during such a load, and wait for
    half of it.
    """
    waiting = 1 + 0.5 * (2 / 600 * 4)
    expected = 3600 * 0.1 * 4 * waiting / 2

    assert worth(Ranking.VALUE_LITE, asked_at(0, 10)) == pytest.approx(expected, rel=1e-3)


def test_a_crowd_that_waits_together_counts_at_most_elevenfold() -> None:
    burst = arrived(None, count=1_000_000, since_s=0, until_s=1)
    twice = worth(Ranking.VALUE, burst, reload_s=8) / worth(Ranking.VALUE, burst, reload_s=4)
    assert twice == pytest.approx(2)


@pytest.mark.parametrize("ranking", Ranking)
def test_a_model_that_nobody_asked_for_is_worth_nothing(ranking: Ranking) -> None:
    assert worth(ranking, None) == 0


@pytest.mark.parametrize("ranking", [Ranking.VALUE, Ranking.VALUE_LITE])
def test_value_grows_with_load_time_and_falls_with_size_and_idle_time(ranking: Ranking) -> None:
    demand = asked_at(0, 10)
    assert ranking.is_priced
    assert worth(ranking, demand, reload_s=8) > worth(ranking, demand)
    assert worth(ranking, demand, gib=4) == pytest.approx(worth(ranking, demand) / 2)
    assert worth(ranking, demand, now_s=100) < worth(ranking, demand)


def test_lru_ranks_by_the_last_request() -> None:
    assert worth(Ranking.LRU, asked_at(0, 10)) < worth(Ranking.LRU, asked_at(11))


def test_lfu_ranks_by_the_requests_of_about_an_hour() -> None:
    often_long_ago = asked_at(*range(0, 50, 2))
    assert worth(Ranking.LFU, often_long_ago, now_s=60) > worth(Ranking.LFU, asked_at(55), now_s=60)
    later_s = 5 * 3600.0
    assert worth(Ranking.LFU, often_long_ago, now_s=later_s) < worth(
        Ranking.LFU, asked_at(later_s - 1), now_s=later_s
    )


def test_gdsf_adds_requests_times_load_time_per_gib_to_the_age() -> None:
    assert worth(Ranking.GDSF, asked_at(0, 10), aged=7) == 7 + 2 * 4 / 2
    assert not Ranking.GDSF.is_priced


def test_the_lowest_score_goes_first() -> None:
    a, b, c = of("a", 10, 3), of("b", 10, 1), of("c", 10, 2)

    assert choose_victims([a, b, c], 20) == (b, c)


def test_the_lowest_priority_goes_before_any_score() -> None:
    a, b = of("a", 10, 1, priority=1), of("b", 10, 9)

    assert choose_victims([a, b], 5) == (b,)


def test_equals_go_by_name() -> None:
    a, b = of("a", 10, 1), of("b", 10, 1)

    assert choose_victims([b, a], 5) == (a,)


def test_small_ones_stay_when_a_large_one_had_to_go_anyway() -> None:
    small, large = of("small", 1, 1), of("large", 10, 2)

    assert choose_victims([small, large], 10) == (large,)


def test_the_best_of_those_not_needed_stays() -> None:
    """After c has to go, one of a and b is enough beside it: b is worth more and stays."""
    a, b, c = of("a", 2, 1), of("b", 2, 2), of("c", 8, 3)

    assert choose_victims([a, b, c], 10) == (a, c)


def test_nobody_goes_when_all_together_are_too_small() -> None:
    assert choose_victims([of("a", 10, 1)], 11) is None


def test_nobody_goes_when_nothing_is_needed() -> None:
    assert choose_victims([of("a", 10, 1)], 0) == ()


@given(SEVERAL, st.integers(0, 400))
def test_victims_free_enough_and_none_of_them_is_needless(
    residents: list[Resident], need_bytes: int
) -> None:
    victims = choose_victims(residents, need_bytes)
    if victims is None:
        assert sum(resident.held_bytes for resident in residents) < need_bytes
        return
    freed = sum(victim.held_bytes for victim in victims)
    assert freed >= need_bytes
    assert all(freed - victim.held_bytes < need_bytes for victim in victims)


@given(SEVERAL, st.integers(1, 400))
def test_no_victim_has_a_priority_that_lower_ones_could_have_spared(
    residents: list[Resident], need_bytes: int
) -> None:
    for victim in choose_victims(residents, need_bytes) or ():
        lower = [each for each in residents if each.priority < victim.priority]
        assert sum(each.held_bytes for each in lower) < need_bytes


@given(
    SEVERAL.flatmap(lambda several: st.tuples(st.just(several), st.permutations(several))),
    st.integers(1, 400),
)
def test_the_choice_does_not_depend_on_the_order_of_the_residents(
    both: tuple[list[Resident], list[Resident]], need_bytes: int
) -> None:
    residents, shuffled = both
    assert choose_victims(shuffled, need_bytes) == choose_victims(residents, need_bytes)


def test_what_fits_is_loaded_ahead_best_first() -> None:
    a, b, c = of("a", 10, 1), of("b", 10, 3), of("c", 10, 2)

    assert choose_prewarms([a, b, c], [], 100) == [(b, ()), (c, ())]
    assert choose_prewarms([a, b, c], [], 15) == [(b, ())]


def test_a_smaller_one_fits_where_a_better_one_does_not() -> None:
    assert choose_prewarms([of("big", 10, 9), of("small", 2, 1)], [], 5) == [
        (of("small", 2, 1), ())
    ]


def test_others_go_for_twice_their_worth_together() -> None:
    """The candidate is worth 40, the two that hold its place 20 together."""
    p, q = of("p", 5, 1), of("q", 5, 3)

    assert choose_prewarms([of("a", 10, 4)], [p, q], 0) == [(of("a", 10, 4), (p, q))]
    assert choose_prewarms([of("a", 10, 3.9)], [p, q], 0) == []


def test_only_what_is_displaced_counts() -> None:
    """5 of its 10 bytes are free: p alone goes, worth 5, for one worth 10."""
    p, q = of("p", 5, 1), of("q", 5, 3)

    assert choose_prewarms([of("a", 10, 1)], [p, q], 5) == [(of("a", 10, 1), (p,))]


def test_nobody_goes_for_a_higher_priorities_sake_only() -> None:
    assert choose_prewarms([of("a", 10, 1, priority=1)], [of("p", 10, 9)], 0) == []


def test_nobody_of_a_higher_priority_goes() -> None:
    assert choose_prewarms([of("a", 10, 9)], [of("p", 10, 1, priority=1)], 0) == []


def test_nobody_goes_for_a_model_that_is_worth_nothing() -> None:
    assert choose_prewarms([of("a", 10, 0)], [of("p", 10, 0)], 0) == []


def test_each_choice_counts_on_what_the_ones_before_left() -> None:
    """a takes p's place and leaves 5 bytes of it free, in which b fits."""
    a, b, p = of("a", 5, 9), of("b", 5, 1), of("p", 10, 1)

    assert choose_prewarms([a, b], [p], 0) == [(a, (p,)), (b, ())]


def test_nobody_goes_twice() -> None:
    a, b, p = of("a", 10, 9), of("b", 10, 8), of("p", 10, 1)

    assert choose_prewarms([a, b], [p], 0) == [(a, (p,))]


def test_equal_candidates_are_loaded_by_name() -> None:
    a, b = of("a", 10, 1), of("b", 10, 1)

    assert choose_prewarms([b, a], [], 10) == [(a, ())]
