"""Who holds how much: what is measured counts, then what was learned, then what was declared."""

from dataclasses import replace

import pytest

from sidecar.core.cost import Basis
from sidecar.core.fleet import Snapshot, VersionState
from sidecar.core.learned import Learned
from sidecar.core.ledger import Account, Hold, ledger
from sidecar.core.memory import CPU, Reading
from sidecar.core.policy import Policy
from sidecar.core.release import ReleaseState
from tests.builders import (
    CANARY,
    MIB,
    POLICY,
    SERVING,
    UNAVAILABLE,
    holding,
    kept,
    model,
    release,
    server,
    snapshot,
)

A = model("a", disk_bytes=4 * MIB, tier="auto")
B = model("b", versions=[1, 2], disk_bytes=2 * MIB, tier="auto")
BUDGET = replace(POLICY, budgets={CPU: 10 * MIB}, headroom=0.0)


def account(seen: Snapshot, policy: Policy = BUDGET) -> Account:
    return ledger(seen, policy)[CPU]


def holds(found: Account) -> dict[tuple[str, str], tuple[int, Hold, Basis]]:
    return {
        (each.server.value, each.model): (each.bytes // MIB, each.hold, each.basis)
        for each in found.holders
    }


def test_what_is_loaded_is_held_and_what_nobody_wants_any_more_is_leaving() -> None:
    seen = snapshot(A, B, serving=server(holding(A, 1), holding(B, 1)), recorded={"a": 1, "b": 1})
    found = account(replace(seen, kept=kept("a")))

    assert holds(found) == {
        ("serving", "a"): (4, Hold.HELD, Basis.DECLARED),
        ("serving", "b"): (2, Hold.LEAVING, Basis.DECLARED),
    }
    assert found.free_bytes == 4 * MIB


def test_a_load_in_flight_is_reserved_before_triton_knows_of_it() -> None:
    seen = snapshot(A, recorded={"a": 1}, kept=kept("a"), busy=[(SERVING, "a")])

    assert holds(account(seen)) == {("serving", "a"): (4, Hold.RESERVED, Basis.DECLARED)}


@pytest.mark.parametrize("state", [VersionState.LOADING, VersionState.UNLOADING])
def test_memory_is_taken_until_the_index_says_that_it_is_gone(state: VersionState) -> None:
    view = holding(A, 1)
    seen = snapshot(A, serving=replace(view, index={"a": {1: state}}), recorded={"a": 1})

    assert account(seen).free_bytes == 6 * MIB
    gone = replace(view, index={"a": {1: UNAVAILABLE}})
    assert account(snapshot(A, serving=gone, recorded={"a": 1})).free_bytes == 10 * MIB


def test_both_versions_and_both_servers_count_during_a_release() -> None:
    found = account(
        snapshot(
            B,
            serving=holding(B, 1, 2),
            canary=holding(B, 2),
            recorded={"b": 1},
            kept=kept("b"),
            releases=[release(ReleaseState.SOAKING, of="b")],
        )
    )

    assert holds(found) == {
        ("serving", "b"): (4, Hold.HELD, Basis.DECLARED),
        ("canary", "b"): (2, Hold.LEAVING, Basis.DECLARED),
    }


def test_a_promotion_in_flight_reserves_the_second_version_beside_the_first() -> None:
    found = account(
        snapshot(
            B,
            serving=holding(B, 1),
            recorded={"b": 1},
            kept=kept("b"),
            releases=[release(ReleaseState.PROMOTING, of="b")],
            busy=[(SERVING, "b")],
        )
    )

    assert holds(found)["serving", "b"] == (4, Hold.RESERVED, Basis.DECLARED)


def test_measured_beats_learned_beats_declared() -> None:
    seen = snapshot(A, serving=holding(A, 1), recorded={"a": 1}, kept=kept("a"))
    learned = replace(seen, learned={("a", 1): Learned(held_bytes={CPU: 5 * MIB})})
    reading = Reading(capacity_bytes=100 * MIB, used_bytes=6 * MIB, by_model={"a": 6 * MIB})
    measured = replace(learned, readings={CPU: reading})

    assert holds(account(learned))["serving", "a"] == (5, Hold.HELD, Basis.LEARNED)
    assert holds(account(measured))["serving", "a"] == (6, Hold.HELD, Basis.MEASURED)


def test_a_model_that_vanished_from_the_store_still_holds_what_was_learned_of_it() -> None:
    known = {("a", 1): Learned(held_bytes={CPU: 5 * MIB})}
    seen = snapshot(serving=holding(A, 1), recorded={"a": 1}, learned=known)

    assert holds(account(seen)) == {("serving", "a"): (5, Hold.HELD, Basis.LEARNED)}


def test_others_take_from_the_budget_only_what_the_budget_does_not_leave_them() -> None:
    """20 MiB in all, 10 for models: others may have 10 before it matters."""

    def free(used_mib: int) -> int:
        reading = Reading(capacity_bytes=20 * MIB, used_bytes=used_mib * MIB)
        seen = snapshot(A, serving=holding(A, 1), recorded={"a": 1}, kept=kept("a"))
        return account(replace(seen, readings={CPU: reading})).free_bytes // MIB

    assert free(4) == free(4 + 10) == 6
    assert free(4 + 11) == 5
    assert free(4 + 20) == -4


def test_a_device_without_a_budget_has_its_capacity_less_the_headroom() -> None:
    reading = Reading(capacity_bytes=20 * MIB, used_bytes=0)
    found = account(snapshot(readings={CPU: reading}), replace(POLICY, headroom=0.25))

    assert (found.budget_bytes, found.free_bytes) == (15 * MIB, 15 * MIB)


def test_the_error_is_what_the_server_holds_beyond_what_is_accounted_for() -> None:
    reading = Reading(capacity_bytes=20 * MIB, used_bytes=9 * MIB, server_bytes=7 * MIB)
    seen = snapshot(A, serving=holding(A, 1), recorded={"a": 1}, kept=kept("a"))

    assert account(replace(seen, readings={CPU: reading})).error_bytes == 3 * MIB
    assert account(seen).error_bytes is None


def test_an_unknown_device_is_not_rationed() -> None:
    assert ledger(snapshot(A, canary=holding(A, 1)), POLICY) == {}
    assert CANARY in snapshot(A).servers
