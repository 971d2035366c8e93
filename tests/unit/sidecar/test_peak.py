"""Whether a release fits at its peak. A version of `m` takes 4 MiB, like one of `other`."""

from dataclasses import replace

import pytest

from sidecar.core.fleet import Snapshot
from sidecar.core.memory import CPU
from sidecar.core.peak import shortfall
from sidecar.core.policy import Policy
from sidecar.core.release import Release, ReleaseState
from sidecar.core.strategy import Copies, Strategy
from tests.builders import MIB, NOW_S, POLICY, holding, kept, model, release, server, snapshot

M = model("m", versions=[1, 2], tier="hot", disk_bytes=4 * MIB)
LARGER = replace(
    M, versions={1: M.versions[1], 2: model("m", versions=[2], disk_bytes=9 * MIB).versions[2]}
)
OTHER = model("other", disk_bytes=4 * MIB)
BOTH, ONE = Strategy(), Strategy(copies=Copies.ONE_AT_A_TIME)


def within(mib: int) -> Policy:
    return replace(POLICY, budgets={CPU: mib * MIB}, headroom=0.0, canary_apart=True)


def seen(found: Release, *, stored: object = M) -> Snapshot:
    return snapshot(
        stored,  # type: ignore[arg-type]
        OTHER,
        serving=server(holding(M, 1), holding(OTHER, 1)),
        recorded={"m": 1, "other": 1},
        kept=kept("other"),
        releases=[found],
    )


def short(strategy: Strategy, mib: int, *, stored: object = M) -> str | None:
    found = release(ReleaseState.ADMITTED, strategy=strategy)
    return shortfall(found, seen(found, stored=stored), within(mib), NOW_S)


@pytest.mark.parametrize("mib", [12, 11, 8])
def test_what_is_free_or_can_be_evicted_is_room(mib: int) -> None:
    assert short(BOTH, mib) is None


def test_what_does_not_fit_says_so_with_numbers_and_a_way_and_its_price() -> None:
    said = short(BOTH, 7)

    assert said is not None
    assert "4.0 MiB" in said
    assert "copies: one_at_a_time needs room for one" in said
    assert "requests wait" in said


def test_one_copy_at_a_time_is_no_way_out_where_canary_shares_the_memory() -> None:
    found = release(ReleaseState.ADMITTED, strategy=BOTH)
    policy = replace(within(7), canary_apart=False)

    said = shortfall(found, seen(found), policy, NOW_S)

    assert said is not None
    assert "with a canary on another machine or GPU (policy.canary_apart)" in said
    assert "requests wait" not in said


def test_one_copy_at_a_time_fits_where_two_do_not() -> None:
    assert short(ONE, 7) is None


def test_one_larger_copy_may_still_not_fit() -> None:
    said = short(ONE, 8, stored=LARGER)

    assert said is not None
    assert "one_at_a_time" not in said


def test_a_model_that_is_not_loaded_takes_no_room() -> None:
    found = release(ReleaseState.ADMITTED)
    nobody = snapshot(model("m", versions=[1, 2], disk_bytes=4 * MIB), releases=[found])

    assert shortfall(found, nobody, within(1), NOW_S) is None
