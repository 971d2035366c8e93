"""How Grafana wants a dashboard said: its JSON, as its documentation of the format has it.

https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Query:
    expr: str
    legend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """`kind` and `unit` are Grafana's names; `width` is of `WIDTH`.

    `about` says what a reader should know to judge what is seen. `instant` shows now only. Each
    line leads to the dashboard `links_to`, for its model.
    """

    title: str
    queries: Sequence[Query]
    about: str
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stacked: bool = False
    instant: bool = False
    links_to: str | None = None
    red_from: float | None = None
    red_below: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    name: str
    title: str
    about: str
    variables: Sequence[Json]
    panels: Sequence[Panel]


OURS = 'instance=~"$instance"'
"""The sidecars that were chosen."""
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
RED, GREEN = "red", "green"
WIDTH = 24
"""Of a dashboard, in columns of its grid."""


def chosen(name: str, query: str, *, several: bool = True) -> Json:
    """A choice above the dashboard, from what Prometheus knows."""
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": several,
        "includeAll": several,
        "current": {"text": "All", "value": "$__all"} if several else {},
    }


def notes() -> list[Json]:
    """Marks at the moments that a series has for its value."""
    return [
        note(
            "Release steps",
            f"pilotlight_release_entered_timestamp_seconds{{{OURS}}} * 1000",
            "{{model}} {{version}}: {{state}}",
            "blue",
        ),
        note(
            "Sidecar starts",
            f'process_start_time_seconds{{job="pilotlight", {OURS}}} * 1000',
            "the sidecar of {{instance}} starts",
            "orange",
        ),
    ]


def note(name: str, expr: str, title: str, color: str) -> Json:
    return {
        "name": name,
        "datasource": SOURCE,
        "enable": True,
        "iconColor": color,
        "expr": expr,
        "titleFormat": title,
        "useValueForTime": True,
    }


def document(dashboard: Dashboard) -> Json:
    source = {
        "name": "datasource",
        "type": "datasource",
        "query": "prometheus",
        "label": "Prometheus",
    }
    others = {
        "title": "Pilotlight",
        "type": "dashboards",
        "tags": ["pilotlight"],
        "keepTime": True,
        "includeVars": True,
        "asDropdown": False,
    }
    return {
        "uid": f"pilotlight-{dashboard.name}",
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["pilotlight"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "links": [others],
        "templating": {"list": [source, *dashboard.variables]},
        "annotations": {"list": notes()},
        "panels": placed(dashboard.panels),
    }


def placed(panels: Sequence[Panel]) -> list[Json]:
    """In rows, each as high as its highest panel."""
    found, x, y, row_height = [], 0, 0, 0
    for number, panel in enumerate(panels, 1):
        if x + panel.width > WIDTH:
            x, y, row_height = 0, y + row_height, 0
        where = {"x": x, "y": y, "w": panel.width, "h": panel.height}
        found.append({"id": number, "gridPos": where, **drawn(panel)})
        x, row_height = x + panel.width, max(row_height, panel.height)
    return found


def drawn(panel: Panel) -> Json:
    targets = [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "instant": panel.instant,
            "range": not panel.instant,
            "format": "table" if panel.kind == "table" else "time_series",
        }
        for number, query in enumerate(panel.queries)
    ]
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": field(panel), "overrides": []},
        "options": OPTIONS.get(panel.kind, {}),
        "transformations": [WITHOUT_TIME] if panel.kind == "table" else [],
    }


def field(panel: Panel) -> Json:
    defaults: Json = {"unit": panel.unit, "min": 0}
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "fillOpacity": 30 if panel.stacked else 0,
            "stacking": {"mode": "normal" if panel.stacked else "none"},
        }
    if panel.red_from is not None:
        defaults["thresholds"] = steps(GREEN, RED, panel.red_from)
    if panel.red_below is not None:
        defaults["thresholds"] = steps(RED, GREEN, panel.red_below)
    if panel.links_to is not None:
        model = "${__field.labels.model}"
        url = f"/d/pilotlight-{panel.links_to}?var-model={model}&${{__url_time_range}}"
        defaults["links"] = [{"title": f"the model {model}", "url": url}]
    return defaults


def steps(below: str, above: str, limit: float) -> Json:
    first: Json = {"color": below, "value": None}
    return {"mode": "absolute", "steps": [first, {"color": above, "value": limit}]}


NOW = {"calcs": ["lastNotNull"], "fields": "", "values": False}
OPTIONS: dict[str, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": NOW, "colorMode": "value", "graphMode": "area"},
    "bargauge": {"reduceOptions": NOW, "orientation": "horizontal", "displayMode": "basic"},
    "state-timeline": {"showValue": "never", "mergeValues": True},
}
WITHOUT_TIME = {
    "id": "organize",
    "options": {"excludeByName": {"Time": True, "__name__": True, "job": True}},
}
