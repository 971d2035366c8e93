"""Every check that `/readyz?verbose` lists: what makes it fail, and what it says then."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from sidecar.core.fleet import About, Server, ServerView, Snapshot, StageProblem
from sidecar.core.health import Finding, findings, surroundings
from sidecar.core.memory import CPU, GIB, Reading
from tests.builders import MIB, NOW_S, POLICY, holding, model, quarantine, server, snapshot

M = model("m", tier="hot")
ABOUT = About(version="2.51.0", is_ready=True)
READING = Reading(capacity_bytes=8 * GIB, used_bytes=0)
ON_GPU = replace(POLICY, budgets={"gpu:0": GIB})


def seen(**parts: Any) -> Snapshot:
    serving = replace(holding(M, 1), about=ABOUT)
    canary = replace(server(), about=ABOUT)
    return snapshot(M, **{"serving": serving, "canary": canary, "recorded": {"m": 1}, **parts})


def found(looked: Snapshot, policy: Any = POLICY) -> Mapping[str, Finding]:
    return {each.name: each for each in findings(looked, policy, {}, NOW_S)}


def bad(looked: Snapshot, policy: Any = POLICY) -> dict[str, str]:
    return {name: each.detail for name, each in found(looked, policy).items() if not each.ok}


def serving(**parts: Any) -> ServerView:
    return replace(holding(M, 1), **{"about": ABOUT, **parts})


def test_when_all_is_well_each_thing_is_listed_once() -> None:
    all_of_them = list(findings(seen(), POLICY, {}, NOW_S))

    assert {each.name: each.detail for each in all_of_them} == {
        "server serving": "answers",
        "server canary": "answers",
        "store": "readable",
        "memory": "measured",
        "stage serving": "what is put there can be loaded",
        "version serving": "Triton 2.51.0",
        "readiness serving": "Triton says that it is ready",
        "stage canary": "what is put there can be loaded",
        "version canary": "Triton 2.51.0",
        "readiness canary": "Triton says that it is ready",
        "fits": "the hot models leave room for each of the others",
        "model m": "loaded, warmed and probed",
    }
    assert all(each.ok for each in all_of_them)
    assert len(all_of_them) == 12


def test_a_server_that_is_away_is_all_that_is_said_of_it() -> None:
    looked = seen(serving=server(problem="no answer"), meter_problem="no tritonserver there")

    assert bad(looked) == {"server serving": "no answer", "model m": "serving server: no answer"}
    assert "stage serving" not in found(looked)


def test_a_canary_that_only_shadows_has_no_checks_of_its_own() -> None:
    names = found(seen(shadows=True)).keys()

    assert "stage serving" in names
    assert "stage canary" not in names


@pytest.mark.parametrize(
    ("version", "said"),
    [
        ("2.51.0", None),
        ("2.70.1", None),
        ("3.0.0", None),
        ("2.59.0dev", None),
        ("a build of ours", None),
        ("", None),
        ("2.50.0", "Triton 2.50.0: Pilotlight was not tested with it; use release 24.10"),
        ("2.39.0", "Triton 2.39.0: anybody can unload over HTTP, --http-restricted-api came"),
        ("2.40.0", "Triton 2.40.0: Pilotlight was not tested with it; use release 24.10"),
        ("2.32.0", "Triton 2.32.0: anybody can load and unload, --grpc-restricted-protocol"),
        ("1.15.0", "Triton 1.15.0: anybody can load and unload, --grpc-restricted-protocol"),
    ],
)
def test_a_triton_that_is_too_old_is_told_with_what_it_lacks(
    version: str, said: str | None
) -> None:
    told = bad(seen(serving=serving(about=About(version=version, is_ready=True))))

    assert list(told) == ([] if said is None else ["version serving"])
    assert said is None or told["version serving"].startswith(said)


def test_a_triton_in_strict_mode_that_says_it_is_not_ready_is_told() -> None:
    told = bad(seen(serving=serving(about=About(version="2.51.0", is_ready=False))))

    assert list(told) == ["readiness serving"]
    assert "start it with --strict-readiness=false" in told["readiness serving"]


def test_what_the_shell_has_found_is_told_by_its_name() -> None:
    looked = seen(
        serving=serving(
            stage_problem=StageProblem(reason="it does not list the mark", blinds=True)
        ),
        store_problems=["x is damaged", "y is too"],
        meter_problem="no metrics",
        troubles={"state": "the disk is full", "activator": "a port is taken"},
    )

    assert bad(looked) == {
        "stage serving": "it does not list the mark",
        "store": "x is damaged; y is too",
        "memory": "no metrics",
        "state": "the disk is full",
        "activator": "a port is taken",
    }


def test_what_has_an_event_of_its_own_is_no_surrounding() -> None:
    looked = seen(serving=server(problem="no answer"), store_problems=["x is damaged"])

    assert [each.name for each in surroundings(looked, POLICY) if not each.ok] == []


ON_A_GPU = replace(M.versions[1], config='name: "g" instance_group { kind: KIND_GPU count: 1 }')
GPU = replace(M, versions={1: ON_A_GPU})


@pytest.mark.parametrize(
    ("parts", "policy", "said"),
    [
        ({}, POLICY, None),
        ({"readings": {"cpu": READING}}, ON_GPU, "asked for by the budget of gpu:0, but the serv"),
        ({"readings": {"gpu:0": READING}}, ON_GPU, None),
        (
            {"readings": {"gpu:0": READING}},
            replace(POLICY, budgets={"gpu:0": GIB, "gpu:1": GIB}),
            "asked for by the budget of gpu:0 and the budget of gpu:1, but the serving server has "
            "gpu:0; start it with the GPU",
        ),
        # Nothing is known of GPUs: that is no reason to say that there is none.
        ({"readings": {"cpu": READING}, "sees_gpus": False}, ON_GPU, None),
        ({"readings": {}, "meter_problem": "no metrics"}, ON_GPU, None),
    ],
)
def test_a_gpu_that_a_budget_asks_for_and_that_is_not_there_is_told(
    parts: Mapping[str, Any], policy: Any, said: str | None
) -> None:
    told = bad(seen(**{"sees_gpus": True, **parts}), policy).get("gpu")

    assert (told is None) is (said is None)
    assert said is None or (told or "").startswith(said)


def test_a_gpu_that_wanted_models_ask_for_is_told_with_their_names() -> None:
    many = [replace(GPU, name=f"g{number}") for number in range(7)]
    looked = replace(
        seen(readings={"cpu": READING}, sees_gpus=True),
        models={each.name: each for each in (M, *many)},
    )

    assert bad(looked)["gpu"].startswith(
        "asked for by KIND_GPU in the config of g0, g1, g2, g3, g4 and 2 others, but the serving "
        "server has none; start it with the GPU, or build the models with `target: cpu`"
    )


def test_without_the_servers_metrics_it_is_said_what_would_tell_its_gpus() -> None:
    told = found(seen(readings={"cpu": READING}), ON_GPU)["gpu"]

    assert told.ok
    assert told.detail.endswith("give the URL of its metrics in servers.serving.metrics")


@pytest.mark.parametrize("name", list(Server))
def test_the_check_of_each_server_has_its_name(name: Server) -> None:
    looked = seen(**{name: server(problem="no answer")})

    assert f"server {name}" in bad(looked)


def test_hot_models_that_leave_no_room_are_told_with_the_numbers_and_who_has_none() -> None:
    hot = model("m", tier="hot", disk_bytes=7 * MIB)
    others = [model(name, tier="auto", disk_bytes=4 * MIB) for name in "cab"]
    looked = snapshot(hot, *others, model("small", tier="auto", disk_bytes=3 * MIB))

    assert bad(looked, replace(POLICY, budgets={CPU: 10 * MIB}, headroom=0.0))["fits"] == (
        "hot models take 7.0 MiB of 10.0 MiB on cpu: no room for a and 2 more; raise the budget or "
        "make some of them warm"
    )


def test_a_model_in_quarantine_is_told_until_that_is_over() -> None:
    def looked(*, began_s: float) -> Snapshot:
        resting = {"cold": quarantine(reason="no such op", at_s=began_s)}
        return snapshot(model("cold", tier="auto"), quarantine=resting)

    told = bad(looked(began_s=NOW_S - 59))["model cold"]
    assert told.startswith("in quarantine: it could not be loaded: no such op; ")
    assert "model cold" not in found(looked(began_s=NOW_S - 60))
