"""What each server should hold, from records and releases alone."""

from dataclasses import replace

import pytest

from contract.config import parse_config
from sidecar.core.fleet import Snapshot
from sidecar.core.release import ReleaseState
from sidecar.core.stage_config import stage_config
from sidecar.core.wanted import placement, serving_versions
from tests.builders import (
    CANARY,
    SERVING,
    config_text,
    model,
    placed,
    release,
    snapshot,
)

S = ReleaseState
M = model("m", versions=[1, 2, 5], tier="hot")


def during(state: ReleaseState, *, version: int = 2, base: int | None = 1) -> Snapshot:
    recorded = {"m": base} if base else {}
    return snapshot(M, recorded=recorded, releases=[release(state, version=version, base=base)])


@pytest.mark.parametrize(
    ("state", "versions"),
    [
        (S.ADMITTED, (1,)),
        (S.CANARY_LOADING, (1,)),
        (S.VERIFYING, (1,)),
        (S.CANARY_WARMING, (1,)),
        (S.PROMOTING, (1, 2)),
        (S.SOAKING, (1, 2)),
        (S.FINISHING, (2,)),
        (S.RESTORING, (1, 2)),
        (S.ROLLING_BACK, (1,)),
        (S.DONE, (1,)),
        (S.ROLLED_BACK, (1,)),
        (S.REFUSED, (1,)),
    ],
)
def test_the_state_of_a_release_says_what_serves(
    state: ReleaseState, versions: tuple[int, ...]
) -> None:
    """At rest the record says it, and the record is 1 here."""
    assert serving_versions(during(state), "m") == versions


def test_a_model_that_never_served_gets_nothing_before_the_promotion() -> None:
    assert serving_versions(during(S.CANARY_WARMING, base=None), "m") == ()
    assert serving_versions(during(S.PROMOTING, base=None), "m") == (2,)
    assert serving_versions(during(S.ROLLING_BACK, base=None), "m") == ()


def test_a_model_that_nobody_wants_gets_nothing_even_during_a_release() -> None:
    cold = replace(during(S.SOAKING), models={"m": model("m", versions=[1, 2])})

    assert serving_versions(cold, "m") == ()


def test_the_newer_version_leads_also_when_its_number_is_lower() -> None:
    """Its config is the one that was proven on canary."""
    lower = during(S.PROMOTING, version=2, base=5)

    assert placement(lower, SERVING, "m") == placed(M, 2, 5, lead=2)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (S.ADMITTED, None),
        (S.CANARY_LOADING, placed(M, 2, warmup=False)),
        (S.VERIFYING, placed(M, 2, warmup=False)),
        (S.CANARY_WARMING, placed(M, 2)),
        (S.PROMOTING, None),
        (S.REFUSED, None),
    ],
)
def test_canary_holds_the_new_version_while_it_is_proven(
    state: ReleaseState, expected: object
) -> None:
    assert placement(during(state), CANARY, "m") == expected


def test_nothing_is_placed_that_the_store_lacks() -> None:
    assert placement(snapshot(recorded={"m": 1}), SERVING, "m") is None
    assert placement(snapshot(M, recorded={"m": 7}), SERVING, "m") is None


def test_a_stage_config_differs_from_the_stored_one_in_its_policy_only() -> None:
    stored = config_text()

    staged = parse_config(stage_config(stored, versions=(1, 2), warmup=True), "staged")

    expected = parse_config(stored, "stored")
    expected.version_policy.specific.versions.extend([1, 2])
    assert staged == expected


def test_a_stage_config_without_warm_up_differs_in_that_too() -> None:
    staged = parse_config(stage_config(config_text(), versions=(1,), warmup=False), "staged")

    expected = parse_config(config_text(), "stored")
    expected.version_policy.specific.versions.append(1)
    expected.ClearField("model_warmup")
    assert staged == expected
