"""Whether the budget is enough, told from loads and evictions."""

from dataclasses import replace

from sidecar.core.actions import Restart
from sidecar.core.advice import advice
from sidecar.core.memory import GIB
from sidecar.core.planner import plan
from sidecar.core.policy import Recycle
from sidecar.core.pressure import Loaded, Pressure
from tests.builders import NOW_S, POLICY, SERVING, snapshot


def loads(count: int, *, quick: int = 0, seconds: float = 1.0) -> Pressure:
    found = Pressure()
    for number in range(count):
        load = Loaded(at_s=NOW_S - count + number, seconds=seconds, quick=number < quick)
        found = found.loaded(load)
    return found


def test_quick_reloads_are_churn_above_a_tenth_of_the_loads() -> None:
    assert not loads(20, quick=2).is_churning(NOW_S)
    assert loads(20, quick=3).is_churning(NOW_S)
    assert not loads(9, quick=9).is_churning(NOW_S)


def test_an_hour_later_it_is_forgotten() -> None:
    assert not loads(20, quick=20).is_churning(NOW_S + 3600)
    assert loads(20, quick=20).loaded(
        Loaded(at_s=NOW_S + 3600, seconds=1.0, quick=False)
    ) == Pressure(loads=(Loaded(at_s=NOW_S + 3600, seconds=1.0, quick=False),))


def test_more_than_two_loads_in_flight_are_a_budget_too_small() -> None:
    (told,) = loads(100, seconds=15.0).advice(NOW_S)

    assert told.startswith("the budget is too small: 2.5 loads are in flight on average")


def test_the_worth_of_the_last_victims_is_what_more_memory_would_save() -> None:
    pressure = Pressure().evicted(10.0).evicted(20.0)

    assert pressure.shadow_price == 0.3 * 20.0 + 0.7 * 10.0
    assert pressure.advice(NOW_S) == ["one more GiB would save about 13 s of waiting per hour"]


def test_leaked_memory_is_told_and_on_request_taken_back() -> None:
    seen = snapshot(leaked_bytes=2 * GIB)
    do = replace(POLICY, recycle=Recycle.DO)

    assert "failed loads have kept 2.0 GiB" in advice(seen, POLICY, NOW_S)[0]
    assert plan(seen, POLICY, NOW_S).work == ()
    assert plan(seen, do, NOW_S).work == (
        Restart(server=SERVING, reason="failed loads have kept 2.0 GiB"),
    )
    assert advice(seen, replace(POLICY, recycle=Recycle.OFF), NOW_S) == []


def test_a_server_is_not_restarted_while_somebody_waits_or_something_is_in_flight() -> None:
    do = replace(POLICY, recycle=Recycle.DO)

    assert plan(snapshot(leaked_bytes=2 * GIB, waiting={"x": NOW_S}), do, NOW_S).work == ()
    assert plan(snapshot(leaked_bytes=2 * GIB, busy=[(SERVING, "x")]), do, NOW_S).work == ()
