"""Which evidence is gathered next. Version 1 of `m` serves, and 2 is released."""

from dataclasses import replace

import pytest

from sidecar.core.actions import Check
from sidecar.core.checks import EVERY_S, checks, round_times_s
from sidecar.core.fleet import CheckKind, ServerView, Snapshot
from sidecar.core.release import Release, ReleaseState
from sidecar.core.strategy import Copies, Strategy
from sidecar.core.trial import Trial
from tests.builders import CANARY, NOW_S, holding, model, placed, release, server, snapshot, trial

S = ReleaseState
K = CheckKind
M = model("m", versions=[1, 2], tier="hot")
ALONE = holding(M, 2)
UNWARMED = holding(M, 2, warmup=False)
BOTH = holding(M, 1, 2)
ROUNDS = [(S.COMPARING, K.COMPARE), (S.SHIFTING, K.GUARD), (S.SOAKING, K.GUARD)]


def seen(found: Release, *, gathered: Trial | None = None, **parts: object) -> Snapshot:
    """Both servers hold both versions, unless `parts` says otherwise."""
    kind = K.COMPARE if found.state is S.COMPARING else K.GUARD
    return snapshot(
        M,
        recorded={"m": 1},
        releases=[found],
        trials={(found.id, kind): gathered} if gathered else {},
        **{"serving": BOTH, "canary": BOTH, **parts},  # type: ignore[arg-type]
    )


def due(found: Release, now_s: float = NOW_S, **parts: object) -> list[Check]:
    return list(checks(seen(found, **parts), now_s))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("state", "canary", "kind", "config"),
    [
        (S.ADMITTED, None, K.FILES, ""),
        (S.VERIFYING, UNWARMED, K.GOLDEN, placed(M, 2, warmup=False).config),
        (S.MEASURING, ALONE, K.MEASURE, placed(M, 2).config),
        (S.COMPARING, BOTH, K.COMPARE, placed(M, 1, 2).config),
        (S.SHIFTING, None, K.GUARD, placed(M, 1, 2).config),
        (S.SOAKING, None, K.GUARD, placed(M, 1, 2).config),
    ],
)
def test_a_state_has_its_check(
    state: ReleaseState, canary: ServerView | None, kind: CheckKind, config: str
) -> None:
    (check,) = due(release(state), canary=canary)

    assert (check.kind, check.release, check.config) == (kind, release(state), config)
    assert check.trial is None


@pytest.mark.parametrize(
    "state",
    sorted(set(S) - {S.ADMITTED, S.VERIFYING, S.MEASURING, S.COMPARING, S.SHIFTING, S.SOAKING}),
)
def test_other_states_have_none(state: ReleaseState) -> None:
    assert due(release(state)) == []


@pytest.mark.parametrize("state", [S.ADMITTED, *(state for state, _ in ROUNDS)])
def test_one_check_at_a_time(state: ReleaseState) -> None:
    assert due(release(state), checking=["m.2"]) == []
    assert len(due(release(state), checking=["another"])) == 1


@pytest.mark.parametrize(
    ("state", "canary"),
    [
        (S.VERIFYING, ALONE),
        (S.MEASURING, UNWARMED),
        (S.MEASURING, BOTH),
        (S.COMPARING, ALONE),
        (S.COMPARING, replace(BOTH, verified={})),
        (S.COMPARING, server(problem="no answer")),
    ],
)
def test_nothing_is_asked_of_a_canary_that_is_not_as_it_should_be(
    state: ReleaseState, canary: ServerView
) -> None:
    assert due(release(state), canary=canary) == []


def test_nothing_is_asked_of_a_server_where_something_is_being_done_to_the_model() -> None:
    assert due(release(S.COMPARING), busy=[(CANARY, "m")]) == []


@pytest.mark.parametrize("state", [S.SHIFTING, S.SOAKING])
def test_nobody_watches_a_version_that_is_not_there(state: ReleaseState) -> None:
    assert due(release(state), serving=holding(M, 1)) == []
    assert due(release(state), serving=server(problem="no answer")) == []


def test_where_one_copy_is_kept_it_is_watched_alone() -> None:
    alone = release(S.SOAKING, strategy=Strategy(copies=Copies.ONE_AT_A_TIME))

    assert due(alone) == []
    (check,) = due(alone, serving=ALONE)
    assert check.config == placed(M, 2).config


@pytest.mark.parametrize(("state", "kind"), ROUNDS)
def test_a_round_goes_on_from_the_one_before_after_a_rest(
    state: ReleaseState, kind: CheckKind
) -> None:
    found, before = release(state), trial(looked_at_s=NOW_S)
    rest_s = EVERY_S[kind]

    assert due(found, NOW_S + rest_s * 0.9, gathered=before) == []
    (check,) = due(found, NOW_S + rest_s, gathered=before)
    assert (check.kind, check.trial) == (kind, before)
    assert round_times_s(seen(found, gathered=before)) == [NOW_S + rest_s]


@pytest.mark.parametrize(("state", "kind"), ROUNDS)
def test_a_clock_that_was_set_back_makes_nobody_wait(state: ReleaseState, kind: CheckKind) -> None:
    (check,) = due(release(state), NOW_S - 3600, gathered=trial(looked_at_s=NOW_S))

    assert check.kind is kind


def test_rounds_of_another_release_or_kind_are_none_of_this() -> None:
    found = release(S.SOAKING)
    others = {("m.1", K.GUARD): trial(looked_at_s=NOW_S), (found.id, K.COMPARE): trial()}
    looked = replace(seen(found), trials=others)

    (check,) = checks(looked, NOW_S)
    assert check.trial is None
    assert round_times_s(looked) == []


@pytest.mark.parametrize("state", [S.ADMITTED, S.VERIFYING, S.MEASURING, S.COMPARING])
def test_what_is_paused_gathers_nothing(state: ReleaseState) -> None:
    canary = {S.VERIFYING: UNWARMED, S.MEASURING: ALONE}.get(state, BOTH)
    assert len(due(release(state), canary=canary)) == 1

    assert due(release(state, paused_by="bob"), canary=canary) == []


@pytest.mark.parametrize("state", [S.SHIFTING, S.SOAKING])
def test_what_is_paused_while_it_serves_is_watched_all_the_same(state: ReleaseState) -> None:
    (check,) = due(release(state, paused_by="bob"))

    assert check.kind is K.GUARD
