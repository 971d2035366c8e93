"""What ensemble `x`, made of `a` and `b`, means for them: in plans and in what is told of them."""

from dataclasses import replace
from math import inf

from sidecar.core.actions import Ensure, Keep, LetGo, Remove, SaveRelease, Settle
from sidecar.core.activation import verdict
from sidecar.core.drift import drifts
from sidecar.core.explain import explain
from sidecar.core.fleet import (
    CheckKind,
    Departure,
    OperationKind,
    Outcome,
    Server,
    Snapshot,
    StoredModel,
)
from sidecar.core.memory import CPU
from sidecar.core.overflow import hot_overflow
from sidecar.core.planner import plan
from sidecar.core.policy import Policy
from sidecar.core.release import Release, ReleaseState
from sidecar.core.residency import idle_at_s
from sidecar.core.status import model_status, waits_for
from sidecar.core.strategy import Strategy
from sidecar.core.worth import Worth, stays_because
from tests.builders import (
    CANARY,
    MIB,
    NOW_S,
    POLICY,
    SERVING,
    asked_at,
    failure,
    holding,
    kept,
    model,
    operation,
    placed,
    release,
    server,
    snapshot,
)
from tests.simulation import chained

A, B = model("a"), model("b")
SERVED = {"a": 1, "b": 1, "x": 1}


def chain(name: str = "x", *parts: str, tier: str = "cold", **intent: object) -> StoredModel:
    """An ensemble of `a` and `b`, unless other parts are given, with two versions alike."""
    built_with = dict.fromkeys(parts or ("a", "b"), 1)
    return chained(name, {1: built_with, 2: built_with}, tier=tier, **intent)


X = chain()


def within(mib: int) -> Policy:
    return replace(POLICY, budgets={CPU: mib * MIB}, headroom=0.0)


def all_held(*others: StoredModel, **more: object) -> Snapshot:
    """`x` is kept, and serves with its models."""
    views = [holding(stored, 1) for stored in (A, B, X, *others)]
    recorded = SERVED | {stored.name: 1 for stored in others}
    fields = {"kept": kept("x", *(stored.name for stored in others)), "recorded": recorded, **more}
    return snapshot(A, B, X, *others, serving=server(*views), **fields)  # type: ignore[arg-type]


def loads(seen: Snapshot, policy: Policy = POLICY) -> list[tuple[str, str]]:
    """Server and model of each, in their order."""
    found = plan(seen, policy, NOW_S).work
    return [(each.server, each.model) for each in found if isinstance(each, Ensure)]


def removed(seen: Snapshot) -> list[str]:
    return [each.model for each in plan(seen, POLICY, NOW_S).work if isinstance(each, Remove)]


def released(seen: Snapshot, policy: Policy = POLICY) -> list[Release]:
    """Releases that move on, as they are then."""
    notes = plan(seen, policy, NOW_S).notes
    return [each.release for each in notes if isinstance(each, SaveRelease)]


def moved(seen: Snapshot) -> list[str]:
    """Whose releases move on."""
    return [each.model for each in released(seen)]


def let_go(seen: Snapshot, policy: Policy) -> list[str]:
    return [each.model for each in plan(seen, policy, NOW_S).notes if isinstance(each, LetGo)]


def test_models_are_loaded_before_their_ensemble_and_as_urgently() -> None:
    hot, other = chain(tier="hot"), model("c", disk_bytes=9 * MIB)
    seen = snapshot(A, B, hot, other, recorded=SERVED | {"c": 1}, kept=kept("c"))
    assert loads(seen) == [(SERVING, "a"), (SERVING, "b"), (SERVING, "c")]

    there = server(holding(A, 1), holding(B, 1))
    assert loads(replace(seen, servers={**seen.servers, SERVING: there}))[0] == (SERVING, "x")


def test_a_model_whose_ensemble_is_just_being_loaded_is_left_alone() -> None:
    stored = model("a", versions=(1, 2))
    promoted = release(ReleaseState.PROMOTING, of="a")
    there = server(holding(stored, 1), holding(B, 1))
    seen = snapshot(
        stored, B, X, serving=there, recorded=SERVED, kept=kept("x"), releases=[promoted]
    )
    assert loads(seen) == [(SERVING, "a")]
    assert loads(replace(seen, busy=frozenset({(SERVING, "x")}))) == []


def test_an_ensemble_is_removed_before_its_models() -> None:
    seen = all_held(kept={}, departures={"x": Departure(at_s=NOW_S, reason="idle")})
    assert removed(seen) == ["x"]
    assert removed(replace(seen, busy=frozenset({(SERVING, "x")}))) == []

    without = server(holding(A, 1), holding(B, 1))
    left = replace(seen, servers={**seen.servers, SERVING: without})
    assert removed(left) == ["a", "b"]
    assert removed(replace(left, busy=frozenset({(SERVING, "x")}))) == []


def test_its_models_are_no_victims_where_the_ensemble_is_none() -> None:
    assert stays_because(all_held(), "a") is None
    assert stays_because(all_held(asked={"x": True}), "a") == (
        "needed by ensemble x: asked for by a person"
    )
    waited_for = all_held(waiting={"x": NOW_S})
    assert stays_because(waited_for, "a") == "needed by ensemble x: a request waits for it"


def test_an_evicted_model_takes_its_ensemble_along_and_the_rest_of_that_leaves_too() -> None:
    """Two come who need as much as both its models hold, and one eviction is enough."""
    seen = all_held(waiting={"c": NOW_S, "d": NOW_S})
    models = {**seen.models, "c": model("c"), "d": model("d")}
    seen = replace(seen, models=models, serving={**SERVED, "c": 1, "d": 1})

    assert let_go(seen, within(2)) == ["a", "x"]


def test_an_ensemble_is_admitted_with_all_that_it_brings() -> None:
    seen = snapshot(A, B, X, recorded=SERVED, waiting={"x": NOW_S})
    (keep,) = plan(seen, within(2), NOW_S).notes
    assert isinstance(keep, Keep)
    assert keep.model == "x"

    refused = plan(seen, within(1), NOW_S)
    assert refused.notes == ()
    assert refused.blocked["x"].needed_bytes == 2 * MIB


def test_what_an_ensemble_brings_are_the_models_that_nobody_else_wants() -> None:
    def brought(seen: Snapshot) -> dict[str, int]:
        return Worth(seen, POLICY, NOW_S).brought("x")

    assert brought(all_held()) == {CPU: 2 * MIB}
    assert brought(all_held(kept=kept("x", "a"))) == {CPU: MIB}
    assert brought(all_held(chain("y", "b"))) == {CPU: MIB}


def test_an_ensemble_is_idle_as_late_as_what_it_brings_is_cheap() -> None:
    """Alone with its models it costs 2 MiB, and a cold start takes as long as the slowest load."""
    seen = all_held()
    worth = Worth(seen, POLICY, NOW_S)
    assert worth.reload("x").load_s == worth.reload("a").load_s == 0.1
    assert worth.idle_timeout_s("x") == worth.idle_timeout_s("a") / 2


def test_a_model_that_is_needed_is_never_idle() -> None:
    def idle_from_s(*names: str) -> float:
        seen = all_held(kept=kept(*names))
        return idle_at_s(seen, Worth(seen, POLICY, NOW_S), "a")

    assert idle_from_s("a") < inf
    assert idle_from_s("a", "x") == inf


def test_models_of_hot_ensembles_count_among_what_is_hot_once() -> None:
    seen = snapshot(A, B, chain(tier="hot"), chain("y", "b", tier="hot"))
    assert hot_overflow(seen, within(2)) == ()
    (found,) = hot_overflow(seen, within(1))
    assert found.by_model == {"a": MIB, "b": MIB, "x": 0, "y": 0}


def test_an_ensemble_is_told_of_its_models_and_they_of_it() -> None:
    told = explain(all_held(), POLICY, NOW_S, "a")
    assert told.stays_because == "needed by ensemble x"
    assert told.status.reason == "needed by ensemble x"

    missing = snapshot(A, X, serving=holding(A, 1), recorded=SERVED, kept=kept("x"))
    assert model_status(missing, "x").reason == (
        "waits for b, a model of its steps: it is not in the store; build it, or mend the ensemble"
    )


def test_its_models_are_on_canary_beside_it_in_the_versions_that_serve() -> None:
    stored = model("a", versions=(1, 2))
    released = release(ReleaseState.CANARY_LOADING, of="x")
    seen = snapshot(stored, B, X, recorded=SERVED, releases=[released])
    work = plan(seen, POLICY, NOW_S).work
    assert [(each.server, each.model) for each in work if isinstance(each, Ensure)] == [
        (CANARY, "a"),
        (CANARY, "b"),
    ]
    assert [each.placement.versions for each in work if isinstance(each, Ensure)] == [(1,), (1,)]

    beside = server(holding(stored, 1), holding(B, 1))
    assert loads(replace(seen, servers={**seen.servers, CANARY: beside})) == [(CANARY, "x")]


def test_a_release_of_an_ensemble_waits_for_those_of_its_models() -> None:
    of_x, of_a = release(ReleaseState.ADMITTED, of="x"), release(ReleaseState.MEASURING, of="a")
    stored = model("a", versions=(1, 2))
    seen = snapshot(stored, B, X, recorded=SERVED, releases=[of_x, of_a])
    assert waits_for(of_x, seen, {}) == (
        "a, a model of its steps: release of version 2: measuring: came to measuring"
    )
    assert loads(seen) == [(CANARY, "a")]


def test_a_release_of_a_model_waits_for_that_of_its_ensemble() -> None:
    of_x, of_a = release(ReleaseState.SOAKING, of="x"), release(ReleaseState.ADMITTED, of="a")
    stored = model("a", versions=(1, 2))
    files = {(of_a.id, CheckKind.FILES): Outcome(passed=True, note="fine")}
    seen = snapshot(stored, B, X, recorded=SERVED, releases=[of_x, of_a], outcomes=files)
    assert waits_for(of_a, seen, {}) == "the release of ensemble x, which is made of it"
    assert moved(seen) == ["x"]

    assert moved(replace(seen, releases={"a": of_a})) == ["a"]


def test_a_release_ends_when_one_of_its_models_is_rolled_back() -> None:
    """Its golden samples were made with the version that has left."""
    stored = model("a", versions=(1, 2))
    seen = snapshot(
        stored,
        B,
        X,
        recorded={**SERVED, "a": 2},
        releases=[release(ReleaseState.MEASURING, of="x")],
    )
    (after,) = released(seen)
    assert after.state is ReleaseState.REFUSED
    assert not after.rejected
    assert after.reason.startswith("its golden samples were made with version 1 of a")


def test_a_release_ends_where_a_model_finds_no_room_on_canary() -> None:
    """`a` serves, and both it and `b` are to be on canary beside the new version."""
    seen = all_held(releases=[release(ReleaseState.CANARY_LOADING, of="x")])
    (after,) = released(seen, within(2))
    assert after.state is ReleaseState.REFUSED
    assert not after.rejected
    assert after.reason.startswith("on canary: a needs 1.0 MiB on cpu")


def test_what_finds_no_room_on_canary_stays_on_serving() -> None:
    seen = all_held(chain("y", "a"), releases=[release(ReleaseState.CANARY_LOADING, of="y")])
    seen = replace(seen, kept=kept("a", "x"))
    (note,) = plan(seen, within(2), NOW_S).notes
    assert isinstance(note, SaveRelease)
    assert note.release.state is ReleaseState.REFUSED


def test_a_release_gives_way_to_a_request_that_waits_for_it_to_end() -> None:
    """It waits for `a` to leave, which is there for `x`, and `b` has no room beside the two."""
    stored = model("c", versions=(1, 2), tier="hot")
    seen = snapshot(
        A,
        B,
        X,
        stored,
        serving=server(holding(A, 1), holding(stored, 1)),
        recorded={**SERVED, "c": 1},
        kept=kept("x"),
        waiting={"x": NOW_S},
        releases=[release(ReleaseState.CANARY_LOADING, of="c")],
    )
    (after,) = released(seen, within(2))
    assert after.state is ReleaseState.REFUSED
    assert "; requests for x hold it and cannot go on either: " in after.reason


def test_a_release_ends_when_a_model_fails_again_and_again() -> None:
    def after(seen: Snapshot, server: Server, attempts: int = 3) -> list[Release]:
        failed = failure(placed(A, 1), "Internal: no such op", attempts=attempts)
        return released(replace(seen, failures={(server, "a"): failed}))

    def at(state: ReleaseState, **more: object) -> Snapshot:
        released = release(state, of="x", strategy=Strategy(shift=(5,)))
        return all_held(releases=[released], busy=[(SERVING, "a")], **more)

    (refused,) = after(at(ReleaseState.CANARY_LOADING), CANARY)
    assert refused.state is ReleaseState.REFUSED
    assert refused.reason == "on canary: a, a model of its steps: Internal: no such op"
    assert not refused.rejected
    (back,) = after(at(ReleaseState.PROMOTING), SERVING)
    assert back.state is ReleaseState.ROLLING_BACK
    assert back.reason == "on serving: a, a model of its steps: Internal: no such op"

    assert after(at(ReleaseState.CANARY_LOADING), CANARY, attempts=2) == []
    assert after(at(ReleaseState.PINNING), SERVING) == []


def test_nothing_leaves_canary_while_the_store_is_unmounted() -> None:
    """Nobody knows then what is made of what."""
    there = server(holding(A, 1), holding(B, 1), holding(X, 1))
    assert plan(snapshot(canary=there), POLICY, NOW_S).work == ()
    assert removed(snapshot(A, B, X, canary=there)) == ["x"]


def test_an_ensemble_does_not_evict_its_own_model() -> None:
    seen = snapshot(
        A, B, X, serving=holding(A, 1), recorded=SERVED, kept=kept("a"), waiting={"x": NOW_S}
    )
    planned = plan(seen, within(1), NOW_S)
    assert planned.notes == ()
    assert planned.blocked["x"].is_final
    assert planned.blocked["x"].blocked_by == (
        "a (needed by ensemble x: a request waits for it, 1.0 MiB)",
    )


def test_a_model_evicts_others_before_those_of_its_ensemble() -> None:
    """`a` has to come again, and nobody ever asked for `b` itself."""
    there = server(holding(B, 1), holding(model("c"), 1))
    seen = all_held(model("c"), demand={"c": asked_at(NOW_S)})
    assert let_go(replace(seen, servers={**seen.servers, SERVING: there}), within(2)) == ["c"]


def test_what_a_waited_for_ensemble_needs_is_not_evicted_in_the_same_plan() -> None:
    seen = snapshot(
        A,
        chain("x", "a"),
        model("c"),
        serving=holding(A, 1),
        recorded={"a": 1, "x": 1, "c": 1},
        kept=kept("a"),
        waiting={"c": NOW_S - 1, "x": NOW_S},
    )
    assert let_go(seen, within(1)) == []
    (keep,) = plan(seen, within(1), NOW_S).notes
    assert isinstance(keep, Keep)
    assert keep.model == "x"


def test_a_request_does_not_make_what_is_on_canary_leave() -> None:
    """A release that waits for it would wait for ever."""
    seen = snapshot(
        A,
        B,
        X,
        canary=holding(A, 1),
        recorded=SERVED,
        kept=kept("a"),
        waiting={"a": NOW_S},
        releases=[release(ReleaseState.CANARY_LOADING, of="x")],
    )
    (after,) = released(seen, within(1))
    assert after.state is ReleaseState.REFUSED
    assert after.reason.startswith("on canary: b needs 1.0 MiB on cpu")


def test_an_ensemble_that_is_loaded_ahead_does_not_evict_its_own_model() -> None:
    seen = snapshot(
        A,
        B,
        chain(tier="warm"),
        serving=holding(A, 1),
        recorded=SERVED,
        kept=kept("a"),
        demand={"x": asked_at(*(NOW_S - 60 + second for second in range(60)))},
        prewarmed_at_s=0.0,
    )
    assert let_go(seen, within(1)) == []


def test_who_waits_for_an_ensemble_is_told_that_its_models_do_not_fit_together() -> None:
    """`a` is there for `x` alone, so waiting for it to leave would never end."""
    seen = snapshot(
        A, B, X, serving=holding(A, 1), recorded=SERVED, kept=kept("x"), waiting={"x": NOW_S}
    )
    planned = plan(seen, within(1), NOW_S)
    assert planned.blocked["b"].is_final
    assert verdict(seen, planned.blocked, "x", NOW_S) == planned.blocked["b"]

    busy = replace(seen, waiting={"x": NOW_S, "a": NOW_S})
    assert not plan(busy, within(1), NOW_S).blocked["b"].is_final


def test_an_ensemble_is_not_in_the_way_of_its_models() -> None:
    """It holds nothing, and is being released for as long as they do not come."""
    stored = chained("x", {1: {"a": 1, "b": 1}, 2: {"a": 1}})
    seen = snapshot(
        A,
        B,
        stored,
        canary=server(holding(A, 1), holding(stored, 2)),
        recorded=SERVED,
        releases=[release(ReleaseState.COMPARING, of="x")],
    )
    (after,) = released(seen, within(1))
    assert after.state is ReleaseState.AWAITING
    assert "in the way: a (priority 0, 1.0 MiB); raise the budget" in after.reason


def test_an_operation_to_unload_a_model_ends_with_what_needs_it() -> None:
    seen = all_held(operations=[operation(OperationKind.UNLOAD, of="a")])
    (settled,) = plan(seen, POLICY, NOW_S).notes
    assert isinstance(settled, Settle)
    assert settled.operation.error == "it stays, needed by ensemble x: unload that first"


def test_an_ensemble_that_goes_with_its_model_was_unloaded_by_nobody_else() -> None:
    before = all_held()
    after = replace(before, servers={**before.servers, SERVING: holding(B, 1)})
    assert drifts(before, after).keys() == {"a"}
