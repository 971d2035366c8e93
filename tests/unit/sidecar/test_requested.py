"""What people ask of a release, and what becomes of it. Version 1 serves, 2 is released."""

import pytest

from sidecar.core.fleet import OperationKind, Snapshot
from sidecar.core.operations import settle
from sidecar.core.release import (
    BEFORE_PROMOTION,
    PROMOTED,
    RESTING,
    Asked,
    Release,
    ReleaseState,
)
from sidecar.core.requested import can_heed, heeded, way_back
from sidecar.core.strategy import Copies, Strategy
from tests.builders import NOW_S, holding, model, operation, release, snapshot

S = ReleaseState
K = OperationKind
M = model("m", versions=[1, 2], tier="hot")
ONLY_2 = model("m", versions=[2], tier="hot")


def asked(found: Release, *kinds: OperationKind, stored: object = M) -> Snapshot:
    operations = [operation(kind, on=found.id) for kind in kinds]
    return snapshot(
        stored,  # type: ignore[arg-type]
        serving=holding(M, 1, 2),
        recorded={"m": 1},
        releases=[found],
        operations=operations,
    )


def after(found: Release, kind: OperationKind, stored: object = M) -> Release:
    return heeded(found, asked(found, kind, stored=stored), NOW_S + 1)


@pytest.mark.parametrize(
    ("state", "then"),
    [
        *((state, S.REFUSED) for state in sorted(BEFORE_PROMOTION)),
        *((state, S.ROLLING_BACK) for state in sorted(PROMOTED)),
        (S.DONE, S.RESTORING),
    ],
)
def test_a_rollback_on_request_goes_the_shortest_way(
    state: ReleaseState, then: ReleaseState
) -> None:
    back = after(release(state), K.ROLLBACK)

    assert (back.state, back.reason) == (then, "rollback requested by bob")
    assert not back.rejected


def test_where_one_copy_is_kept_nothing_is_brought_back_beside_the_other() -> None:
    done = release(S.DONE, strategy=Strategy(copies=Copies.ONE_AT_A_TIME))

    assert after(done, K.ROLLBACK).state is S.ROLLING_BACK


@pytest.mark.parametrize(
    ("copies", "state"), [(Copies.BOTH, S.RESTORING), (Copies.ONE_AT_A_TIME, S.ROLLING_BACK)]
)
def test_a_way_back_is_a_release_of_its_own_that_begins_where_a_rollback_does(
    copies: Copies, state: ReleaseState
) -> None:
    done = release(S.DONE, strategy=Strategy(copies=copies))

    back = way_back(done, by=Asked("bob", "o1"), at_s=NOW_S + 1)

    (step,) = back.steps
    assert (back.state, step.at_s, step.operation) == (state, NOW_S + 1, "o1")
    assert (back.id != done.id, back.version, back.base) == (True, done.version, done.base)
    assert back.turned_round_since(NOW_S + 1)


@pytest.mark.parametrize(
    ("state", "then", "note"),
    [
        (S.AWAITING, S.PROMOTING, "approved: promotion requested by bob"),
        (S.SHIFTING, S.SOAKING, "rest of the shift skipped: promotion requested by bob"),
        (S.SOAKING, S.FINISHING, "rest of the soak skipped: promotion requested by bob"),
    ],
)
def test_a_promotion_on_request_goes_past_what_is_waited_for(
    state: ReleaseState, then: ReleaseState, note: str
) -> None:
    promoted = after(release(state), K.PROMOTE)

    assert (promoted.state, promoted.reason) == (then, note)
    assert (promoted.steps[-1].actor, promoted.steps[-1].operation) == ("bob", "promote-m")


def test_an_approved_version_whose_requests_are_to_be_shifted_is_pinned_first() -> None:
    awaiting = release(S.AWAITING, strategy=Strategy(shift=(5,)))

    assert after(awaiting, K.PROMOTE).state is S.PINNING


def test_what_has_not_passed_cannot_be_promoted_by_request() -> None:
    for state in set(S) - {S.AWAITING, S.SHIFTING, S.SOAKING}:
        found = release(state)
        assert after(found, K.PROMOTE) is found


def test_a_pause_lasts_until_somebody_ends_it() -> None:
    paused = after(release(S.SOAKING), K.PAUSE)
    assert (paused.state, paused.paused_by) == (S.SOAKING, "bob")
    assert after(paused, K.PAUSE) is paused

    resumed = after(paused, K.RESUME)
    assert (resumed.state, resumed.paused_by) == (S.SOAKING, None)
    assert after(resumed, K.RESUME) is resumed


@pytest.mark.parametrize(
    ("state", "then"),
    [
        *((state, S.REFUSED) for state in sorted(BEFORE_PROMOTION)),
        *((state, S.ROLLING_BACK) for state in sorted(PROMOTED)),
        (S.RESTORING, S.DONE),
    ],
)
def test_an_abort_ends_in_one_of_the_two_ends(state: ReleaseState, then: ReleaseState) -> None:
    aborted = after(release(state), K.ABORT)

    assert aborted.state is then
    assert aborted.reason.startswith("aborted by bob")


def test_an_abort_frees_a_release_whose_old_version_is_gone_from_the_store() -> None:
    stuck = release(S.ROLLING_BACK)

    assert after(stuck, K.ABORT) is stuck
    freed = after(stuck, K.ABORT, stored=ONLY_2)
    assert (freed.state, freed.reason) == (
        S.DONE,
        "aborted by bob; version 2 keeps serving",
    )


@pytest.mark.parametrize("kind", [K.PROMOTE, K.PAUSE, K.RESUME, K.ABORT])
@pytest.mark.parametrize("state", sorted(RESTING))
def test_nothing_is_asked_of_a_release_at_rest(kind: OperationKind, state: ReleaseState) -> None:
    assert not can_heed(release(state), kind, has_base=True)


def test_each_request_is_heeded_once() -> None:
    paused = after(release(S.SOAKING), K.PAUSE)
    again = heeded(paused, asked(paused, K.PAUSE, K.RESUME), NOW_S + 2)

    assert again.paused_by is None
    assert heeded(again, asked(again, K.PAUSE, K.RESUME), NOW_S + 3) is again


def test_a_rollback_that_has_happened_does_not_stand_in_the_way_of_the_next_request() -> None:
    """It is in the list until its end is recorded."""
    back = after(release(S.SOAKING), K.ROLLBACK)

    seen = asked(back, K.ROLLBACK, K.ABORT, stored=ONLY_2)

    assert heeded(back, seen, NOW_S + 2).state is S.DONE


def test_a_request_ends_when_it_was_heeded() -> None:
    found = release(S.SOAKING)
    pause = operation(K.PAUSE, on=found.id)

    assert settle(pause, asked(found, K.PAUSE), NOW_S) is None
    paused = after(found, K.PAUSE)
    ended = settle(pause, asked(paused, K.PAUSE), NOW_S)
    assert ended is not None
    assert ended.error is None


def test_a_request_that_came_too_late_says_where_the_release_is() -> None:
    done = release(S.DONE)
    ended = settle(operation(K.PROMOTE, on=done.id), asked(done, K.PROMOTE), NOW_S)

    assert ended is not None
    assert ended.error == f"too late to promote: the release is done: {done.reason}"


def test_an_abort_ends_with_its_release() -> None:
    found = release(S.SOAKING)
    abort = operation(K.ABORT, on=found.id)
    going = after(found, K.ABORT)
    gone = going.entered(S.ROLLED_BACK, at_s=NOW_S + 2, note="back")

    assert settle(abort, asked(going, K.ABORT), NOW_S) is None
    ended = settle(abort, asked(gone, K.ABORT), NOW_S)
    assert ended is not None
    assert ended.error is None
