import itertools

import pytest

from sidecar.core.release import (
    BEFORE_PROMOTION,
    CAN_ROLL_BACK,
    RESTING,
    TRANSITIONS,
    Asked,
    Release,
    ReleaseState,
    Step,
    admit,
    moved,
    release_id,
)
from sidecar.core.strategy import Strategy
from sidecar.core.verdict import Evidence, Ruling
from sidecar.errors import InvariantBroken
from tests.builders import release

S = ReleaseState
ALLOWED = """
admitted -> canary_loading refused
canary_loading -> verifying refused
verifying -> canary_warming refused
canary_warming -> measuring promoting refused
measuring -> comparing awaiting pinning promoting refused
comparing -> awaiting pinning promoting refused
awaiting -> pinning promoting refused
pinning -> promoting refused
promoting -> shifting soaking finishing rolling_back
shifting -> soaking finishing rolling_back
soaking -> finishing rolling_back
finishing -> done rolling_back
done -> restoring rolling_back
restoring -> rolling_back done
rolling_back -> rolled_back done
rolled_back ->
refused ->
"""


def allowed() -> dict[ReleaseState, set[ReleaseState]]:
    lines = [line.split(" ->") for line in ALLOWED.strip().splitlines()]
    return {S(before): {S(after) for after in then.split()} for before, then in lines}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(S, S)))
def test_a_release_moves_only_as_the_table_says(before: ReleaseState, after: ReleaseState) -> None:
    found = release(before)

    if after in allowed()[before]:
        entered = found.entered(after, at_s=5.0, note="because")
        assert entered.state is after
        assert entered.steps == (*found.steps, Step(state=after, at_s=5.0, note="because"))
        assert entered.reason == "because"
    else:
        with pytest.raises(InvariantBroken, match=f"no transition {before} -> {after}"):
            found.entered(after, at_s=5.0, note="because")


def test_every_state_is_in_the_table() -> None:
    assert allowed() == TRANSITIONS


def test_nothing_reaches_serving_without_all_steps_on_canary() -> None:
    """Whatever comes to `promoting` has been warmed on canary."""
    ways_in = {before for before, then in TRANSITIONS.items() if S.PROMOTING in then}

    assert ways_in == {S.CANARY_WARMING, S.MEASURING, S.COMPARING, S.AWAITING, S.PINNING}
    for state in ways_in - {S.CANARY_WARMING}:
        befores = {before for before, then in TRANSITIONS.items() if state in then}
        assert befores <= ways_in
    for state in BEFORE_PROMOTION:
        assert TRANSITIONS[state] - BEFORE_PROMOTION <= {S.REFUSED, S.PROMOTING}


@pytest.mark.parametrize("state", S)
def test_every_release_can_come_to_rest(state: ReleaseState) -> None:
    seen, frontier = {state}, {state}
    while frontier:
        frontier = set().union(*(TRANSITIONS[found] for found in frontier)) - seen
        seen |= frontier

    assert seen & RESTING


@pytest.mark.parametrize("state", S)
def test_a_release_is_active_until_it_rests(state: ReleaseState) -> None:
    assert release(state).is_active == (state not in {S.DONE, S.ROLLED_BACK, S.REFUSED})


@pytest.mark.parametrize("state", S)
def test_what_can_be_rolled_back(state: ReleaseState) -> None:
    """Not what goes back already, nor what has."""
    going_or_gone = {S.RESTORING, S.ROLLING_BACK, S.ROLLED_BACK, S.REFUSED}

    assert release(state).can_roll_back == (state not in going_or_gone)
    assert (state in CAN_ROLL_BACK) == (state not in going_or_gone)


def test_a_step_forwards_ends_a_pause_and_a_share() -> None:
    shifting = release(S.SHIFTING, share=5, paused_by="bob")

    soaking = shifting.entered(S.SOAKING, at_s=5.0, note="all")

    assert (soaking.share, soaking.paused_by) == (None, None)


def test_a_remark_is_a_step_that_leads_nowhere() -> None:
    soaking = release(S.SOAKING, at_s=10.0)
    asked = Asked("bob", "op-1")

    remarked = soaking.remarked(at_s=20.0, note="paused", by=asked)

    assert remarked.state is S.SOAKING
    assert remarked.steps[-1] == Step(
        state=S.SOAKING, at_s=20.0, note="paused", actor="bob", operation="op-1"
    )
    assert remarked.entered_at_s == 10.0
    assert remarked.has_heeded("op-1")
    assert not soaking.has_heeded("op-1")


@pytest.mark.parametrize(
    ("state", "share", "weights"),
    [
        (S.COMPARING, None, None),
        (S.PINNING, None, {1: 100}),
        (S.PROMOTING, None, {1: 100}),
        (S.SHIFTING, 5, {1: 95, 2: 5}),
        (S.SOAKING, None, None),
        (S.ROLLING_BACK, None, {1: 100}),
        (S.DONE, None, None),
    ],
)
def test_requests_are_shared_while_they_are_shifted(
    state: ReleaseState, share: int | None, weights: dict[int, int] | None
) -> None:
    shifted = release(state, strategy=Strategy(shift=(5, 25)), share=share)

    assert shifted.weights == weights
    assert release(state, share=share).weights is None


def test_what_is_told_of_a_step_names_who_and_which() -> None:
    by = Asked("bob", "op-1")
    failed = Evidence(check="latency", ruling=Ruling.FAIL, note="slower")
    found = release(S.SOAKING).entered(
        S.ROLLING_BACK, at_s=5.0, note="slower", evidence=(failed,), by=by
    )

    assert moved(found).detail == {
        "release": "m.2",
        "step": len(found.steps),
        "base": 1,
        "version": 2,
        "state": "rolling_back",
        "note": "slower",
        "actor": "bob",
        "latency": "fail",
    }


def test_a_release_knows_whether_it_turned_round_since() -> None:
    back = release(S.SOAKING, at_s=10.0).entered(S.ROLLING_BACK, at_s=20.0, note="asked")

    assert [back.turned_round_since(at_s) for at_s in (10.0, 20.0, 20.1)] == [True, True, False]


@pytest.mark.parametrize(
    ("base", "note"),
    [
        (1, "version 2 requested by ann; version 1 serves"),
        (None, "version 2 requested by ann; the model has never served"),
    ],
)
def test_a_release_begins_with_what_was_asked(base: int | None, note: str) -> None:
    found = admit(release_id="r", model="m", version=2, base=base, actor="ann", at_s=3.0)

    assert found == Release(
        id="r",
        model="m",
        version=2,
        base=base,
        actor="ann",
        state=S.ADMITTED,
        steps=(Step(state=S.ADMITTED, at_s=3.0, note=note, actor="ann"),),
    )


def test_releases_at_different_times_have_names_of_their_own() -> None:
    assert release_id("m", 2, 1.000) == "m.2.3e8"
    assert release_id("m", 2, 1.002) == "m.2.3ea"
