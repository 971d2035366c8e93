"""What people are told: warmth, readiness and the reason for each."""

from dataclasses import replace
from typing import Any

import pytest

from contract.intent import Tier
from sidecar.core.actions import Blocked
from sidecar.core.fleet import Mode, Rejection, ServerView
from sidecar.core.release import Release, ReleaseState
from sidecar.core.status import ModelStatus, Warmth, model_status, unready, waits_for
from sidecar.core.strategy import Strategy
from tests.builders import (
    CANARY,
    MIB,
    SERVING,
    VersionState,
    failure,
    holding,
    kept,
    model,
    placed,
    release,
    server,
    snapshot,
    unverified,
)

S = ReleaseState
M = model("m", versions=[2, 1], tier="hot")
COLD = model("cold")
WAITED_FOR = {"cold": replace(kept("cold")["cold"], waited_for=True)}
SHIFTED = release(S.PINNING, strategy=Strategy(shift=(5,)))


def test_a_model_tells_what_is_wanted_and_what_is_the_case() -> None:
    soaking = release(S.SOAKING)
    seen = snapshot(M, serving=holding(M, 1, 2), recorded={"m": 1}, releases=[soaking])

    assert model_status(seen, "m") == ModelStatus(
        name="m",
        tier=Tier.HOT,
        warmth=Warmth.WARMED,
        serving=1,
        ready=(1, 2),
        versions=(1, 2),
        rejected={},
        pending=None,
        release_id="m.2",
        reason="release of version 2: soaking: came to soaking",
    )


@pytest.mark.parametrize(
    ("before", "pending"),
    [
        ([], 2),
        ([release(S.SOAKING)], None),
        ([release(S.REFUSED)], 2),
        ([release(S.ROLLED_BACK)], None),
    ],
)
def test_a_newer_version_is_pending_while_no_release_goes_on_or_went_back(
    before: list[Release], pending: int | None
) -> None:
    seen = snapshot(M, recorded={"m": 1}, releases=before)

    assert model_status(seen, "m").pending == pending


def test_a_version_that_serves_or_was_rejected_is_not_pending() -> None:
    rejected = {("m", 2): Rejection(at_s=1.0, release="m.2", reason="slower")}

    assert model_status(snapshot(M, recorded={"m": 2}), "m").pending is None
    assert model_status(snapshot(M, recorded={"m": 1}, rejected=rejected), "m").pending is None
    assert model_status(snapshot(M), "m").pending is None, "its first version goes by itself"


@pytest.mark.parametrize(
    ("view", "warmth"),
    [
        (server(), Warmth.DISK),
        (replace(holding(M, 1), index={"m": {1: VersionState.LOADING}}), Warmth.DISK),
        (unverified(holding(M, 1)), Warmth.LOADED),
        (holding(M, 1), Warmth.WARMED),
        (replace(holding(M, 1), problem="no answer"), Warmth.DISK),
    ],
    ids=["empty", "loading", "loaded", "proven", "lost"],
)
def test_warmth_says_how_far_a_model_is_from_full_speed(view: ServerView, warmth: Warmth) -> None:
    assert model_status(snapshot(M, serving=view, recorded={"m": 1}), "m").warmth is warmth


def test_ready_means_that_every_hot_model_answers() -> None:
    hot = model("hot", tier="hot")
    seen = snapshot(M, hot, COLD, serving=holding(M, 1), recorded={"m": 1, "hot": 1})

    assert unready(seen) == ["hot: loading"]
    both = server(holding(M, 1), holding(hot, 1))
    assert unready(replace(seen, servers={**seen.servers, SERVING: both})) == []


def test_what_cold_models_do_is_no_matter() -> None:
    failed = {(SERVING, "cold"): failure(placed(COLD, 1))}
    seen = snapshot(
        M, COLD, serving=holding(M, 1), recorded={"m": 1, "cold": 1}, asked={"cold": True}
    )

    assert unready(replace(seen, failures=failed)) == []


@pytest.mark.parametrize("state", S)
@pytest.mark.parametrize(
    "view",
    [
        holding(M, 1),
        replace(holding(M, 1), index={"m": {1: VersionState.READY, 2: VersionState.LOADING}}),
        replace(holding(M, 1, 2), verified=holding(M, 1).verified),
        holding(M, 1, 2),
        replace(holding(M, 1, 2), index={"m": {1: VersionState.UNLOADING, 2: VersionState.READY}}),
        holding(M, 2),
    ],
    ids=["old", "new loading", "new unproven", "both", "old leaving", "new"],
)
def test_readiness_does_not_flap_during_a_release(state: ReleaseState, view: ServerView) -> None:
    """Whatever the release does, a proven version answers."""
    busy = [(SERVING, "m"), (CANARY, "m")]
    seen = snapshot(M, serving=view, recorded={"m": 1}, releases=[release(state)], busy=busy)

    assert unready(seen) == []


def test_a_lost_canary_is_no_matter_for_traffic() -> None:
    seen = snapshot(M, serving=holding(M, 1), canary=server(problem="no answer"), recorded={"m": 1})

    assert unready(seen) == []


def test_a_lost_serving_server_is_the_only_thing_said() -> None:
    seen = snapshot(M, serving=server(problem="no answer"), recorded={"m": 1})

    assert unready(seen) == ["serving server: no answer"]
    assert model_status(seen, "m").reason == "serving server: no answer"


def test_an_empty_store_is_never_ready() -> None:
    """Otherwise a store that is not mounted would look fine."""
    assert unready(snapshot(store_problems=["model repository /s is missing"])) == [
        "model repository /s is missing"
    ]


def test_a_damaged_part_of_the_store_is_no_matter_while_hot_models_answer() -> None:
    seen = snapshot(M, serving=holding(M, 1), recorded={"m": 1}, store_problems=["x is damaged"])

    assert unready(seen) == []


def reason(**parts: object) -> str:
    return model_status(snapshot(M, COLD, **parts), "m").reason  # type: ignore[arg-type]


def test_the_reason_is_the_one_that_an_operator_can_act_on() -> None:
    recorded = {"m": 1}
    failed = {(SERVING, "m"): failure(placed(M, 1), "Internal: no")}

    assert reason(recorded=recorded, serving=holding(M, 1)) == "hot"
    assert reason(recorded=recorded) == "loading"
    assert reason(recorded=recorded, failures=failed) == "Internal: no"
    assert reason(recorded={"m": 7}) == "version 7 is not in the store"
    assert reason(releases=[release(S.REFUSED, base=None)]) == (
        "version 2 was refused: came to refused"
    )
    assert model_status(snapshot(COLD), "cold").reason == "not asked for yet"


def test_a_rejected_version_is_told_with_the_model() -> None:
    rejection = Rejection(at_s=1.0, release="m.2", reason="slower")
    rejected = {("m", 2): rejection, ("n", 1): rejection}

    assert model_status(snapshot(M, rejected=rejected), "m").rejected == {2: "slower"}


FULL = Blocked(
    model="m",
    device="gpu:0",
    needed_bytes=2 * MIB,
    free_bytes=MIB,
    evictable_bytes=0,
    blocked_by=(),
    is_final=False,
)
AWAY = server(problem="no answer")


@pytest.mark.parametrize(
    ("found", "seen", "waits"),
    [
        (release(S.AWAITING), {}, "a person to promote or abort it"),
        (release(S.SOAKING, paused_by="bob"), {}, "a person to resume it: bob has paused it"),
        (release(S.COMPARING), {"mode": Mode.PAUSED}, "the sidecar, which is paused"),
        (release(S.COMPARING), {"canary": AWAY}, "canary: no answer"),
        (release(S.COMPARING), {"serving": AWAY}, None),
        (release(S.ADMITTED), {"canary": AWAY, "serving": AWAY}, None),
        (release(S.SOAKING), {"canary": AWAY}, None),
        (release(S.ROLLING_BACK), {"serving": AWAY}, "serving: no answer"),
        (release(S.DONE), {"serving": AWAY, "mode": Mode.PAUSED}, None),
        (SHIFTED, {}, "the gateway to send every request to version 1"),
        (SHIFTED, {"routed": {"m": {1: 100}}}, None),
    ],
)
def test_a_release_says_what_it_cannot_go_on_without(
    found: Release, seen: dict[str, Any], waits: str | None
) -> None:
    assert waits_for(found, snapshot(M, releases=[found], **seen), {}) == waits


@pytest.mark.parametrize(
    ("state", "end"),
    [
        (S.PROMOTING, "`abort`"),
        (S.SOAKING, "`promote`, which goes on without it,"),
        (S.ROLLING_BACK, "`abort`, which keeps version 2,"),
    ],
)
def test_a_release_says_that_it_misses_the_version_to_go_back_to(
    state: ReleaseState, end: str
) -> None:
    found = release(state)
    left = snapshot(
        model("m", versions=[2], tier="hot"), serving=holding(M, 1, 2), releases=[found]
    )

    waits = f"version 1, which is no longer in the store; {end} ends that"
    assert waits_for(found, left, {}) == waits


def test_a_release_that_does_not_fit_waits_for_memory() -> None:
    found = release(S.PROMOTING)
    told = waits_for(found, snapshot(M, releases=[found]), {"m": FULL})

    assert told is not None
    assert told.startswith("memory: m needs 2.0 MiB on gpu:0, where 1.0 MiB are free")
    assert waits_for(found, snapshot(M, releases=[found]), {"n": FULL}) is None


def test_what_has_no_room_says_so_and_not_that_it_is_loading() -> None:
    seen = snapshot(M, recorded={"m": 1})
    told = "waits for memory: m needs 2.0 MiB on gpu:0, where 1.0 MiB are free"

    assert model_status(seen, "m", {"m": FULL}).reason.startswith(told)
    assert unready(seen, {"m": FULL})[0].startswith(f"m: {told}")
    assert model_status(seen, "m", {"n": FULL}).reason == "loading"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"kept": kept("cold")}, "since 00:16Z: it was needed"),
        (
            {"asked": {"cold": True}, "kept": kept("cold")},
            "asked for by a person at 00:16Z",
        ),
        ({"kept": WAITED_FOR}, "for a request at 00:16Z"),
        (
            {"kept": {"cold": replace(WAITED_FOR["cold"], on_cpu=True)}},
            "for a request at 00:16Z, on the CPU: its GPU is full",
        ),
    ],
    ids=["kept", "asked for", "waited for", "on the CPU"],
)
def test_what_is_loaded_says_for_what_and_since_when(
    said: dict[str, object], expected: str
) -> None:
    seen = snapshot(COLD, serving=holding(COLD, 1), recorded={"cold": 1}, **said)  # type: ignore[arg-type]

    assert model_status(seen, "cold").reason == expected
