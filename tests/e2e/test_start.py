"""Start: hot models proven and warm before ready, cold ones left alone."""

from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
import yaml
from tritonclient import grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from embedded.process import group_members, wait_until
from pilotlight.admin import Admin
from pilotlight.demo.shelf import Shelf
from tests.e2e.conftest import WITHIN_S, Running, sidecar_of

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]


def test_ready_means_that_every_hot_model_answers_and_cold_ones_are_not_loaded(
    start_stack: Callable[..., Running],
) -> None:
    started = start_stack(proven=False)
    started.wait_until_ready()

    happened = [(entry["event"], entry["server"]) for entry in started.admin.audit()]
    assert happened.index(("became_ready", None)) > happened.index(("model_loaded", "serving"))
    models = {model["name"]: model for model in started.admin.models()}
    warmth = {name: (model["tier"], model["warmth"]) for name, model in models.items()}
    assert warmth == {"session": ("cold", "disk"), "short_form": ("hot", "warmed")}
    assert started.answering_version() == 1


def test_a_hot_model_was_proven_on_canary_before_it_met_the_serving_server(
    start_stack: Callable[..., Running],
) -> None:
    running = start_stack(proven=False)
    running.wait_until_ready()
    path = running.admin.model("short_form")["release"]
    running.wait_for_state({"release": path}, "done")
    release = running.admin.release(path)
    states = [step["state"] for step in release["steps"]]
    assert states == [
        "admitted",
        "canary_loading",
        "verifying",
        "canary_warming",
        "promoting",
        "finishing",
        "done",
    ]
    assert "golden samples within tolerance" in release["steps"][3]["note"]


def test_a_cold_model_loads_on_request_and_unloads_on_request(running: Running) -> None:
    loaded = running.admin.wait(running.admin.ask("/v1/models/session:load"), WITHIN_S)
    assert loaded["error"] is None
    assert running.admin.model("session")["warmth"] == "warmed"

    running.admin.wait(running.admin.ask("/v1/models/session:unload"), WITHIN_S)
    assert running.admin.model("session")["ready_versions"] == []
    in_memory = wait_until(
        lambda: running.admin.model("session")["warmth"] == "page_cache", WITHIN_S
    )
    assert in_memory, running.admin.model("session")


def test_nobody_else_can_load_or_unload(running: Running) -> None:
    with (
        triton_grpc.InferenceServerClient(running.stack.serving.grpc_address) as stranger,
        pytest.raises(InferenceServerException, match="restricted"),
    ):
        stranger.unload_model("short_form")
    triton = f"http://127.0.0.1:{running.stack.serving.http_port}"
    path = "/v2/repository/models/short_form/unload"
    answer = httpx2.post(f"{triton}{path}", timeout=WITHIN_S)
    assert answer.status_code == 403
    assert running.answering_version() == 1


def test_metrics_tell_warmth_and_readiness(running: Running) -> None:
    text = httpx2.get(f"{running.stack.url}/metrics", timeout=WITHIN_S).text
    assert "pilotlight_ready 1.0" in text
    assert 'pilotlight_model_state{model="short_form",state="warmed",version="1"} 1.0' in text
    assert 'pilotlight_models{tier="cold",warmth="disk"} 1.0' in text


def test_a_server_that_is_not_in_explicit_mode_is_named_and_left_alone(
    start_triton: Callable[..., object], shelf: Shelf, tmp_path: Path
) -> None:
    stages = {}
    servers = {}
    for name in ("serving", "canary"):
        stages[name] = tmp_path / "stage" / name
        stages[name].mkdir(parents=True)
        mode = "none" if name == "serving" else "explicit"
        triton = start_triton(stages[name], name=name, control_mode=mode)
        servers[name] = {"grpc": triton.grpc_address, "stage": str(stages[name])}  # type: ignore[attr-defined]
    settings = tmp_path / "settings.yaml"
    settings.write_text(
        yaml.safe_dump(
            {
                "store": str(shelf.store.root),
                "state": str(tmp_path / "state.sqlite"),
                "servers": servers,
                "api": {"port": 0},
            }
        )
    )
    with sidecar_of(settings, tmp_path) as url, Admin(url) as admin:

        def told() -> bool:
            return "--model-control-mode=explicit" in " ".join(admin.readiness()["missing"])

        assert wait_until(told, WITHIN_S)
        assert admin.readiness()["ready"] is False
    assert list(stages["serving"].iterdir()) == []


def test_stopping_leaves_no_process(start_stack: Callable[..., Running], tmp_path: Path) -> None:
    started = start_stack()
    started.wait_until_ready()
    groups = [started.stack.serving.pid, started.stack.canary.pid, started.stack.sidecar.pid]
    assert all(group_members(group) for group in groups)
    started.stack.__exit__(None, None, None)
    assert [group_members(group) for group in groups] == [[], [], []]
    assert "sidecar_stopped" in (tmp_path / "home" / "logs" / "sidecar.log").read_text()
