"""What somebody else does to the server is noticed, and what follows."""

from dataclasses import replace

import pytest

from sidecar.core.actions import Keep, LetGo, Remove
from sidecar.core.drift import drifts
from sidecar.core.fleet import Drift, DriftKind, ServerView, Snapshot
from sidecar.core.planner import plan
from sidecar.core.policy import OnDrift
from tests.builders import (
    NOW_S,
    POLICY,
    SERVING,
    UNAVAILABLE,
    holding,
    kept,
    model,
    server,
    snapshot,
    unverified,
)

A, B = model("a", tier="auto"), model("b", tier="auto")
RECORDED = {"a": 1, "b": 1}
ADOPT = replace(POLICY, on_drift=OnDrift.ADOPT)
FOREIGN = snapshot(
    A,
    B,
    serving=server(holding(A, 1), unverified(holding(B, 1))),
    kept=kept("a"),
    recorded=RECORDED,
)
BOTH = snapshot(A, B, serving=server(holding(A, 1), holding(B, 1)), kept=kept("a", "b"))
ONLY_A = snapshot(A, B, serving=holding(A, 1), recorded=RECORDED, kept=kept("a"))


def without(seen: Snapshot, name: str) -> Snapshot:
    """The same, with the model unloaded but still staged."""
    view = seen.servers[SERVING]
    index = {**view.index, name: {1: UNAVAILABLE}}
    return replace(seen, servers={**seen.servers, SERVING: replace(view, index=index)})


def test_a_model_that_somebody_unloads_is_told_and_loaded_again() -> None:
    now = replace(without(BOTH, "b"), serving=RECORDED)

    found = drifts(BOTH, now)

    assert found == {"b": Drift(kind=DriftKind.UNLOADED, versions=(1,))}
    (work,) = plan(replace(now, drift=found), POLICY, NOW_S).work
    assert work.model == "b"


def test_a_model_that_somebody_loads_is_told_and_unloaded() -> None:
    now = FOREIGN

    found = drifts(ONLY_A, now)

    assert found == {"b": Drift(kind=DriftKind.LOADED, versions=(1,))}
    assert plan(replace(now, drift=found), POLICY, NOW_S).work == (
        Remove(server=SERVING, model="b", reason="nobody needs it now"),
    )


def test_both_stand_where_the_policy_says_so() -> None:
    unloaded = replace(without(BOTH, "b"), serving=RECORDED)
    unloaded = replace(unloaded, drift=drifts(BOTH, unloaded))
    loaded = replace(FOREIGN, drift=drifts(ONLY_A, FOREIGN))

    assert plan(unloaded, ADOPT, NOW_S).notes == (
        LetGo(model="b", reason="somebody else unloaded it"),
    )
    assert plan(loaded, ADOPT, NOW_S).notes == (Keep(model="b", reason="somebody else loaded it"),)


def test_a_version_that_was_never_proven_does_not_stand() -> None:
    loaded = replace(FOREIGN, serving={"a": 1, "b": 2})

    assert not any(
        isinstance(note, Keep)
        for note in plan(replace(loaded, drift=drifts(ONLY_A, loaded)), ADOPT, NOW_S).notes
    )


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (BOTH, replace(without(BOTH, "b"), busy=frozenset({(SERVING, "b")}))),
        (replace(BOTH, busy=frozenset({(SERVING, "b")})), without(BOTH, "b")),
        (BOTH, replace(without(BOTH, "b"), kept=kept("a"))),
        (BOTH, without(without(BOTH, "a"), "b")),
        (snapshot(A, B, serving=ServerView(problem="no answer")), BOTH),
        (BOTH, snapshot(A, B, serving=ServerView(problem="no answer"))),
        (replace(ONLY_A, kept=kept("a", "b")), BOTH),
    ],
    ids=[
        "we are at it",
        "we have been at it",
        "nobody wanted it",
        "the server has restarted",
        "the server was lost",
        "the server is lost",
        "we were to load it",
    ],
)
def test_what_we_do_ourselves_and_what_a_crash_does_is_no_drift(
    before: Snapshot, now: Snapshot
) -> None:
    assert drifts(before, now) == {}


def test_work_of_ours_that_began_and_ended_between_two_looks_is_no_drift() -> None:
    now = replace(without(BOTH, "b"), serving=RECORDED)

    assert drifts(BOTH, now, begun={(SERVING, "b")}) == {}
