"""A real Prometheus, with our configuration but for the addresses, scraping what is really told."""

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from embedded.ports import free_ports
from embedded.process import Process, wait_until
from tests.signals.deployed import PROMETHEUS, RULES, panel_expressions, rules
from tests.signals.test_triton_metrics import RECORDED

pytestmark = pytest.mark.timeout(180)

PATIENCE_S = 45.0
EMPTY = {"fleet: Alerts: A", "fleet: GPU utilization: A"}
"""Nothing fires, and there is no GPU."""
OF_TROUBLE = {
    "pilotlight_model_quarantined",
    'pilotlight_release_entered_timestamp_seconds{state=~"awaiting|paused"}',
}
"""Without a series while all is well."""
SELECTOR = re.compile(r"(?<![:\w])(?:pilotlight_\w+|up)(?:{[^}]*})?")


@pytest.fixture(scope="module")
def prometheus(
    exposition: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx2.Client]:
    """A client of one that has scraped everything twice at least, which rates need."""
    folder = tmp_path_factory.mktemp("prometheus")
    (port,) = free_ports(1)
    with (
        page(exposition) as sidecar,
        page(RECORDED.read_text()) as triton,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE_S) as client,
    ):
        addresses = {"pod:8080": sidecar, "pod:8202": triton, "pod:8102": triton}
        process = Process(
            name="prometheus",
            command=[
                "prometheus",
                f"--config.file={configured(folder, addresses)}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            log=folder / "prometheus.log",
        )

        def has_scraped() -> bool:
            scraped = "count_over_time(up[1h]) > 1"
            return _answers(client) and len(query(client, scraped)) == len(addresses)

        process.start()
        try:
            assert wait_until(has_scraped, PATIENCE_S), (folder / "prometheus.log").read_text()
            yield client
        finally:
            process.stop()


def configured(folder: Path, addresses: Mapping[str, str]) -> Path:
    """Our configuration, with these addresses and in a hurry."""
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    for job in config["scrape_configs"]:
        for group in job["static_configs"]:
            group["targets"] = [addresses[target] for target in group["targets"]]
    config["global"] = dict.fromkeys(config["global"], "1s")
    config["rule_files"] = [str(RULES)]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def page(text: str) -> Iterator[str]:
    """The address of a server that tells Prometheus this."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4; charset=utf-8")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, format: str, *args: object) -> None:
            """Not on the screen."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def query(prometheus: httpx2.Client, expr: str) -> list[dict[str, Any]]:
    answer = prometheus.get("/api/v1/query", params={"query": expr}).json()
    assert answer["status"] == "success", answer
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


def _answers(prometheus: httpx2.Client) -> bool:
    try:
        return prometheus.get("/-/ready").is_success
    except httpx2.HTTPError:
        return False


def comes_to(found: Callable[[], object], expected: object) -> None:
    """A scrape or an evaluation that came late is made up for by the next one."""
    assert wait_until(lambda: found() == expected, PATIENCE_S), found()


def test_it_scrapes_the_sidecar_and_both_servers(prometheus: httpx2.Client) -> None:
    def found() -> dict[tuple[str, str | None], str]:
        return {
            (each["metric"]["job"], each["metric"].get("server")): each["value"][1]
            for each in query(prometheus, "up")
        }

    comes_to(
        found,
        {
            ("pilotlight", None): "1",
            ("triton", "serving"): "1",
            ("triton", "canary"): "1",
        },
    )


def test_every_panel_and_every_mark_shows_something(prometheus: httpx2.Client) -> None:
    def silent() -> set[str]:
        return {place for place, expr in panel_expressions() if not query(prometheus, expr)}

    comes_to(silent, EMPTY)


def test_what_the_rules_look_for_is_told(prometheus: httpx2.Client) -> None:
    """A label that was misspelt would never fire."""
    looked_for = {each for rule in rules() for each in SELECTOR.findall(rule["expr"])}

    comes_to(lambda: {each for each in looked_for if not query(prometheus, each)}, OF_TROUBLE)


def test_every_rule_is_evaluated_without_an_error(prometheus: httpx2.Client) -> None:
    def told() -> dict[str, str]:
        groups = prometheus.get("/api/v1/rules").json()["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}

    comes_to(told, {rule.get("alert") or rule["record"]: "ok" for rule in rules()})
