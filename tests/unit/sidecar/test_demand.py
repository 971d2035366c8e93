"""What is remembered of requests, and what is expected from it; all figures by hand."""

from collections.abc import Iterable
from dataclasses import replace
from math import e, exp, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from sidecar.core.demand import (
    BINS,
    Demand,
    arrived,
    break_even_per_hour,
    cold_starts_per_hour,
    expected_rate,
    gap_rate,
    held_share,
    idle_timeout_s,
    keep_warm_value,
    next_burst_s,
    pooled,
    rates,
)
from tests.builders import asked_at

NOBODY = pooled(())


def filled(demand: Demand) -> dict[int, float]:
    return {number: weight for number, weight in enumerate(demand.gaps) if weight}


def every(gap_s: float, times: int) -> Iterable[float]:
    return (gap_s * number for number in range(times))


def test_a_gap_counts_in_the_bin_that_holds_it_and_fades_with_each_further_gap() -> None:
    """1.5^11 = 86.5 and 1.5^12 = 129.7; 1.5^5 = 7.6 and 1.5^6 = 11.4."""
    assert filled(asked_at(0, 100)) == {11: 1.0}
    assert filled(asked_at(0, 100, 110)) == {11: 0.995, 5: 1.0}


def test_the_bins_end_with_gaps_of_a_week() -> None:
    assert filled(asked_at(0, 1)) == {0: 1.0}
    assert filled(asked_at(0, 30 * 86_400)) == {BINS - 1: 1.0}


def test_pauses_within_a_burst_are_no_gaps() -> None:
    demand = asked_at(0, 100, 100.5, 101, 201)

    assert filled(demand) == {11: 1.995}
    assert demand.week_gaps_s == pytest.approx(200, rel=1e-3)
    assert demand.week_bursts_s == 1.0


def test_a_large_burst_does_not_wash_out_the_gaps() -> None:
    demand = asked_at(*every(1000, 50))
    burst = arrived(demand, count=100_000, since_s=49_500, until_s=49_501)

    assert burst.requests == 100_050
    assert filled(burst) == {
        15: pytest.approx(1.0),
        17: pytest.approx(0.995 * sum(demand.gaps)),
    }
    assert len(burst.recent) == 16
    assert burst.recent[-1] == 49_501
    assert burst.recent[0] == pytest.approx(49_501 - 15 / 100_000)


@given(st.integers(1, 40), st.floats(1.0, 1000.0))
def test_requests_counted_together_are_remembered_as_if_seen_one_by_one(
    count: int, step_s: float
) -> None:
    """Up to the decay within the interval, which is that of its evenly spread time."""
    before = asked_at(0, 50)
    together = arrived(before, count=count, since_s=60, until_s=60 + count * step_s)
    one_by_one = before
    for number in range(1, count + 1):
        at_s = 60 + number * step_s
        one_by_one = arrived(one_by_one, count=1, since_s=at_s, until_s=at_s)

    assert together.requests == one_by_one.requests
    assert together.recent == pytest.approx(one_by_one.recent)
    # A step on the edge of a bin may fall to either side.
    assert sum(together.gaps) == pytest.approx(sum(one_by_one.gaps))
    assert sum(together.week_gaps) == pytest.approx(sum(one_by_one.week_gaps))
    assert together.week_gaps_s == pytest.approx(one_by_one.week_gaps_s)
    assert together.week_bursts_s == pytest.approx(one_by_one.week_bursts_s)
    assert together.burst_since_s == pytest.approx(one_by_one.burst_since_s)


def test_requests_are_counted_by_hour_of_day() -> None:
    day_s = 86_400.0
    demand = asked_at(0, 3600 * 5, day_s + 3600 * 5 + 1, 2 * day_s - 1)

    assert {hour: count for hour, count in enumerate(demand.by_hour) if count} == {
        0: 1,
        5: 2,
        23: 1,
    }


def test_rates_follow_the_last_minute_at_once_and_the_last_day_slowly() -> None:
    demand = arrived(None, count=600, since_s=0, until_s=600)
    found = rates(demand, 600)

    assert found["1m"] == pytest.approx(1.0, rel=1e-3)
    assert found["10m"] == pytest.approx(1 - 1 / e)
    assert found["24h"] == pytest.approx(1 - exp(-600 / 86_400))
    assert rates(demand, 660)["1m"] == pytest.approx(found["1m"] / e)


def test_a_clock_that_was_set_back_stands_still() -> None:
    demand = arrived(asked_at(0, 100), count=3, since_s=40, until_s=50)

    assert demand.recent == (0, 100, 100, 100, 100)
    assert gap_rate(demand, 50) == gap_rate(demand, 100)
    assert expected_rate(demand, NOBODY, 50) > 0


def test_the_rate_of_a_model_with_few_requests_is_that_since_the_first() -> None:
    """19 - 10 + 1 = 10 s since the last one, 2 in 20 s since the first: a tenth either way."""
    assert gap_rate(asked_at(0, 10), 19) == pytest.approx(0.1)


def test_the_rate_looks_back_1_2_4_8_and_16_requests() -> None:
    """At 1600 the last ones were at 1500, 1400, 1200, 800 and 0."""
    times = [100.0 * number for number in range(16)]
    product = 1 / 101 * 2 / 201 * 4 / 401 * 8 / 801 * 16 / 1601

    assert gap_rate(asked_at(*times), 1600) == pytest.approx(product**0.2)


def test_a_regular_model_is_expected_when_it_is_due() -> None:
    demand = asked_at(*every(60, 7))

    assert next_burst_s(demand, 390) == 420
    assert expected_rate(demand, NOBODY, 390) == pytest.approx(1 / 30)
    assert expected_rate(demand, NOBODY, 419.5) == 1 / 2


def test_a_regular_model_is_expected_earlier_by_the_spread_of_its_gaps() -> None:
    demand = asked_at(0, 50, 120, 170, 240, 290, 360)

    assert next_burst_s(demand, 360) == 420
    assert expected_rate(demand, NOBODY, 380) == pytest.approx(1 / (40 - 10))


def test_a_regular_model_that_is_overdue_is_like_any_other() -> None:
    demand = asked_at(*every(60, 7))

    assert next_burst_s(demand, 423) == 420
    assert next_burst_s(demand, 423.1) is None
    assert expected_rate(demand, NOBODY, 423.1) < expected_rate(demand, NOBODY, 423) / 10


@pytest.mark.parametrize("times", [every(60, 6), every(29, 20), (0, 10, 120, 130, 240, 250, 360)])
def test_few_short_or_uneven_gaps_make_no_rhythm(times: Iterable[float]) -> None:
    demand = asked_at(*times)

    assert next_burst_s(demand, demand.last_s + 1) is None


def test_a_habit_is_trusted_once_it_is_known() -> None:
    """Nearly all gaps end in bin 11: of its 43.25 s half are held, then the request is there."""
    demand = replace(
        asked_at(0, 7, 8), gaps=tuple(1000.0 * (number == 11) for number in range(BINS))
    )
    idle_s = 100.0
    reuse = 1 / (43.25 / 2)

    expected = sqrt(gap_rate(demand, 8 + idle_s) * reuse)
    assert expected_rate(demand, NOBODY, 8 + idle_s) == pytest.approx(expected, rel=1e-2)


def test_holding_on_counts_the_gaps_that_are_left_after_each_bin() -> None:
    """A tenth of the gaps ends in bin 11 (43.25 s wide), all others in bin 12 (64.87 s)."""
    weights = {11: 1_000.0, 12: 9_000.0}
    gaps = tuple(weights.get(number, 0.0) for number in range(BINS))
    demand = replace(asked_at(0, 7, 8), gaps=gaps)
    reuse = 1 / (43.25 * 0.95 + 0.9 * 64.87 / 2)

    expected = sqrt(gap_rate(demand, 108) * reuse)
    assert expected_rate(demand, NOBODY, 108) == pytest.approx(expected, rel=1e-3)


def test_a_model_past_all_its_gaps_is_expected_as_rarely_as_the_fleet_teaches() -> None:
    busy = pooled([asked_at(*(200.0 * number + number % 7 for number in range(100)))])
    demand = asked_at(0, 20, 35, 70, 80)

    assert expected_rate(demand, busy, 80 + 170) > 2 * expected_rate(demand, NOBODY, 80 + 170)


def test_a_fleet_without_history_expects_every_length_of_gap_alike() -> None:
    assert NOBODY.hazards[0] == pytest.approx(1 / BINS, rel=0.05)
    assert NOBODY.hazards[-2:] == (0.5, 1.0)


def test_gaps_that_are_still_open_teach_patience() -> None:
    """Ten models were asked for once, 100 s before the newest request: all outlived bin 10."""
    known = [asked_at(0, 1000)] * 4
    forgotten = [asked_at(900)] * 10

    patient = pooled([*known, *forgotten]).hazards
    eager = pooled(known).hazards
    assert patient[10] < eager[10]
    assert patient[11:] == eager[11:]


def test_the_idle_timeout_is_where_memory_costs_as_much_as_the_next_cold_start() -> None:
    """3 s of a cold start at 3 s per GiB-hour: an hour of one GiB."""
    assert idle_timeout_s(price=3, gib=1, wait_s=3) == 3600
    assert break_even_per_hour(price=3, gib=1, wait_s=3) == 1


def test_memory_without_a_price_is_never_given_back() -> None:
    assert idle_timeout_s(price=0, gib=1, wait_s=3) == float("inf")


def test_timeouts_are_forecast_from_the_gaps() -> None:
    """A request every 1000 s: 3.6 per hour, each after 900 s without the model."""
    demand = asked_at(*every(1000, 100))

    assert cold_starts_per_hour(demand, 100) == pytest.approx(3.6)
    assert held_share(demand, 100) == pytest.approx(0.1)
    assert cold_starts_per_hour(demand, 2000) == 0
    assert held_share(demand, 2000) == 1


def test_forecasts_remember_the_nights_over_a_thousand_short_gaps() -> None:
    """Busy every 10 s for 14 hours a day, then silent for 10: one cold start per day."""
    day_s = 86_400.0
    times = [day * day_s + 10.0 * number for day in range(4) for number in range(5040)]
    demand = asked_at(*times)

    assert demand.gaps[25] < 1e-3
    assert 24 * cold_starts_per_hour(demand, 600) == pytest.approx(0.8, abs=0.2)
    assert held_share(demand, 600) == pytest.approx(0.66, abs=0.05)


def test_a_gap_weighs_a_third_after_a_week() -> None:
    week_s = 7 * 86_400.0
    demand = asked_at(0, 100, 100 + week_s)

    assert demand.week_gaps[11] == pytest.approx(1 / e)
    assert demand.week_gaps_s == pytest.approx(100 / e + week_s)


def test_what_was_a_month_ago_is_forgotten() -> None:
    hour_s = 3600.0
    busy_once = asked_at(
        *every(hour_s, 100), *(100 * hour_s + 60 * 86_400 + 60.0 * n for n in range(99))
    )

    assert cold_starts_per_hour(busy_once, 600) < 0.01


def test_keeping_warm_is_worth_the_cold_starts_it_saves_per_gib_hour_it_adds() -> None:
    """3.6 starts of 5 s per hour, for 2 GiB over the nine tenths that the timeout saves."""
    demand = asked_at(*every(1000, 100))

    value = keep_warm_value(demand, wait_s=5, gib=2, idle_timeout_s=100)
    assert value == pytest.approx(3.6 * 5 / (2 * 0.9))
    assert keep_warm_value(demand, wait_s=5, gib=2, idle_timeout_s=2000) == 0


@given(
    st.lists(st.floats(0, 100_000), min_size=1, max_size=40),
    st.lists(st.floats(0, 1e6), min_size=2, max_size=2),
)
def test_a_longer_timeout_never_means_more_cold_starts_nor_less_memory(
    gaps: list[float], timeouts: list[float]
) -> None:
    times = [sum(gaps[:end]) for end in range(len(gaps) + 1)]
    demand = asked_at(*times)
    short_s, long_s = sorted(timeouts)

    assert cold_starts_per_hour(demand, long_s) <= cold_starts_per_hour(demand, short_s)
    assert -1e-9 <= held_share(demand, short_s) <= held_share(demand, long_s) + 1e-9 <= 1 + 2e-9


def test_a_demand_is_read_back_from_json_as_it_was() -> None:
    demand = arrived(asked_at(0, 100, 100.5), count=7, since_s=200, until_s=260)
    adapter = TypeAdapter(Demand)

    assert adapter.validate_json(adapter.dump_json(demand)) == demand
