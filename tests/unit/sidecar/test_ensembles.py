"""What ensemble `x`, made of `a` and `b`, means for them: in plans and in what is told of them."""

from dataclasses import replace
from math import inf

from contract.intent import Intent
from contract.manifest import Cost, Excerpt
from sidecar.core.actions import Ensure, Keep, LetGo, Remove, SaveRelease, Settle
from sidecar.core.drift import drifts
from sidecar.core.explain import explain
from sidecar.core.fleet import (
    CheckKind,
    Departure,
    OperationKind,
    Outcome,
    Snapshot,
    StoredModel,
    StoredVersion,
)
from sidecar.core.memory import CPU
from sidecar.core.overflow import hot_overflow
from sidecar.core.planner import plan
from sidecar.core.policy import Policy
from sidecar.core.release import ReleaseState
from sidecar.core.residency import idle_at_s
from sidecar.core.status import model_status, waits_for
from sidecar.core.worth import Worth, stays_because
from tests.builders import (
    CANARY,
    MIB,
    NOW_S,
    POLICY,
    SERVING,
    holding,
    kept,
    model,
    operation,
    release,
    server,
    snapshot,
)
from tests.chains import chain_config

A, B = model("a"), model("b")
SERVED = {"a": 1, "b": 1, "x": 1}
NOTHING = Cost(disk_bytes=0, private_bytes=0, shared_bytes=0, peak_bytes=0, load_s=0.0, shapes=())


def chain(name: str = "x", *parts: str, tier: str = "cold", **intent: object) -> StoredModel:
    """An ensemble of `a` and `b`, unless other parts are given, with two versions alike."""
    composing = dict.fromkeys(parts or ("a", "b"), 1)
    one = StoredVersion(
        manifest=Excerpt(cost=NOTHING, composing=composing),
        config=chain_config(name, tuple(composing)),
    )
    return StoredModel(
        name=name,
        intent=Intent.model_validate({"tier": tier, **intent}),
        versions={1: one, 2: one},
    )


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


def moved(seen: Snapshot) -> list[str]:
    """Whose releases move on."""
    found = plan(seen, POLICY, NOW_S).notes
    return [each.release.model for each in found if isinstance(each, SaveRelease)]


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
    assert removed(replace(seen, servers={**seen.servers, SERVING: without})) == ["a", "b"]


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
    assert told.status.reason == "loaded, warmed and probed: needed by ensemble x"

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


def test_an_operation_to_unload_a_model_ends_with_what_needs_it() -> None:
    seen = all_held(operations=[operation(OperationKind.UNLOAD, of="a")])
    (settled,) = plan(seen, POLICY, NOW_S).notes
    assert isinstance(settled, Settle)
    assert settled.operation.error == "it stays, needed by ensemble x: unload that first"


def test_an_ensemble_that_goes_with_its_model_was_unloaded_by_nobody_else() -> None:
    before = all_held()
    after = replace(before, servers={**before.servers, SERVING: holding(B, 1)})
    assert drifts(before, after).keys() == {"a"}
