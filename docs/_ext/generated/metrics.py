"""Metrics and events, as the sidecar tells them."""

import runpy
from pathlib import Path

from generated.markdown import code, table
from sidecar.core.events import Event, EventName

_REFERENCE = Path(__file__).parents[3] / "deploy" / "prometheus" / "reference.py"


def metrics() -> str:
    return str(runpy.run_path(str(_REFERENCE))["markdown"]())


def event_names() -> str:
    return table(
        ["Event", "Logged as"],
        ([code(name), "warning" if Event(name=name).is_trouble else "info"] for name in EventName),
    )
