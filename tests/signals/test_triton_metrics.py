"""What Triton tells Prometheus, as the rules and dashboards rely on it."""

import re
from pathlib import Path

import httpx2
import pytest

from tests.contract.test_embedded_triton import add_model
from tests.fixtures.embedded import LIVE_TIMEOUT_S, StartTriton

RECORDED = Path(__file__).with_name("triton_metrics.txt")
"""Scraped from the embedded server with one model; values are of no matter."""
SAMPLE = re.compile(r"^(\w+)(?:{(.*)})? \S+$", re.MULTILINE)
LABEL = re.compile(r'(\w+)="')

pytestmark = [pytest.mark.triton, pytest.mark.timeout(120)]


def labels_by_sample(text: str) -> dict[str, set[str]]:
    """From a page for Prometheus: the name of each sample, with the names of its labels."""
    return {name: set(LABEL.findall(labels)) for name, labels in SAMPLE.findall(text)}


def test_a_real_server_tells_what_was_recorded(start_triton: StartTriton, tmp_path: Path) -> None:
    add_model(tmp_path / "repository", "m")
    server = start_triton(tmp_path / "repository", control_mode="none")
    url = f"http://127.0.0.1:{server.metrics_port}/metrics"
    answer = httpx2.get(url, timeout=LIVE_TIMEOUT_S)

    found = labels_by_sample(answer.text)
    recorded = labels_by_sample(RECORDED.read_text())
    assert {name: found.get(name) for name in recorded} == recorded
    # Prometheus 3 refuses a page without one.
    assert answer.headers["content-type"].startswith("text/plain")
