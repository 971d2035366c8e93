"""What deploy/ holds for Prometheus and Grafana, and every expression in it."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS, GRAFANA = DEPLOY / "prometheus", DEPLOY / "grafana"
RULES = PROMETHEUS / "rules" / "pilotlight.yml"
RUNBOOKS = DEPLOY.parent / "docs" / "runbooks"

Dashboard = dict[str, Any]
_METRIC = re.compile(r"\b(?:pilotlight|nv|process)_\w+")


@cache
def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def alerts() -> Mapping[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


@cache
def dashboards() -> Mapping[str, Dashboard]:
    return {
        path.stem: json.loads(path.read_text()) for path in (GRAFANA / "dashboards").glob("*.json")
    }


def panel_expressions() -> Iterator[tuple[str, str]]:
    """Where it stands, and the expression as Prometheus gets it."""
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{name}: {panel['title']}: {target['refId']}", filled(target["expr"])
        for note in dashboard["annotations"]["list"]:
            yield f"{name}: {note['name']}", filled(note["expr"])


def filled(expr: str) -> str:
    """As Grafana fills it in when all of each variable is chosen."""
    for variable, value in (
        ("$__rate_interval", "10s"),
        ("$__range", "1h"),
        ("$instance", ".*"),
        ("$device", ".*"),
        ('model="$model"', 'model=~".*"'),
        ("$model", ".*"),
    ):
        expr = expr.replace(variable, value)
    assert "$" not in expr, expr
    return expr


def used_metrics() -> Mapping[str, str]:
    """Name of each metric in rules, panels and variables to one place where it is used."""
    found: dict[str, str] = {}
    places = [
        *panel_expressions(),
        *((rule.get("alert") or rule["record"], rule["expr"]) for rule in rules()),
        *((rule["alert"], rule["annotations"]["summary"]) for rule in rules() if "alert" in rule),
        *(
            (f"{name}: ${variable['name']}", variable["query"]["query"])
            for name, dashboard in dashboards().items()
            for variable in dashboard["templating"]["list"]
            if variable["type"] == "query"
        ),
    ]
    recorded = re.compile(
        "|".join(re.escape(rule["record"]) for rule in rules() if "record" in rule)
    )
    for place, text in places:
        for metric in _METRIC.findall(recorded.sub("", text)):
            found.setdefault(metric, place)
    return found
