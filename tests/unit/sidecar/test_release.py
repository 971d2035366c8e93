import itertools

import pytest

from sidecar.core.release import (
    BEFORE_PROMOTION,
    CAN_ROLL_BACK,
    RESTING,
    TRANSITIONS,
    Release,
    ReleaseState,
    Step,
    admit,
    release_id,
)
from sidecar.errors import InvariantBroken
from tests.builders import release

S = ReleaseState
ALLOWED = """
admitted -> canary_loading refused
canary_loading -> verifying refused
verifying -> canary_warming refused
canary_warming -> promoting refused
promoting -> soaking finishing rolling_back
soaking -> finishing rolling_back
finishing -> done rolling_back
done -> restoring
restoring -> rolling_back done
rolling_back -> rolled_back
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
    """`promoting` has one door, and it is the last step on canary."""
    ways_in = {before for before, then in TRANSITIONS.items() if S.PROMOTING in then}

    assert ways_in == {S.CANARY_WARMING}
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


def test_leaving_the_soak_forgets_its_end() -> None:
    soaking = release(S.SOAKING, soak_until_s=99.0)

    assert soaking.entered(S.FINISHING, at_s=5.0, note="soak is over").soak_until_s is None


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
        steps=(Step(state=S.ADMITTED, at_s=3.0, note=note),),
    )


def test_releases_at_different_times_have_names_of_their_own() -> None:
    assert release_id("m", 2, 1.000) == "m.2.3e8"
    assert release_id("m", 2, 1.002) == "m.2.3ea"
