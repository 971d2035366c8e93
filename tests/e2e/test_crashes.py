"""SIGKILL at real processes, at every step of a release."""

from collections.abc import Callable
from pathlib import Path

import pytest

from embedded.process import wait_until
from pilotlight.demo.shelf import GOOD, Shelf
from tests.e2e.conftest import WITHIN_S, Running, without_sidecar

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]


@pytest.mark.parametrize(
    "state",
    [
        "admitted",
        "canary_loading",
        "verifying",
        "canary_warming",
        "measuring",
        "comparing",
        "promoting",
        "soaking",
        "finishing",
    ],
)
def test_a_release_survives_the_death_of_the_sidecar(running: Running, state: str) -> None:
    running.shelf.publish("short_form", GOOD)
    with running.traffic() as traffic:
        operation = running.release(GOOD, latency_margin=None)
        running.wait_for_state(operation, state)
        running.stack.sidecar.kill()
        assert wait_until(running.admin.is_reachable, WITHIN_S)
        ended = running.admin.wait(operation, WITHIN_S)
        failed = traffic.failed
    assert failed == []
    assert ended["error"] is None
    release = running.admin.release(str(operation["release"]))
    states = [step["state"] for step in release["steps"]]
    assert states[-1] == "done"
    assert len(set(states)) == len(states), "no step was taken twice"
    assert running.answering_version() == GOOD


@pytest.mark.parametrize("state", ["canary_loading", "canary_warming", "comparing"])
def test_a_release_survives_the_death_of_the_canary(running: Running, state: str) -> None:
    running.shelf.publish("short_form", GOOD)
    with running.traffic() as traffic:
        operation = running.release(GOOD, latency_margin=None)
        running.wait_for_state(operation, state)
        running.stack.canary.kill()
        ended = running.admin.wait(operation, WITHIN_S)
        failed = traffic.failed
    assert failed == []
    assert ended["error"] is None
    assert running.answering_version() == GOOD


@pytest.mark.parametrize("state", ["promoting", "soaking"])
def test_a_release_survives_the_death_of_the_serving_server(running: Running, state: str) -> None:
    running.shelf.publish("short_form", GOOD)
    operation = running.release(GOOD, latency_margin=None)
    running.wait_for_state(operation, state)
    running.stack.serving.kill()
    ended = running.admin.wait(operation, WITHIN_S)
    assert ended["error"] is None
    # The release may have ended before anybody noticed that.
    assert running.first_answer() == GOOD
    running.wait_until_ready()


def test_a_killed_triton_comes_back_to_the_recorded_state(running: Running) -> None:
    running.admin.wait(running.admin.ask("/v1/models/session:load"), WITHIN_S)
    before = _ready_versions(running)
    assert before == {"session": [1], "short_form": [1]}
    running.stack.serving.kill()
    running.recovers()
    assert wait_until(lambda: _ready_versions(running) == before, WITHIN_S)
    running.wait_until_ready()
    assert running.first_answer() == 1


def test_a_lost_state_file_does_not_touch_what_serves(
    shelf: Shelf, start_stack: Callable[..., Running], tmp_path: Path
) -> None:
    shelf.publish("short_form", GOOD)
    running = start_stack()
    running.wait_until_ready()
    with running.traffic() as traffic:
        with without_sidecar(running.stack):
            for path in (tmp_path / "home").glob("state.sqlite*"):
                if path.suffix != ".lock":
                    path.unlink()
        assert wait_until(running.admin.is_reachable, WITHIN_S)
        running.wait_until_ready()
        running.meets(traffic, GOOD)
        failed, answered = traffic.failed, traffic.by_version
    assert failed == []
    assert set(answered) == {GOOD}
    model = running.admin.model("short_form")
    assert (model["serving_version"], model["ready_versions"]) == (GOOD, [GOOD])


def test_a_store_that_vanishes_takes_nothing_down(running: Running) -> None:
    hidden = running.shelf.store.root.with_name("unmounted")
    with running.traffic() as traffic:
        running.shelf.store.root.rename(hidden)
        assert wait_until(lambda: running.admin.models() == [], WITHIN_S), "the sidecar has looked"
        assert running.answering_version() == 1
        hidden.rename(running.shelf.store.root)
        assert wait_until(lambda: len(running.admin.models()) == 2, WITHIN_S)
        failed = traffic.failed
    assert failed == []
    running.wait_until_ready()


def _ready_versions(running: Running) -> dict[str, list[int]]:
    models = running.admin.models()
    return {model["name"]: model["ready_versions"] for model in models if model["ready_versions"]}
