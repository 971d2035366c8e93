"""What the next plan is. Whole plans are asserted: what is not listed is not done."""

from dataclasses import replace

import pytest

from sidecar.core.actions import (
    Check,
    Ensure,
    Keep,
    Plan,
    Reject,
    Remove,
    SaveRelease,
    SaveServing,
    SetAside,
    Settle,
)
from sidecar.core.fleet import (
    CheckKind,
    Desired,
    OperationKind,
    Outcome,
    Rejection,
    Server,
    Snapshot,
)
from sidecar.core.planner import plan
from sidecar.core.policy import Policy, retry_at_s
from sidecar.core.release import Asked, Release, ReleaseState, admit
from sidecar.core.strategy import Copies, Strategy
from tests.builders import (
    CANARY,
    MIB,
    NOW_S,
    POLICY,
    READY,
    SERVING,
    UNAVAILABLE,
    VersionState,
    failure,
    holding,
    model,
    moved,
    operation,
    placed,
    quarantine,
    release,
    server,
    snapshot,
    unverified,
)
from tests.builders import trial as tried

S = ReleaseState
HOT, COLD = model("hot", tier="hot"), model("cold")
M = model("m", versions=[1, 2], tier="hot")
FILES_PASSED = Outcome(passed=True, note="every file is as the manifest says")


def planned(seen: Snapshot, *, now_s: float = NOW_S, policy: Policy = POLICY) -> Plan:
    return plan(seen, policy, now_s)


def introduced(name: str, version: int) -> SaveRelease:
    return SaveRelease(
        release=admit(
            release_id=f"{name}.{version}.f4240",
            model=name,
            version=version,
            base=None,
            actor="pilotlight",
            at_s=NOW_S,
        )
    )


def ensure(name: str, *versions: int, reason: str, on: Server = SERVING) -> Ensure:
    """Of the model `M`, `HOT` or `COLD`."""
    stored = {"m": M, "hot": HOT, "cold": COLD}[name]
    return Ensure(server=on, model=name, placement=placed(stored, *versions), reason=reason)


def test_nothing_is_done_without_models() -> None:
    assert planned(snapshot()) == Plan()


def test_a_cold_model_that_nobody_asked_for_is_not_loaded() -> None:
    assert planned(snapshot(COLD)) == Plan()
    assert planned(snapshot(COLD, recorded={"cold": 1})) == Plan()


def test_a_hot_model_that_never_served_is_introduced_by_a_release_of_its_newest_version() -> None:
    assert planned(snapshot(M, COLD)) == Plan(notes=(introduced("m", 2),), wake_at_s=NOW_S)


def test_a_cold_model_is_introduced_when_somebody_asks() -> None:
    asked = snapshot(COLD, asked={"cold": True})

    assert planned(asked) == Plan(notes=(introduced("cold", 1),), wake_at_s=NOW_S)


def test_notes_come_before_work() -> None:
    """What is known is recorded before anything is done about it."""
    both = snapshot(M, HOT, recorded={"hot": 1})

    assert planned(both) == Plan(notes=(introduced("m", 2),), wake_at_s=NOW_S)


@pytest.mark.parametrize("tier", ["hot", "cold"])
def test_a_model_that_serves_without_a_record_is_adopted(tier: str) -> None:
    stored = model("m", versions=[1, 2, 3], tier=tier)
    found = snapshot(stored, serving=holding(stored, 1, 2))

    why = "found serving, no record"
    adopted = SaveServing(model="m", version=2, reason=why)
    kept = () if tier == "hot" else (Keep(model="m", reason=why),)
    assert planned(found) == Plan(notes=(adopted, *kept), wake_at_s=NOW_S)


def test_what_serves_but_is_not_in_the_store_is_not_adopted() -> None:
    stranger = holding(model("m", versions=[7], tier="hot"), 7)

    assert planned(snapshot(M, serving=stranger)) == Plan()


def test_a_recorded_model_is_loaded_without_another_release() -> None:
    """After a restart of Triton: what was proven is simply brought back."""
    assert planned(snapshot(M, recorded={"m": 1})) == Plan(
        work=(ensure("m", 1, reason="its tier is hot"),)
    )


def test_a_model_that_is_held_and_proven_is_left_alone() -> None:
    assert planned(snapshot(M, serving=holding(M, 1), recorded={"m": 1})) == Plan()


def test_a_model_that_is_loaded_already_is_proven_again_after_a_restart_of_the_sidecar() -> None:
    after_restart = snapshot(M, serving=unverified(holding(M, 1)), recorded={"m": 1})

    reason = "already loaded there: to be adopted once it answers rightly"
    assert planned(after_restart) == Plan(work=(ensure("m", 1, reason=reason),))


def test_a_cold_model_that_is_asked_for_is_loaded() -> None:
    asked = snapshot(COLD, recorded={"cold": 1}, asked={"cold": True})

    assert planned(asked) == Plan(work=(ensure("cold", 1, reason="a load was asked for"),))


def test_a_cold_model_is_unloaded_when_somebody_asks() -> None:
    unwanted = snapshot(COLD, serving=holding(COLD, 1), recorded={"cold": 1}, asked={"cold": False})

    reason = "nobody needs it now"
    assert planned(unwanted) == Plan(work=(Remove(server=SERVING, model="cold", reason=reason),))


def test_a_hot_model_stays_whatever_was_asked_before_it_was_hot() -> None:
    kept = snapshot(M, serving=holding(M, 1), recorded={"m": 1}, asked={"m": False})

    assert planned(kept) == Plan()


@pytest.mark.parametrize("state", [READY, VersionState.LOADING, VersionState.UNLOADING])
def test_a_model_on_its_way_in_or_out_is_there(state: VersionState) -> None:
    half = replace(holding(COLD, 1), index={"cold": {1: state}}, staged={})

    seen = snapshot(COLD, serving=half, recorded={"cold": 1}, asked={"cold": False})
    (work,) = planned(seen).work
    assert isinstance(work, Remove)


@pytest.mark.parametrize("state", [VersionState.LOADING, VersionState.UNLOADING])
def test_what_an_earlier_process_began_is_waited_for(state: VersionState) -> None:
    """A second load would follow the first one at once."""
    half = replace(holding(M, 1), index={"m": {1: state}}, verified={})

    assert planned(snapshot(M, serving=half, recorded={"m": 1})).work == ()


def test_a_stage_folder_that_was_left_behind_is_cleared() -> None:
    left = replace(holding(COLD, 1), index={"cold": {1: UNAVAILABLE}})

    (work,) = planned(snapshot(COLD, serving=left, recorded={"cold": 1})).work
    assert isinstance(work, Remove)


def test_a_model_that_vanished_from_the_store_keeps_serving() -> None:
    """An unmounted store must not take traffic down."""
    without_model = snapshot(serving=holding(M, 1), recorded={"m": 1})
    without_version = snapshot(
        model("m", versions=[2], tier="hot"), serving=holding(M, 1), recorded={"m": 1}
    )

    assert planned(without_model) == Plan()
    assert planned(without_version) == Plan()


def test_canary_is_cleared_of_whatever_no_release_needs() -> None:
    stranger = model("stranger")
    crowded = snapshot(
        M,
        serving=holding(M, 1),
        canary=server(holding(M, 2), holding(stranger, 1)),
        recorded={"m": 1},
        releases=[release(S.PROMOTING)],
    )

    removed = [work for work in planned(crowded).work if isinstance(work, Remove)]
    reason = "no release needs it on canary"
    assert removed == [
        Remove(server=CANARY, model="m", reason=reason),
        Remove(server=CANARY, model="stranger", reason=reason),
    ]


@pytest.mark.parametrize("lost", [SERVING, CANARY])
def test_a_server_with_a_problem_is_left_alone(lost: Server) -> None:
    """Its stage too: what it will find when it is back is decided then."""
    seen = snapshot(
        M,
        COLD,
        serving=holding(COLD, 1),
        canary=holding(COLD, 1),
        recorded={"m": 1, "cold": 1},
        asked={"cold": False},
    )
    without = replace(
        seen, servers={**seen.servers, lost: replace(seen.servers[lost], problem="no answer")}
    )

    assert {work.server for work in planned(seen).work if not isinstance(work, Check)} == set(
        Server
    )
    assert {work.server for work in planned(without).work if not isinstance(work, Check)} == (
        set(Server) - {lost}
    )


def test_loads_begin_with_hot_ones_then_with_the_largest() -> None:
    models = [
        model("a_small_hot", tier="hot", disk_bytes=MIB),
        model("b_large_cold", disk_bytes=90 * MIB),
        model("c_large_hot", tier="hot", disk_bytes=80 * MIB),
        model("d_small_cold", disk_bytes=MIB),
        model("e_small_cold", disk_bytes=MIB),
    ]
    recorded = {stored.name: 1 for stored in models}
    seen = snapshot(*models, recorded=recorded, asked=dict.fromkeys(recorded, True))

    names = [work.model for work in planned(seen, policy=generous()).work]  # type: ignore[union-attr]
    assert names == ["c_large_hot", "a_small_hot", "b_large_cold", "d_small_cold", "e_small_cold"]


def generous() -> Policy:
    return replace(POLICY, parallel_loads=100)


def test_no_more_loads_are_in_flight_per_server_than_the_limit() -> None:
    models = [model(name, tier="hot") for name in "abcdef"]
    seen = snapshot(*models, recorded=dict.fromkeys("abcdef", 1))

    def loads(*busy: str, on: Server = SERVING) -> list[str]:
        now = replace(seen, busy=frozenset((on, name) for name in busy))
        return [work.model for work in planned(now).work]  # type: ignore[union-attr]

    assert loads() == ["a", "b", "c", "d"]
    assert loads("a", "b", "c") == ["d"]
    assert loads("a", "b", "c", "d", "e") == []
    assert loads("a", "b", on=CANARY) == ["a", "b", "c", "d"]


def test_nothing_is_planned_for_what_something_is_being_done_to() -> None:
    loading = snapshot(M, recorded={"m": 1}, busy=[(SERVING, "m")])
    removing = snapshot(
        COLD,
        serving=holding(COLD, 1),
        canary=holding(COLD, 1),
        recorded={"cold": 1},
        busy=[(SERVING, "cold"), (CANARY, "cold")],
    )
    admitted = release(S.ADMITTED)
    checking = snapshot(
        M,
        serving=holding(M, 1),
        recorded={"m": 1},
        releases=[admitted],
        checking=[admitted.id],
    )

    assert planned(loading) == planned(removing) == planned(checking) == Plan()


def test_a_failed_load_is_tried_again_after_a_while_and_the_plan_says_when() -> None:
    failed = failure(placed(M, 1), attempts=2, at_s=NOW_S)
    seen = snapshot(M, recorded={"m": 1}, failures={(SERVING, "m"): failed})
    again_s = NOW_S + 1.0

    assert planned(seen, now_s=again_s - 0.1) == Plan(wake_at_s=again_s)
    assert planned(seen, now_s=again_s) == Plan(work=(ensure("m", 1, reason="its tier is hot"),))


def test_a_failed_load_of_something_else_delays_nothing() -> None:
    failed = failure(placed(M, 2), attempts=9, at_s=NOW_S)
    seen = snapshot(M, recorded={"m": 1}, failures={(SERVING, "m"): failed})

    assert planned(seen).work == (ensure("m", 1, reason="its tier is hot"),)


def test_a_failed_removal_is_tried_again_after_a_while() -> None:
    """A folder that cannot be deleted must not keep the loop spinning."""
    failed = replace(failure(placed(COLD, 1), "read-only file system", at_s=NOW_S), config="")
    seen = snapshot(
        COLD,
        serving=holding(COLD, 1),
        recorded={"cold": 1},
        asked={"cold": False},
        failures={(SERVING, "cold"): failed},
    )

    assert planned(seen, now_s=NOW_S + 0.4) == Plan(wake_at_s=NOW_S + 0.5)
    (work,) = planned(seen, now_s=NOW_S + 0.5).work
    assert isinstance(work, Remove)


def test_waits_double_up_to_a_minute() -> None:
    waits = [retry_at_s(attempts, NOW_S) - NOW_S for attempts in range(1, 11)]

    assert waits == [0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert retry_at_s(5000, NOW_S) == NOW_S + 60


def trial(
    state: ReleaseState, *, canary: bool = False, outcomes: dict[CheckKind, Outcome] | None = None
) -> Snapshot:
    """Version 2 of `M` is released over version 1, which serves."""
    found = release(state)
    return snapshot(
        M,
        serving=holding(M, 1),
        canary=holding(M, 2, warmup=False) if canary else None,
        recorded={"m": 1},
        releases=[found],
        outcomes={(found.id, kind): outcome for kind, outcome in (outcomes or {}).items()},
    )


def test_files_are_checked_before_any_load() -> None:
    check = Check(
        kind=CheckKind.FILES, release=release(S.ADMITTED), config="", reason="before any load"
    )

    assert planned(trial(S.ADMITTED)) == Plan(work=(check,))


def test_evidence_moves_a_release_on() -> None:
    seen = trial(S.ADMITTED, outcomes={CheckKind.FILES: FILES_PASSED})

    after = moved(release(S.ADMITTED), (S.CANARY_LOADING, FILES_PASSED.note))
    assert planned(seen) == Plan(notes=(SaveRelease(release=after),), wake_at_s=NOW_S)


def test_an_unproven_version_is_loaded_on_canary_without_warm_up() -> None:
    work = Ensure(
        server=CANARY,
        model="m",
        placement=placed(M, 2, warmup=False),
        reason="release of version 2 is canary_loading",
    )

    assert planned(trial(S.CANARY_LOADING)) == Plan(work=(work,))
    assert "model_warmup" not in work.placement.config


def test_answers_are_checked_once_it_is_loaded() -> None:
    check = Check(
        kind=CheckKind.GOLDEN,
        release=release(S.VERIFYING),
        config=placed(M, 2, warmup=False).config,
        reason="before any warm-up by Triton itself",
    )

    assert planned(trial(S.VERIFYING, canary=True)) == Plan(work=(check,))


def test_a_canary_that_came_back_empty_is_loaded_again_before_the_check() -> None:
    (work,) = planned(trial(S.VERIFYING)).work

    assert isinstance(work, Ensure)
    assert work.placement == placed(M, 2, warmup=False)


def test_model_warmup_runs_in_a_fresh_load() -> None:
    """A reload of the same version would fail silently; a fresh load cannot."""
    reason = "the next step of its release starts from a fresh load"
    warmed = trial(S.CANARY_WARMING, canary=True)
    emptied = trial(S.CANARY_WARMING)

    assert planned(warmed) == Plan(work=(Remove(server=CANARY, model="m", reason=reason),))
    assert planned(emptied) == Plan(
        work=(ensure("m", 2, on=CANARY, reason="release of version 2 is canary_warming"),)
    )


@pytest.mark.parametrize("state", [S.ADMITTED, S.CANARY_LOADING, S.VERIFYING, S.CANARY_WARMING])
def test_serving_is_not_touched_before_the_promotion(state: ReleaseState) -> None:
    for canary in (False, True):
        assert all(
            isinstance(work, Check) or work.server is CANARY
            for work in planned(trial(state, canary=canary)).work
        )


def test_a_promotion_adds_the_new_version_to_the_old_one() -> None:
    assert planned(trial(S.PROMOTING)) == Plan(
        work=(ensure("m", 1, 2, reason="release of version 2 is promoting"),)
    )


def test_both_versions_stay_during_the_soak_and_are_watched_every_second() -> None:
    soaking = release(S.SOAKING)
    both = holding(M, 1, 2)
    seen = snapshot(M, serving=both, recorded={"m": 1}, releases=[soaking])
    check = Check(
        kind=CheckKind.GUARD,
        release=soaking,
        config=both.staged["m"],
        reason="while the version before is still there",
    )
    watched = tried(looked_at_s=NOW_S - 0.4)
    trials = {(soaking.id, CheckKind.GUARD): watched}

    assert planned(seen) == Plan(work=(check,))
    assert planned(replace(seen, trials=trials)) == Plan(wake_at_s=NOW_S + 0.6)
    again = {(soaking.id, CheckKind.GUARD): replace(watched, looked_at_s=NOW_S - 1)}
    assert planned(replace(seen, trials=again)) == Plan(
        work=(replace(check, trial=replace(watched, looked_at_s=NOW_S - 1)),)
    )


def test_a_clock_that_was_set_back_stops_no_watching() -> None:
    soaking = release(S.SOAKING)
    seen = snapshot(
        M,
        serving=holding(M, 1, 2),
        recorded={"m": 1},
        releases=[soaking],
        trials={(soaking.id, CheckKind.GUARD): tried(looked_at_s=NOW_S + 7200)},
    )

    assert [type(work) for work in planned(seen).work] == [Check]


def test_the_old_version_comes_beside_the_new_one_for_the_comparison_in_place() -> None:
    comparing = release(S.COMPARING)
    seen = snapshot(
        M,
        serving=holding(M, 1),
        canary=holding(M, 2),
        recorded={"m": 1},
        releases=[comparing],
    )
    both = placed(M, 1, 2, lead=2)

    (work,) = planned(seen).work
    assert work == Ensure(
        server=CANARY,
        model="m",
        placement=both,
        reason="release of version 2 is comparing",
    )
    (check,) = planned(
        replace(seen, servers={**seen.servers, CANARY: holding(M, 1, 2, lead=2)})
    ).work
    assert isinstance(check, Check)
    assert check.kind is CheckKind.COMPARE


def test_where_one_copy_is_kept_the_old_version_leaves_before_the_new_one_comes() -> None:
    promoting = release(S.PROMOTING, strategy=Strategy(copies=Copies.ONE_AT_A_TIME))
    before = snapshot(M, serving=holding(M, 1), recorded={"m": 1}, releases=[promoting])
    between = snapshot(M, recorded={"m": 1}, releases=[promoting])

    assert planned(before) == Plan(
        work=(
            Remove(
                server=SERVING,
                model="m",
                reason="there is room for one version at a time, and 2 is to come",
                regardless=True,
            ),
        )
    )
    assert planned(between) == Plan(
        work=(ensure("m", 2, reason="release of version 2 is promoting"),)
    )


def test_a_version_that_fails_by_evidence_is_rejected_with_the_release() -> None:
    verifying = release(S.VERIFYING)
    wrong = Outcome(passed=False, note="wrong")
    seen = trial(S.VERIFYING, canary=True, outcomes={CheckKind.GOLDEN: wrong})

    refused = moved(verifying, (S.REFUSED, "wrong"), rejected=True)
    rejection = Rejection(at_s=NOW_S, release=verifying.id, reason="wrong")
    assert planned(seen).notes == (
        Reject(model="m", version=2, rejection=rejection),
        SaveRelease(release=refused),
    )


def test_a_soak_that_waits_for_a_lost_server_wakes_nobody_for_its_past_end() -> None:
    """A wake-up time in the past would keep the loop spinning while the server is away."""
    soaking = release(S.SOAKING)
    lost = failure(placed(M, 1, 2), "no answer", lost=True, at_s=NOW_S - 90)
    seen = snapshot(
        M,
        serving=server(problem="no answer"),
        recorded={"m": 1},
        releases=[soaking],
        failures={(SERVING, "m"): lost},
    )

    assert planned(seen) == Plan()


def test_the_record_changes_when_the_new_version_serves_alone() -> None:
    finishing = release(S.FINISHING)
    seen = snapshot(M, serving=holding(M, 2), recorded={"m": 1}, releases=[finishing])

    note = "version 2 serves alone"
    assert planned(seen) == Plan(
        notes=(
            SaveServing(model="m", version=2, reason=note),
            SaveRelease(release=moved(finishing, (S.DONE, note))),
        ),
        wake_at_s=NOW_S,
    )


def test_the_old_version_goes_with_the_end_of_the_soak() -> None:
    finishing = release(S.FINISHING)
    seen = snapshot(M, serving=holding(M, 1, 2), recorded={"m": 1}, releases=[finishing])

    assert planned(seen) == Plan(work=(ensure("m", 2, reason="release of version 2 is finishing"),))


def asked_back(found: Release) -> Snapshot:
    asked = operation(OperationKind.ROLLBACK, on=found.id, at_s=NOW_S + 1)
    serving = {S.SOAKING: holding(M, 1, 2), S.DONE: holding(M, 2)}.get(found.state, holding(M, 1))
    return snapshot(
        M,
        serving=serving,
        recorded={"m": 2 if found.state is S.DONE else 1},
        releases=[found],
        operations=[asked],
    )


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
def test_a_request_turns_a_release_round_in_whatever_state_it_is(
    state: ReleaseState, then: ReleaseState
) -> None:
    found = release(state)

    by = Asked("bob", "rollback-m")
    turned = moved(found, (then, "rollback requested by bob"), at_s=NOW_S + 2, by=by)
    assert planned(asked_back(found), now_s=NOW_S + 2) == Plan(
        notes=(SaveRelease(release=turned),), wake_at_s=NOW_S + 2
    )


def test_a_request_is_carried_out_once() -> None:
    found = release(S.SOAKING)
    turned = moved(found, (S.ROLLING_BACK, "rollback requested by bob"), at_s=NOW_S + 2)
    seen = replace(asked_back(found), releases={"m": turned})

    assert planned(seen, now_s=NOW_S + 3) == Plan(
        work=(ensure("m", 1, reason="release of version 2 is rolling_back"),)
    )


def test_a_rollback_of_a_finished_release_first_brings_the_old_version_back() -> None:
    restoring = release(S.RESTORING)
    seen = snapshot(M, serving=holding(M, 2), recorded={"m": 2}, releases=[restoring])

    assert planned(seen) == Plan(
        work=(ensure("m", 1, 2, reason="release of version 2 is restoring"),)
    )


def test_a_restoration_that_fails_leaves_the_new_version_serving() -> None:
    restoring = release(S.RESTORING)
    asked = operation(OperationKind.ROLLBACK, on=restoring.id, at_s=NOW_S)
    seen = snapshot(
        M,
        serving=holding(M, 2),
        recorded={"m": 2},
        releases=[restoring],
        operations=[asked],
        failures={(SERVING, "m"): failure(placed(M, 1, 2), "no")},
    )

    note = "version 1 cannot be brought back: no; version 2 keeps serving"
    done = moved(restoring, (S.DONE, note))
    assert planned(seen) == Plan(notes=(SaveRelease(release=done),), wake_at_s=NOW_S)

    rest = replace(seen, releases={"m": done}, failures={})
    ended = replace(asked, finished_at_s=NOW_S, error=note)
    assert planned(rest) == Plan(notes=(Settle(operation=ended),), wake_at_s=NOW_S)


def test_a_rolled_back_release_records_the_old_version() -> None:
    back = release(S.ROLLING_BACK)
    seen = snapshot(M, serving=holding(M, 1), recorded={"m": 2}, releases=[back])

    assert planned(seen) == Plan(
        notes=(
            SaveServing(model="m", version=1, reason=back.reason),
            SaveRelease(release=moved(back, (S.ROLLED_BACK, back.reason))),
        ),
        wake_at_s=NOW_S,
    )


def test_a_first_version_that_failed_on_serving_is_removed() -> None:
    back = release(S.ROLLING_BACK, version=1, base=None)
    seen = snapshot(M, serving=holding(M, 1), releases=[back])

    gone = Remove(server=SERVING, model="m", reason=back.reason, regardless=True)
    assert planned(seen) == Plan(work=(gone,))


def test_a_refused_first_version_goes_into_quarantine() -> None:
    refused = release(S.REFUSED, version=2, base=None)

    aside = SetAside(model="m", quarantine=quarantine(reason="came to refused", newest=2))
    assert planned(snapshot(M, releases=[refused])) == Plan(notes=(aside,), wake_at_s=NOW_S)


def test_a_refused_first_version_is_tried_again_when_its_quarantine_is_over() -> None:
    refused = release(S.REFUSED, version=2, base=None)
    seen = snapshot(M, releases=[refused], quarantine={"m": quarantine(newest=2)})

    assert planned(seen) == Plan(wake_at_s=NOW_S + 60)
    (again,) = planned(seen, now_s=NOW_S + 60).notes
    assert isinstance(again, SaveRelease)
    assert again.release.state is S.ADMITTED


@pytest.mark.parametrize(
    "changed",
    [
        {"models": {"m": model("m", versions=[1, 2, 3], tier="hot")}},
        {"desired": {"m": Desired(loaded=True, requested_at_s=NOW_S + 1)}},
    ],
    ids=["a newer version", "somebody asks again"],
)
def test_it_is_tried_again_when_there_is_a_reason(changed: dict[str, object]) -> None:
    refused = release(S.REFUSED, version=2, base=None)
    seen = replace(snapshot(M, releases=[refused]), **changed)  # type: ignore[arg-type]

    (note,) = planned(seen).notes
    assert isinstance(note, SaveRelease)
    assert note.release.version == seen.models["m"].newest


def test_an_operation_is_settled_as_soon_as_it_has_ended() -> None:
    asked = operation(OperationKind.LOAD)
    seen = snapshot(M, serving=holding(M, 1), recorded={"m": 1}, operations=[asked])

    ended = replace(asked, finished_at_s=NOW_S)
    assert planned(seen) == Plan(notes=(Settle(operation=ended),), wake_at_s=NOW_S)


def test_models_do_not_wait_for_each_other() -> None:
    a, b = model("a", versions=[1, 2], tier="hot"), model("b", versions=[1, 2], tier="hot")
    seen = snapshot(
        a,
        b,
        serving=server(holding(a, 1), holding(b, 1)),
        recorded={"a": 1, "b": 1},
        releases=[release(S.PROMOTING, of="a"), release(S.CANARY_LOADING, of="b")],
    )

    assert [(work.server, work.model) for work in planned(seen).work] == [  # type: ignore[union-attr]
        (SERVING, "a"),
        (CANARY, "b"),
    ]
