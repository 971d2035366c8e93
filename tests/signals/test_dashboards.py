"""The dashboards: what they ask for exists, and Grafana can read them."""

import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.signals.deployed import DEPLOY, GRAFANA, PROMETHEUS, Dashboard, dashboards, used_metrics
from tests.signals.test_triton_metrics import RECORDED, labels_by_sample

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WITH_A_GPU = {"nv_gpu_utilization"}
"""Not told by a server without one: https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md"""


@pytest.fixture(params=sorted(dashboards()))
def dashboard(request: pytest.FixtureRequest) -> Dashboard:
    return dashboards()[request.param]


def test_every_metric_that_is_used_is_told_by_the_sidecar_or_by_triton(exposition: str) -> None:
    told = labels_by_sample(exposition) | labels_by_sample(RECORDED.read_text())
    used = used_metrics()
    missing = {metric: used[metric] for metric in used.keys() - told.keys() - WITH_A_GPU}
    # Told only of what is the case.
    for metric in ("pilotlight_hot_model_missing", "pilotlight_model_quarantined"):
        assert f"# TYPE {metric} gauge" in exposition
        missing.pop(metric, None)
    assert missing == {}


def test_the_reference_describes_all_that_is_told(exposition: str) -> None:
    described = runpy.run_path(str(PROMETHEUS / "reference.py"))["described"]()
    told = set(re.findall(r"^# TYPE (\S+) (\S+)$", exposition, re.MULTILINE))
    # When a series began, which only this library tells.
    assert {(each.name, each.kind) for each in described} == {
        (name, kind) for name, kind in told if not name.endswith("_created")
    }
    labels = {each.name: set(each.labels) for each in described}
    assert labels["pilotlight_gateway_model_requests_total"] == {"model", "outcome"}
    assert labels["pilotlight_load_seconds"] == {"phase"}


def test_the_files_are_what_their_description_makes(tmp_path: Path) -> None:
    """After a change: python deploy/grafana/dashboards.py."""
    script = GRAFANA / "dashboards.py"
    subprocess.run([sys.executable, script, tmp_path], check=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in (GRAFANA / "dashboards").iterdir()}


def test_each_panel_has_an_id_a_place_and_a_word_on_what_it_shows(dashboard: Dashboard) -> None:
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    assert all(panel["description"].endswith(".") for panel in panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert taken.isdisjoint(cells), panel["title"]
        taken |= cells


def test_each_panel_asks_the_datasource_that_is_chosen(dashboard: Dashboard) -> None:
    variables = {each["name"]: each for each in dashboard["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    asking = [
        *dashboard["panels"],
        *(target for panel in dashboard["panels"] for target in panel["targets"]),
        *(each for name, each in variables.items() if name != "datasource"),
        *dashboard["annotations"]["list"],
    ]
    assert [each for each in asking if each["datasource"] != SOURCE] == []


def test_links_lead_to_dashboards_that_are_there() -> None:
    uids = {each["uid"] for each in dashboards().values()}
    assert len(uids) == len(dashboards())
    links = [
        link["url"]
        for dashboard in dashboards().values()
        for panel in dashboard["panels"]
        for link in panel["fieldConfig"]["defaults"].get("links", [])
    ]
    assert links
    assert [url for url in links if url.split("?")[0].removeprefix("/d/") not in uids] == []


def test_grafana_is_given_the_prometheus_of_compose_and_these_dashboards() -> None:
    provisioning = GRAFANA / "provisioning"
    (source,) = _only(provisioning / "datasources")["datasources"]
    (provider,) = _only(provisioning / "dashboards")["providers"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    mounted = compose["services"]["grafana"]["volumes"]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in mounted
    assert "./deploy/grafana/provisioning:/etc/grafana/provisioning:ro" in mounted


def _only(folder: Path) -> dict[str, Any]:
    (path,) = folder.iterdir()
    found: dict[str, Any] = yaml.safe_load(path.read_text())
    return found
