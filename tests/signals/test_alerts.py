"""The alert rules, tried by Prometheus' own tool."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.signals.deployed import PROMETHEUS, RULES, alerts
from tests.signals.stories import STORIES, Story

ROOT = Path(__file__).parents[2]


def promtool(*arguments: str | Path) -> None:
    run = subprocess.run(
        ["promtool", *arguments], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert run.returncode == 0, run.stdout + run.stderr


def case(name: str, story: Story, series: Mapping[str, str], *, fires: bool) -> dict[str, Any]:
    alert = {
        "exp_labels": {"instance": "pod", "severity": story.severity, **story.labels},
        "exp_annotations": {
            "summary": f"pod: {story.summary}",
            "runbook_url": f"docs/runbooks/{name}.md",
        },
    }
    return {
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "alert_rule_test": [
            {"eval_time": story.at, "alertname": name, "exp_alerts": [alert] if fires else []}
        ],
    }


def test_prometheus_takes_config_and_rules() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")


def test_every_alert_has_a_story() -> None:
    assert set(alerts()) == set(STORIES)


@pytest.mark.parametrize("fires", [True, False], ids=["fires", "is quiet"])
def test_each_alert_fires_in_its_story_and_not_in_one_like_it(
    tmp_path: Path, *, fires: bool
) -> None:
    cases = [
        case(name, story, story.fires if fires else story.quiet, fires=fires)
        for name, story in STORIES.items()
    ]
    written = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "1m",
        "tests": cases,
    }
    (tmp_path / "cases.yml").write_text(yaml.safe_dump(written))
    promtool("test", "rules", tmp_path / "cases.yml")
