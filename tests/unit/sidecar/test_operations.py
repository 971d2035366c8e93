"""When what somebody asked for has ended, and how. None: it goes on; "": it succeeded."""

from dataclasses import replace

import pytest

from sidecar.core.actions import Blocked
from sidecar.core.fleet import Mode, Operation, OperationKind, Snapshot
from sidecar.core.operations import awaited, settle
from sidecar.core.release import ReleaseState
from tests.builders import (
    MIB,
    NOW_S,
    SERVING,
    failure,
    holding,
    model,
    moved,
    operation,
    placed,
    release,
    server,
    snapshot,
)

S = ReleaseState
M = model("m", versions=[1, 2])
LOAD, UNLOAD = operation(OperationKind.LOAD), operation(OperationKind.UNLOAD)
RELEASE = operation(OperationKind.RELEASE, on="m.2")
ROLLBACK = operation(OperationKind.ROLLBACK, on="m.2")
FOLLOWED = "another release has followed; this one's end is in its own record"


def outcome(asked: Operation, seen: Snapshot) -> str | None:
    ended = settle(asked, seen, NOW_S + 5)
    if ended is None:
        return None
    assert ended == replace(asked, finished_at_s=NOW_S + 5, error=ended.error)
    return ended.error or ""


def wanted(**parts: object) -> Snapshot:
    return snapshot(M, recorded={"m": 1}, asked={"m": True}, **parts)  # type: ignore[arg-type]


def unwanted(**parts: object) -> Snapshot:
    return snapshot(M, recorded={"m": 1}, asked={"m": False}, **parts)  # type: ignore[arg-type]


def test_a_load_succeeds_when_the_model_is_held_and_proven() -> None:
    assert outcome(LOAD, wanted()) is None
    assert outcome(LOAD, wanted(serving=replace(holding(M, 1), verified={}))) is None
    assert outcome(LOAD, wanted(serving=holding(M, 1))) == ""


def test_a_load_fails_with_what_triton_said() -> None:
    refused = failure(placed(M, 1), "Internal: no", at_s=NOW_S + 1)

    assert outcome(LOAD, wanted(failures={(SERVING, "m"): refused})) == "Internal: no"


@pytest.mark.parametrize(
    "no_answer_yet",
    [
        failure(placed(M, 1), "no answer", lost=True, at_s=NOW_S + 1),
        failure(placed(M, 1), "an older attempt", at_s=NOW_S - 1),
        failure(placed(M, 2), "another version", at_s=NOW_S + 1),
    ],
)
def test_a_load_goes_on_while_nothing_speaks_against_it(no_answer_yet: object) -> None:
    assert outcome(LOAD, wanted(failures={(SERVING, "m"): no_answer_yet})) is None


def test_a_load_fails_with_the_release_that_was_to_introduce_the_model() -> None:
    refused = release(S.REFUSED, base=None, at_s=NOW_S + 1)
    earlier = release(S.REFUSED, base=None, at_s=NOW_S - 1)
    seen = snapshot(M, asked={"m": True}, releases=[refused])

    assert outcome(LOAD, seen) == "version 2: came to refused"
    assert outcome(LOAD, replace(seen, releases={"m": earlier})) is None
    assert outcome(LOAD, replace(seen, releases={"m": release(S.VERIFYING, base=None)})) is None


def test_a_load_that_is_asked_for_during_an_introduction_ends_with_it() -> None:
    begun = release(S.VERIFYING, base=None, at_s=NOW_S - 9)
    refused = moved(begun, (S.REFUSED, "wrong"), at_s=NOW_S + 1)

    assert outcome(LOAD, snapshot(M, asked={"m": True}, releases=[refused])) == "version 2: wrong"


def test_opposite_requests_supersede_each_other() -> None:
    assert outcome(LOAD, unwanted()) == "superseded: the model was asked to be unloaded"
    assert outcome(UNLOAD, wanted()) == "superseded: the model was asked to be loaded"


def test_an_unload_succeeds_when_nothing_of_the_model_is_left() -> None:
    assert outcome(UNLOAD, unwanted(serving=holding(M, 1))) is None
    assert outcome(UNLOAD, unwanted(serving=replace(holding(M, 1), index={}))) is None
    assert outcome(UNLOAD, unwanted(serving=server(problem="no answer"))) is None
    assert outcome(UNLOAD, unwanted()) == ""


@pytest.mark.parametrize("state", S)
def test_a_release_ends_with_its_release(state: ReleaseState) -> None:
    found = release(state)
    ends = {
        S.DONE: "",
        S.REFUSED: "refused: came to refused",
        S.ROLLED_BACK: "rolled_back: came to rolled_back",
    }

    assert outcome(RELEASE, wanted(releases=[found])) == ends.get(state)


def test_a_rollback_ends_when_its_release_has_turned_round_and_rests() -> None:
    earlier = release(S.SOAKING, at_s=NOW_S - 9)
    turned = moved(earlier, (S.ROLLING_BACK, "asked"), at_s=NOW_S + 1)
    back = moved(turned, (S.ROLLED_BACK, "asked"), at_s=NOW_S + 2)

    assert outcome(ROLLBACK, wanted(releases=[earlier])) is None
    assert outcome(ROLLBACK, wanted(releases=[turned])) is None
    assert outcome(ROLLBACK, wanted(releases=[back])) == ""


def test_a_rollback_of_a_version_that_never_got_traffic_succeeds() -> None:
    refused = moved(release(S.VERIFYING, at_s=NOW_S - 9), (S.REFUSED, "asked"), at_s=NOW_S + 1)

    assert outcome(ROLLBACK, wanted(releases=[refused])) == ""


def test_a_rollback_fails_when_the_old_version_cannot_be_brought_back() -> None:
    done = release(S.DONE, at_s=NOW_S - 9)
    tried = moved(done, (S.RESTORING, "asked"), (S.DONE, "cannot be brought back"), at_s=NOW_S + 1)

    assert outcome(ROLLBACK, wanted(releases=[done])) is None
    assert outcome(ROLLBACK, wanted(releases=[tried])) == "cannot be brought back"


@pytest.mark.parametrize("state", [S.REFUSED, S.ROLLED_BACK])
def test_a_rollback_that_came_a_moment_after_it_went_back_by_itself_has_ended(
    state: ReleaseState,
) -> None:
    """The request saw it soaking; the loop had turned it round at an earlier time."""
    by_itself = release(state, at_s=NOW_S - 0.001)

    assert outcome(ROLLBACK, wanted(releases=[by_itself])) == ""


@pytest.mark.parametrize("asked", [RELEASE, ROLLBACK])
def test_what_was_followed_by_another_release_has_ended(asked: Operation) -> None:
    another = replace(release(S.VERIFYING, version=2), id="m.2.later")

    assert outcome(asked, wanted(releases=[another])) == FOLLOWED


def waiting(asked: Operation, seen: Snapshot, *blocked: Blocked) -> str | None:
    return awaited(asked, seen, {each.model: each for each in blocked})


AWAY = server(problem="another admin key")
FULL = Blocked(
    model="m",
    device="cpu",
    needed_bytes=2 * MIB,
    free_bytes=MIB,
    evictable_bytes=0,
    blocked_by=(),
    is_final=False,
)
NO_ANSWER = {(SERVING, "m"): failure(placed(M, 1), "no answer", lost=True, at_s=NOW_S + 1)}


@pytest.mark.parametrize("asked", [LOAD, UNLOAD])
def test_an_operation_on_a_model_says_what_keeps_it(asked: Operation) -> None:
    seen = wanted()

    assert waiting(asked, seen) is None
    assert waiting(asked, wanted(serving=AWAY)) == "serving: another admin key"
    assert waiting(asked, replace(seen, mode=Mode.PAUSED)) == "the sidecar, which is paused"
    assert waiting(asked, wanted(failures=NO_ANSWER)) == "another try: no answer"
    assert waiting(asked, snapshot(asked={"m": True})) == "the store, where m is missing"
    assert waiting(replace(asked, finished_at_s=NOW_S), wanted(serving=AWAY)) is None


def test_a_failure_from_before_it_was_asked_for_keeps_no_operation() -> None:
    later = replace(LOAD, created_at_s=NOW_S + 2)

    assert waiting(later, wanted(failures=NO_ANSWER)) is None


def test_a_load_waits_for_memory_and_an_unload_never_does() -> None:
    told = waiting(LOAD, wanted(), FULL)

    assert told is not None
    assert told.startswith("memory: m needs 2.0 MiB on cpu, where 1.0 MiB are free")
    assert waiting(UNLOAD, wanted(), FULL) is None


def test_a_load_waits_for_what_the_release_waits_for_that_introduces_the_model() -> None:
    first = release(S.COMPARING, base=None)
    seen = snapshot(M, asked={"m": True}, releases=[first], canary=AWAY)
    later = replace(seen, serving={"m": 1})

    assert waiting(LOAD, seen) == (
        "the release of version 2, which waits for canary: another admin key"
    )
    assert waiting(LOAD, replace(seen, servers=wanted().servers)) is None
    assert waiting(LOAD, later) is None


def test_an_operation_on_a_release_waits_for_what_that_waits_for() -> None:
    seen = wanted(releases=[release(S.SOAKING)], serving=AWAY)

    assert waiting(ROLLBACK, seen) == "serving: another admin key"
    assert waiting(replace(ROLLBACK, release_id="m.9"), seen) is None
