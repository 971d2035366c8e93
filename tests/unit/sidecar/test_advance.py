"""When a release moves on, state by state. Version 1 serves, version 2 is released."""

from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.advance import advance
from sidecar.core.fleet import (
    CheckKind,
    Failure,
    Outcome,
    ServerView,
    Snapshot,
    Verification,
)
from sidecar.core.release import BEFORE_PROMOTION, HOLDS_BOTH, RESTING, Release, ReleaseState
from sidecar.core.strategy import Approval, Copies, Outputs, Strategy
from sidecar.core.trial import Trial
from sidecar.core.verdict import Ruling
from sidecar.core.wanted import Placement, serving_versions
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
    raced,
    release,
    server,
    snapshot,
    trial,
)

S = ReleaseState
M = model("m", versions=[1, 2], tier="hot")
COLD = replace(M, intent=model().intent)
ALONE_1, ALONE_2, BOTH = placed(M, 1), placed(M, 2), placed(M, 1, 2)
ON_TRIAL = placed(M, 2, warmup=False)
SHIFT = Strategy(shift=(1, 25), bake_s=10.0)
ONE_AT_A_TIME = Strategy(copies=Copies.ONE_AT_A_TIME)
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
    **more: Any,
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
        **more,
    )


def after(found: Release, state: ReleaseState, note: str, **more: Any) -> Release:
    return moved(found, (state, note), at_s=NOW_S + 1, **more)


def watched(found: Release, **more: Any) -> dict[tuple[str, CheckKind], Trial]:
    return {(found.id, CheckKind.GUARD): trial(**more)}


def compared(found: Release, **more: Any) -> dict[tuple[str, CheckKind], Trial]:
    return {(found.id, CheckKind.COMPARE): trial(**more)}


@pytest.mark.parametrize(
    ("state", "kind", "then"),
    [
        (S.ADMITTED, CheckKind.FILES, S.CANARY_LOADING),
        (S.VERIFYING, CheckKind.GOLDEN, S.CANARY_WARMING),
        (S.MEASURING, CheckKind.MEASURE, S.COMPARING),
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
    assert advanced(found, failed) == after(found, S.REFUSED, "wrong", rejected=True)


def test_the_evidence_of_another_release_proves_nothing() -> None:
    found = release(S.VERIFYING)
    others = {("m.2.before", CheckKind.GOLDEN): PASSED, (found.id, CheckKind.FILES): PASSED}

    assert advanced(found, seen(found, outcomes=others)) is found


@pytest.mark.parametrize(
    ("state", "then", "note"),
    [
        (S.CANARY_LOADING, S.VERIFYING, "loaded on canary without warm-up"),
        (S.CANARY_WARMING, S.MEASURING, "model_warmup passed on canary"),
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


TRIED = {
    S.CANARY_LOADING: ON_TRIAL,
    S.VERIFYING: ON_TRIAL,
    S.CANARY_WARMING: ALONE_2,
    S.MEASURING: ALONE_2,
}


@pytest.mark.parametrize(("state", "tried"), list(TRIED.items()))
def test_a_refusal_on_canary_refuses_the_version(state: ReleaseState, tried: Placement) -> None:
    found = release(state)

    assert advanced(found, seen(found, failed=failure(tried, "no such op"))) == after(
        found, S.REFUSED, "on canary: no such op", rejected=True
    )


def test_a_version_for_which_canary_has_no_room_is_refused_and_may_come_again() -> None:
    found = release(S.CANARY_LOADING)
    no_room = replace(failure(ON_TRIAL, "it does not fit"), blameless=True)

    assert advanced(found, seen(found, failed=no_room)) == after(
        found, S.REFUSED, "on canary: it does not fit"
    )


def test_a_disk_that_is_in_the_way_refuses_no_version_however_often() -> None:
    found = release(S.CANARY_LOADING)
    full = failure(ON_TRIAL, "stage full", lost=True, attempts=100)

    assert advanced(found, seen(found, failed=replace(full, blameless=True))) == found


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
        found, S.REFUSED, "the canary server was lost 3 times: no answer", rejected=True
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
    found = release(state)
    stores = [model("m", versions=left, tier="hot")] if left else []
    without = snapshot(*stores, serving=holding(M, 1, 2), recorded={"m": 1}, releases=[found])

    assert advanced(found, without) is found


def without_base(found: Release, serving: ServerView) -> Snapshot:
    left = model("m", versions=[2], tier="hot")
    return snapshot(left, serving=serving, recorded={"m": 1}, releases=[found])


@pytest.mark.parametrize("state", sorted(HOLDS_BOTH))
def test_a_base_that_vanishes_is_gone_back_to_as_long_as_it_is_loaded(state: ReleaseState) -> None:
    """What was to be watched is not over, and one hundredth does not become all."""
    is_shared = state is S.SHIFTING
    found = release(
        state, strategy=SHIFT if is_shared else Strategy(), share=1 if is_shared else None
    )
    unknown = replace(holding(M, 2), problem="no answer")

    assert advanced(found, without_base(found, holding(M, 1, 2))) is found
    assert advanced(found, without_base(found, unknown)) is found
    gone = advanced(found, without_base(found, holding(M, 2)))
    note = "version 1 is neither in the store nor loaded any more: nothing to go back to"
    assert replace(gone, share=found.share) == after(found, S.FINISHING, note)


@pytest.mark.parametrize("state", sorted(HOLDS_BOTH))
def test_a_base_that_vanishes_after_it_has_left_is_not_missed(state: ReleaseState) -> None:
    found = release(state, strategy=ONE_AT_A_TIME)
    left = without_base(found, holding(model("m", versions=[2]), 2))

    assert advanced(found, left) == advanced(found, seen(found, serving=holding(M, 2)))


def test_a_promotion_is_done_when_both_versions_answer() -> None:
    found = release(S.PROMOTING)

    soaking = advanced(found, seen(found, serving=holding(M, 1, 2)))

    note = "versions 1 and 2 are loaded, warmed and probed; soaking for 60 s"
    assert soaking == after(found, S.SOAKING, note)


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

    assert advanced(found, refused) == after(found, S.ROLLING_BACK, "on serving: no", rejected=True)
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


@pytest.mark.parametrize("clock_s", [NOW_S - 7200, NOW_S + 1, NOW_S + 7200])
def test_a_soak_ends_when_it_was_watched_for_long_enough_whatever_the_clock_says(
    clock_s: float,
) -> None:
    found = release(S.SOAKING, watched_from_s=5.0)
    both = holding(M, 1, 2)

    unwatched = seen(found, serving=both)
    short = seen(found, serving=both, trials=watched(found, watched_s=64.9))
    long = seen(found, serving=both, trials=watched(found, watched_s=65.0))

    assert advanced(found, unwatched, now_s=clock_s) is found
    assert advanced(found, short, now_s=clock_s) is found
    finishing = advanced(found, long, now_s=clock_s)
    assert (finishing.state, finishing.reason) == (S.FINISHING, "soak of 60 s is over")
    assert finishing.steps[-1].evidence != ()


def test_a_strategy_may_say_how_long_the_soak_is() -> None:
    found = release(S.SOAKING, strategy=Strategy(soak_s=0))

    assert advanced(found, seen(found, serving=holding(M, 1, 2))).state is S.FINISHING


def test_a_soak_that_is_over_while_serving_is_away_goes_on_until_both_are_back() -> None:
    found = release(S.SOAKING)
    trials = watched(found, watched_s=60.0)

    assert advanced(found, seen(found, serving=server(), trials=trials)) is found
    assert advanced(found, seen(found, serving=holding(M, 2), trials=trials)) is found
    back = seen(found, serving=holding(M, 1, 2), trials=trials)
    assert advanced(found, back).state is S.FINISHING


@pytest.mark.parametrize("state", [S.SHIFTING, S.SOAKING])
def test_worse_answers_turn_the_release_round_at_once(state: ReleaseState) -> None:
    strategy = Strategy(shift=(5,))
    found = release(state, strategy=strategy, share=5 if state is S.SHIFTING else None)
    trials = watched(found, failures=1, failure="no such id")

    back = advanced(found, seen(found, serving=holding(M, 1, 2), trials=trials))

    assert (back.state, back.rejected) == (S.ROLLING_BACK, True)
    assert "no such id" in back.reason
    assert back.steps[-1].evidence != ()


def test_a_version_that_is_no_worse_gets_the_traffic() -> None:
    found = release(S.COMPARING)

    assert advanced(found, seen(found, canary=holding(M, 1, 2))) is found
    promoting = advanced(found, seen(found, trials=compared(found)))

    assert (promoting.state, promoting.rejected) == (S.PROMOTING, False)
    assert {each.ruling for each in promoting.steps[-1].evidence} == {Ruling.PASS}


def test_a_version_that_is_worse_is_refused_with_the_numbers() -> None:
    found = release(S.COMPARING)
    slow = compared(found, races={"batch 8": raced(pairs=60, slower=58)})

    refused = advanced(found, seen(found, trials=slow))

    assert (refused.state, refused.rejected) == (S.REFUSED, True)
    assert "batch 8" in refused.reason


def test_too_little_evidence_waits_and_then_asks() -> None:
    found = release(S.COMPARING)
    few = {"batch 1": raced(pairs=2)}

    waiting = seen(found, trials=compared(found, races=few, watched_s=59.0))
    asking = seen(found, trials=compared(found, races=few, watched_s=60.0))

    assert advanced(found, waiting) is found
    asked = advanced(found, asking)
    assert (asked.state, asked.rejected) == (S.AWAITING, False)
    assert "a person must say :promote or :abort" in asked.reason
    assert advanced(asked, seen(asked)) is asked


def test_what_cannot_be_compared_asks_a_person() -> None:
    found = release(S.COMPARING)
    beside = replace(failure(placed(M, 1, 2, lead=2), "it does not fit"), blameless=True)
    gone = snapshot(model("m", versions=[2]), recorded={"m": 1}, releases=[found])

    assert advanced(found, seen(found, failed=beside)).state is S.AWAITING
    assert advanced(found, gone).state is S.AWAITING


def test_a_person_is_asked_where_the_strategy_says_so() -> None:
    found = release(S.COMPARING, strategy=Strategy(approval=Approval.MANUAL))

    assert advanced(found, seen(found, trials=compared(found))).state is S.AWAITING


def test_nothing_is_compared_where_the_strategy_wants_nothing_compared() -> None:
    blind = Strategy(outputs=Outputs.ANY, latency_margin=None)
    found = release(S.MEASURING, strategy=blind)
    passed = seen(found, outcomes={(found.id, CheckKind.MEASURE): PASSED})

    assert advanced(found, passed) == after(found, S.PROMOTING, "fine")


def test_requests_are_shifted_only_after_the_gateway_names_the_old_version() -> None:
    found = release(S.COMPARING, strategy=SHIFT)
    pinning = advanced(found, seen(found, trials=compared(found)))

    assert pinning.state is S.PINNING
    assert advanced(pinning, seen(pinning)) is pinning
    assert advanced(pinning, seen(pinning, routed={"m": {1: 100}})).state is S.PROMOTING


def test_each_share_is_watched_for_its_time() -> None:
    promoting = release(S.PROMOTING, strategy=SHIFT)
    both = holding(M, 1, 2)

    first = advanced(promoting, seen(promoting, serving=both))
    assert (first.state, first.share) == (S.SHIFTING, 1)
    early = seen(first, serving=both, trials=watched(first, watched_s=9.0))
    assert advanced(first, early) is first
    baked = seen(first, serving=both, trials=watched(first, watched_s=10.0))
    second = advanced(first, baked)
    assert (second.state, second.share, second.watched_from_s) == (S.SHIFTING, 25, 10.0)
    later = seen(second, serving=both, trials=watched(second, watched_s=20.0))
    soaking = advanced(second, later)
    assert (soaking.state, soaking.share, soaking.watched_from_s) == (S.SOAKING, None, 20.0)


def test_a_soak_waits_until_the_gateway_names_no_version_any_more() -> None:
    found = release(S.SOAKING, strategy=SHIFT)
    over = watched(found, watched_s=60.0)
    both = holding(M, 1, 2)

    named = seen(found, serving=both, trials=over, routed={"m": {1: 75, 2: 25}})
    assert advanced(found, named) is found
    assert advanced(found, seen(found, serving=both, trials=over)).state is S.FINISHING


def test_a_rollback_keeps_the_new_version_while_the_gateway_names_it() -> None:
    found = release(S.ROLLING_BACK, strategy=SHIFT)
    named = {"m": {1: 75, 2: 25}}

    both = seen(found, serving=holding(M, 1, 2), routed=named)
    alone = seen(found, serving=holding(M, 1), routed={"m": {1: 100}})

    assert serving_versions(both, "m") == (1, 2)
    assert advanced(found, both) is found
    assert serving_versions(alone, "m") == (1,)
    assert advanced(found, alone).state is S.ROLLED_BACK


@pytest.mark.parametrize("state", [S.COMPARING, S.SHIFTING, S.SOAKING, S.FINISHING])
def test_a_paused_release_goes_nowhere_but_back(state: ReleaseState) -> None:
    found = release(
        state, strategy=SHIFT, share=25 if state is S.SHIFTING else None, paused_by="bob"
    )
    fine = trial(watched_s=99.0)
    good = {(found.id, kind): fine for kind in (CheckKind.COMPARE, CheckKind.GUARD)}
    bad = dict.fromkeys(good, replace(fine, failures=1, failure="no"))
    serving = holding(M, 2) if state is S.FINISHING else holding(M, 1, 2)

    running = replace(found, paused_by=None)
    assert advanced(running, seen(running, serving=serving, trials=good)) is not running
    assert advanced(found, seen(found, serving=serving, trials=good)) is found
    if state is not S.FINISHING:
        turned = advanced(found, seen(found, serving=serving, trials=bad))
        assert turned.state in {S.REFUSED, S.ROLLING_BACK}


def test_where_one_copy_is_kept_the_soak_is_of_the_new_version_alone() -> None:
    one = ONE_AT_A_TIME
    promoting = release(S.PROMOTING, strategy=one)

    assert serving_versions(seen(promoting), "m") == (2,)
    soaking = advanced(promoting, seen(promoting, serving=holding(M, 2)))

    assert soaking.state is S.SOAKING
    assert serving_versions(seen(soaking), "m") == (2,)
    back = replace(soaking, state=S.ROLLING_BACK)
    assert serving_versions(seen(back), "m") == (1,)


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
    found = release(state, strategy=SHIFT, share=1 if state is S.SHIFTING else None)
    lost = server(problem="no answer")

    moved_to = advanced(found, seen(found, serving=lost, canary=lost))

    assert moved_to is found
