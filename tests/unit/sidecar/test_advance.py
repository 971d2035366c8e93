"""When a release moves on, state by state. Version 1 serves, version 2 is released."""

from dataclasses import replace

import pytest

from sidecar.core.advance import advance, roll_back
from sidecar.core.fleet import (
    CheckKind,
    Failure,
    Outcome,
    ServerView,
    Snapshot,
    Verification,
)
from sidecar.core.release import BEFORE_PROMOTION, RESTING, Release, ReleaseState
from sidecar.core.wanted import Placement
from tests.builders import (
    CANARY,
    NOW_S,
    POLICY,
    SERVING,
    failure,
    holding,
    model,
    moved,
    placed,
    release,
    server,
    snapshot,
)

S = ReleaseState
M = model("m", versions=[1, 2], tier="hot")
COLD = replace(M, intent=model().intent)
ALONE_1, ALONE_2, BOTH = placed(M, 1), placed(M, 2), placed(M, 1, 2)
ON_TRIAL = placed(M, 2, warmup=False)
PASSED, FAILED = Outcome(passed=True, note="fine"), Outcome(passed=False, note="wrong")


def advanced(found: Release, seen: Snapshot, now_s: float = NOW_S + 1) -> Release:
    return advance(found, seen, POLICY, now_s)


def seen(
    found: Release,
    *,
    serving: ServerView | None = None,
    canary: ServerView | None = None,
    failed: Failure | None = None,
    outcomes: dict[tuple[str, CheckKind], Outcome] | None = None,
) -> Snapshot:
    """`failed` is on the server that the release's state is about."""
    where = CANARY if found.state in BEFORE_PROMOTION else SERVING
    return snapshot(
        M,
        serving=serving or holding(M, 1),
        canary=canary,
        recorded={"m": 1},
        releases=[found],
        failures={(where, "m"): failed} if failed else {},
        outcomes=outcomes,
    )


def after(found: Release, state: ReleaseState, note: str) -> Release:
    return moved(found, (state, note), at_s=NOW_S + 1)


@pytest.mark.parametrize(
    ("state", "kind", "then"),
    [
        (S.ADMITTED, CheckKind.FILES, S.CANARY_LOADING),
        (S.VERIFYING, CheckKind.GOLDEN, S.CANARY_WARMING),
    ],
)
def test_a_check_decides(state: ReleaseState, kind: CheckKind, then: ReleaseState) -> None:
    found = release(state)
    at_canary = holding(M, 2, warmup=False)

    waiting = seen(found, canary=at_canary)
    passed = seen(found, canary=at_canary, outcomes={(found.id, kind): PASSED})
    failed = seen(found, canary=at_canary, outcomes={(found.id, kind): FAILED})

    assert advanced(found, waiting) is found
    assert advanced(found, passed) == after(found, then, "fine")
    assert advanced(found, failed) == after(found, S.REFUSED, "wrong")


def test_the_evidence_of_another_release_proves_nothing() -> None:
    found = release(S.VERIFYING)
    others = {("m.2.before", CheckKind.GOLDEN): PASSED, (found.id, CheckKind.FILES): PASSED}

    assert advanced(found, seen(found, outcomes=others)) is found


@pytest.mark.parametrize(
    ("state", "then", "note"),
    [
        (S.CANARY_LOADING, S.VERIFYING, "loaded on canary without warm-up"),
        (S.CANARY_WARMING, S.PROMOTING, "model_warmup passed on canary"),
    ],
)
def test_canary_must_hold_exactly_what_the_state_wants(
    state: ReleaseState, then: ReleaseState, note: str
) -> None:
    found = release(state)
    warmup = state is S.CANARY_WARMING
    right = holding(M, 2, warmup=warmup)
    config = placed(M, 2, warmup=warmup).config

    assert advanced(found, seen(found, canary=right)) == after(found, then, note)
    for not_yet in (
        server(),
        holding(M, 1, warmup=warmup),
        holding(M, 1, 2, warmup=warmup),
        holding(M, 2, warmup=not warmup),
        replace(right, verified={}),
        replace(right, verified={"m": Verification(versions=frozenset({2}), config="another")}),
        replace(right, staged={}),
        replace(right, index={}),
        replace(right, problem="lost"),
        replace(right, staged={"m": config + "#"}),
    ):
        assert advanced(found, seen(found, canary=not_yet)) is found


def test_a_server_that_something_is_being_done_to_holds_nothing_for_certain() -> None:
    """Otherwise a rollback is done before the load that it should undo has even begun."""
    found = release(S.ROLLING_BACK)
    still = seen(found, serving=holding(M, 1))
    busy = replace(still, busy=frozenset({(SERVING, "m")}))

    assert advanced(found, busy) is found
    assert advanced(found, still).state is S.ROLLED_BACK


TRIED = {S.CANARY_LOADING: ON_TRIAL, S.VERIFYING: ON_TRIAL, S.CANARY_WARMING: ALONE_2}


@pytest.mark.parametrize(("state", "tried"), list(TRIED.items()))
def test_a_refusal_on_canary_refuses_the_version(state: ReleaseState, tried: Placement) -> None:
    found = release(state)

    assert advanced(found, seen(found, failed=failure(tried, "no such op"))) == after(
        found, S.REFUSED, "on canary: no such op"
    )


@pytest.mark.parametrize(("state", "tried"), list(TRIED.items()))
def test_a_canary_that_is_lost_thrice_refuses_the_version(
    state: ReleaseState, tried: Placement
) -> None:
    found = release(state)

    for attempts in (1, 2):
        again = failure(tried, "no answer", lost=True, attempts=attempts)
        assert advanced(found, seen(found, failed=again)) is found
    third = failure(tried, "no answer", lost=True, attempts=3)
    assert advanced(found, seen(found, failed=third)) == after(
        found, S.REFUSED, "the canary server was lost 3 times: no answer"
    )


@pytest.mark.parametrize("state", [S.CANARY_LOADING, S.CANARY_WARMING, S.PROMOTING, S.SOAKING])
def test_a_failure_of_something_else_says_nothing(state: ReleaseState) -> None:
    found = release(state)
    elsewhere = failure(placed(M, 1, warmup=False), "another config")

    assert advanced(found, seen(found, failed=elsewhere)) is found


@pytest.mark.parametrize("state", sorted(BEFORE_PROMOTION))
def test_a_version_that_vanishes_before_the_promotion_is_refused(state: ReleaseState) -> None:
    found = release(state)
    without = snapshot(model("m", versions=[1]), recorded={"m": 1}, releases=[found])

    assert advanced(found, without) == after(
        found, S.REFUSED, "version 2 is no longer in the store"
    )


@pytest.mark.parametrize("state", [S.PROMOTING, S.SOAKING, S.FINISHING])
@pytest.mark.parametrize("left", [(), (1,)], ids=["no model", "no version"])
def test_a_version_that_vanishes_later_stays_where_it_is(
    state: ReleaseState, left: tuple[int, ...]
) -> None:
    """An unmounted store is no evidence: neither for the new version nor against it."""
    found = release(state, soak_until_s=NOW_S if state is S.SOAKING else None)
    stores = [model("m", versions=left, tier="hot")] if left else []
    without = snapshot(*stores, serving=holding(M, 1, 2), recorded={"m": 1}, releases=[found])

    assert advanced(found, without) is found


def test_a_promotion_is_done_when_both_versions_answer() -> None:
    found = release(S.PROMOTING)

    soaking = advanced(found, seen(found, serving=holding(M, 1, 2)))

    note = "versions 1 and 2 loaded, warmed and probed; soaking for 60 s"
    assert soaking == replace(after(found, S.SOAKING, note), soak_until_s=NOW_S + 61)


@pytest.mark.parametrize(
    "not_yet",
    [
        server(),
        holding(M, 1),
        holding(M, 2),
        holding(M, 1, 2, lead=1),
        replace(holding(M, 1, 2), verified=holding(M, 1).verified),
        replace(holding(M, 1, 2), problem="lost"),
    ],
    ids=["nothing", "old", "new", "old config", "unproven", "lost"],
)
def test_a_promotion_waits_for_all_of_it(not_yet: ServerView) -> None:
    found = release(S.PROMOTING)

    assert advanced(found, seen(found, serving=not_yet)) is found


@pytest.mark.parametrize(
    ("state", "tried"), [(S.PROMOTING, BOTH), (S.SOAKING, BOTH), (S.FINISHING, ALONE_2)]
)
def test_a_refusal_on_serving_turns_the_release_round(
    state: ReleaseState, tried: Placement
) -> None:
    found = release(state)
    refused = seen(found, serving=server(), failed=failure(tried, "no"))
    lost = seen(found, serving=server(), failed=failure(tried, "no", lost=True, attempts=9))

    assert advanced(found, refused) == after(found, S.ROLLING_BACK, "on serving: no")
    assert advanced(found, lost) is found


def test_a_first_version_has_nothing_to_soak_against() -> None:
    found = release(S.PROMOTING, base=None)
    held = snapshot(M, serving=holding(M, 2), releases=[found])

    assert advanced(found, held) == after(
        found, S.FINISHING, "first version: nothing to soak against"
    )


def test_a_model_that_nobody_wants_is_only_recorded() -> None:
    promoting = release(S.PROMOTING)
    nobody = snapshot(COLD, recorded={"m": 1}, releases=[promoting])
    finishing = advanced(promoting, nobody)
    done = advanced(finishing, replace(nobody, releases={"m": finishing}))

    assert finishing == after(
        promoting, S.FINISHING, "the model is not loaded on serving; nothing to switch"
    )
    assert done == after(finishing, S.DONE, "version 2 is recorded; the model is not loaded")


def test_a_soak_ends_with_its_time_and_not_before() -> None:
    found = release(S.SOAKING, soak_until_s=NOW_S + 60)
    both = seen(found, serving=holding(M, 1, 2))

    assert advanced(found, both, now_s=NOW_S + 59.9) is found
    assert advanced(found, both, now_s=NOW_S + 60) == moved(
        found, (S.FINISHING, "soak is over"), at_s=NOW_S + 60
    )


def test_a_soak_that_is_over_while_serving_is_away_goes_on_until_both_are_back() -> None:
    found = release(S.SOAKING, soak_until_s=NOW_S)

    assert advanced(found, seen(found, serving=server())) is found
    assert advanced(found, seen(found, serving=holding(M, 2))) is found
    assert advanced(found, seen(found, serving=holding(M, 1, 2))) == after(
        found, S.FINISHING, "soak is over"
    )


def test_a_release_is_done_when_the_new_version_serves_alone() -> None:
    found = release(S.FINISHING)

    assert advanced(found, seen(found, serving=holding(M, 1, 2))) is found
    assert advanced(found, seen(found, serving=holding(M, 2))) == after(
        found, S.DONE, "version 2 serves alone"
    )


def test_an_old_version_is_brought_back_before_the_switch() -> None:
    found = release(S.RESTORING)

    assert advanced(found, seen(found, serving=holding(M, 2))) is found
    assert advanced(found, seen(found, serving=holding(M, 1, 2))) == after(
        found, S.ROLLING_BACK, "version 1 is loaded again"
    )


def test_an_old_version_that_cannot_be_brought_back_leaves_the_new_one_serving() -> None:
    found = release(S.RESTORING)
    serves = holding(M, 2)

    lost = seen(found, serving=serves, failed=failure(BOTH, "no", lost=True, attempts=9))
    refused = seen(found, serving=serves, failed=failure(BOTH, "no"))

    assert advanced(found, lost) is found
    assert advanced(found, refused) == after(
        found, S.DONE, "version 1 cannot be brought back: no; version 2 keeps serving"
    )


def test_an_old_version_that_is_gone_from_the_store_leaves_the_new_one_serving() -> None:
    found = release(S.RESTORING)
    gone = snapshot(
        model("m", versions=[2], tier="hot"),
        serving=holding(M, 2),
        recorded={"m": 2},
        releases=[found],
    )

    assert advanced(found, gone) == after(
        found,
        S.DONE,
        "version 1 cannot be brought back: it is no longer in the store; version 2 keeps serving",
    )


def test_a_rollback_is_done_when_the_old_version_serves_alone() -> None:
    found = release(S.ROLLING_BACK)

    assert advanced(found, seen(found, serving=holding(M, 1, 2))) is found
    assert advanced(found, seen(found, serving=holding(M, 1))) == after(
        found, S.ROLLED_BACK, found.reason
    )


def test_a_failed_first_version_is_rolled_back_to_nothing() -> None:
    found = release(S.ROLLING_BACK, base=None)
    there = snapshot(M, serving=holding(M, 2), releases=[found])
    gone = snapshot(M, releases=[found])

    unknown = snapshot(M, serving=server(problem="no answer"), releases=[found])

    assert advanced(found, there) is found
    assert advanced(found, unknown) is found
    assert advanced(found, gone) == after(found, S.ROLLED_BACK, found.reason)


@pytest.mark.parametrize("state", sorted(RESTING))
def test_a_release_at_rest_stays(state: ReleaseState) -> None:
    found = release(state)

    assert advanced(found, seen(found, serving=holding(M, 2))) is found


@pytest.mark.parametrize("state", S)
def test_nothing_seen_promotes_nothing(state: ReleaseState) -> None:
    """Law: missing evidence never promotes. A lost server and an empty one are no evidence."""
    found = release(state, soak_until_s=NOW_S if state is S.SOAKING else None)
    lost = server(problem="no answer")

    moved_to = advanced(found, seen(found, serving=lost, canary=lost))

    assert moved_to is found


@pytest.mark.parametrize(
    ("state", "then"),
    [
        (S.ADMITTED, S.REFUSED),
        (S.CANARY_LOADING, S.REFUSED),
        (S.VERIFYING, S.REFUSED),
        (S.CANARY_WARMING, S.REFUSED),
        (S.PROMOTING, S.ROLLING_BACK),
        (S.SOAKING, S.ROLLING_BACK),
        (S.FINISHING, S.ROLLING_BACK),
        (S.DONE, S.RESTORING),
    ],
)
def test_a_rollback_on_request_goes_the_shortest_way(
    state: ReleaseState, then: ReleaseState
) -> None:
    found = release(state)

    assert roll_back(found, actor="bob", at_s=NOW_S) == moved(
        found, (then, "rollback requested by bob")
    )
