"""What the embedded Envoy does; no fakes anywhere."""

import contextlib
import http.client
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from embedded.envoy import EnvoyServer, validate
from embedded.errors import BootstrapRefused, ServerDidNotStart
from embedded.ports import free_ports
from embedded.process import group_members, wait_until
from embedded.server import answers_ok
from embedded.supervisor import Supervisor
from tests.fixtures.embedded import LIVE_TIMEOUT_S

pytestmark = [pytest.mark.triton, pytest.mark.timeout(180)]

FILTERS = "type.googleapis.com/envoy.extensions.filters"
HELD_S = 60
WITHIN_S = 30.0

StartEnvoy = Callable[..., EnvoyServer]


def bootstrap(port: int, admin_port: int) -> dict[str, Any]:
    """A listener that answers 200, at /held after `HELD_S`."""

    def address(port: int) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    answer = {"direct_response": {"status": 200, "body": {"inline_string": "hello"}}}
    fault = {
        "@type": f"{FILTERS}.http.fault.v3.HTTPFault",
        "delay": {"fixed_delay": f"{HELD_S}s", "percentage": {"numerator": 100}},
    }
    routes = [
        {"match": {"path": "/held"}, **answer, "typed_per_filter_config": {"fault": fault}},
        {"match": {"prefix": "/"}, **answer},
    ]
    manager = {
        "@type": f"{FILTERS}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "front",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        "http_filters": [
            {"name": "fault", "typed_config": {"@type": f"{FILTERS}.http.fault.v3.HTTPFault"}},
            {"name": "router", "typed_config": {"@type": f"{FILTERS}.http.router.v3.Router"}},
        ],
    }
    listener = {
        "name": "front",
        "address": address(port),
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    return {
        "node": {"id": "gateway", "cluster": "tests"},
        "admin": {"address": address(admin_port)},
        "static_resources": {"listeners": [listener]},
    }


def watched(file: Path) -> dict[str, Any]:
    """What makes Envoy read its clusters from a file."""
    source = {"resource_api_version": "V3", "path_config_source": {"path": str(file)}}
    return {"dynamic_resources": {"cds_config": source}}


def write(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(json.dumps(content, indent=2))
    return path


def admin(server: EnvoyServer, path: str) -> Any:
    """What the admin port answers."""
    connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=WITHIN_S)
    with contextlib.closing(connection):
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())


def statistic(server: EnvoyServer, name: str) -> int:
    (found,) = admin(server, f"/stats?format=json&filter=^{name}$")["stats"]
    return int(found["value"])


def answers(port: int, path: str) -> bool:
    """However busy the machine is."""
    return wait_until(lambda: answers_ok(port, path), WITHIN_S)


@pytest.fixture
def start_envoy(envoy_binary: Path, tmp_path: Path) -> Iterator[StartEnvoy]:
    """Starts live ones on free ports: `start_envoy(admin_port=9901, node=1)`."""
    with contextlib.ExitStack() as stack:

        def start(
            *, port: int | None = None, admin_port: int | None = None, **changes: Any
        ) -> EnvoyServer:
            free, free_admin = free_ports(2)
            port, admin_port = port or free, admin_port or free_admin
            server = EnvoyServer(
                binary=envoy_binary,
                bootstrap=write(
                    tmp_path / f"{port}.json", {**bootstrap(port, admin_port), **changes}
                ),
                log=tmp_path / "envoy.log",
                ports=(port,),
                admin_port=admin_port,
                concurrency=1,
            )
            stack.callback(server.stop)
            server.start()
            server.wait_live(LIVE_TIMEOUT_S)
            return server

        yield start


def test_a_live_one_answers_at_its_listener_and_its_admin_port(start_envoy: StartEnvoy) -> None:
    server = start_envoy()

    assert answers(server.ports[0], "/")
    assert answers(server.admin_port, "/ready")


def test_it_runs_with_as_many_workers_as_asked_for(start_envoy: StartEnvoy) -> None:
    server = start_envoy()

    assert admin(server, "/server_info")["command_line_options"]["concurrency"] == 1


def test_a_taken_port_is_named(start_envoy: StartEnvoy) -> None:
    first = start_envoy()

    with pytest.raises(ServerDidNotStart, match=f"port {first.ports[0]} of .* is taken"):
        start_envoy(port=first.ports[0])
    with pytest.raises(ServerDidNotStart, match=f"port {first.admin_port} of .* is taken"):
        start_envoy(admin_port=first.admin_port)


def test_a_bootstrap_that_envoy_refuses_gives_the_cause(
    start_envoy: StartEnvoy, tmp_path: Path
) -> None:
    with pytest.raises(ServerDidNotStart, match=r"gateway .* ended with 1: .*no such field: 'q'"):
        start_envoy(q=1)
    with pytest.raises(ServerDidNotStart, match=f"there is no {tmp_path}/cds.json, of which"):
        start_envoy(**watched(tmp_path / "cds.json"))


def test_a_listener_that_does_not_come_up_is_not_live(envoy_binary: Path, tmp_path: Path) -> None:
    port, admin_port, nobodys = free_ports(3)
    server = EnvoyServer(
        binary=envoy_binary,
        bootstrap=write(tmp_path / "bootstrap.json", bootstrap(port, admin_port)),
        log=tmp_path / "envoy.log",
        ports=(port, nobodys),
        admin_port=admin_port,
        concurrency=1,
    )
    server.start()
    try:
        assert answers(admin_port, "/ready")
        with pytest.raises(ServerDidNotStart, match=r"did not answer within 0\.5 s"):
            server.wait_live(0.5)
    finally:
        server.stop()


def test_an_unknown_field_in_a_watched_file_is_refused(
    start_envoy: StartEnvoy, tmp_path: Path
) -> None:
    cluster = {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "c", "q": 1}
    write(tmp_path / "cds.json", {"resources": [cluster]})

    server = start_envoy(**watched(tmp_path / "cds.json"))

    assert statistic(server, "cluster_manager.cds.update_rejected") == 1


def test_validation_passes_a_good_bootstrap_whose_ports_are_in_use(
    envoy_binary: Path, start_envoy: StartEnvoy, tmp_path: Path
) -> None:
    server = start_envoy()

    validate(envoy_binary, tmp_path / f"{server.ports[0]}.json")


def test_validation_refuses_a_bad_bootstrap_with_envoys_reason(
    envoy_binary: Path, tmp_path: Path
) -> None:
    unnamed = bootstrap(1, 2)
    unnamed["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0]["name"] = ""
    path = write(tmp_path / "bootstrap.json", unnamed)

    with pytest.raises(BootstrapRefused, match=f"(?s){path}.*Name: value length must be at least"):
        validate(envoy_binary, path)


def test_a_crashed_one_comes_back_on_its_ports(start_envoy: StartEnvoy) -> None:
    server = start_envoy()
    crashed = server.pid
    events: list[str] = []

    with Supervisor([server], events.append):
        server.kill()
        assert wait_until(lambda: server.pid != crashed, WITHIN_S)
        server.wait_live(LIVE_TIMEOUT_S)
        assert answers(server.ports[0], "/")

    assert any("gateway ended" in event for event in events)
    assert group_members(server.pid) == []


def test_stopping_cuts_open_requests_and_is_quick(start_envoy: StartEnvoy) -> None:
    server = start_envoy()
    connection = http.client.HTTPConnection("127.0.0.1", server.ports[0], timeout=HELD_S)
    with contextlib.closing(connection):
        connection.request("GET", "/held")
        active_faults = "http.front.fault.active_faults"
        assert wait_until(lambda: statistic(server, active_faults) == 1, WITHIN_S)

        server.stop(timeout_s=WITHIN_S)

        with pytest.raises(http.client.RemoteDisconnected):
            connection.getresponse()
    assert server.returncode == 0


def test_it_ends_with_its_starter(envoy_binary: Path, tmp_path: Path) -> None:
    port, admin_port = free_ports(2)
    write(tmp_path / "bootstrap.json", bootstrap(port, admin_port))
    script = f"""
import time
from pathlib import Path
from embedded.envoy import EnvoyServer
folder = Path({str(tmp_path)!r})
server = EnvoyServer(
    binary=Path({str(envoy_binary)!r}), bootstrap=folder / "bootstrap.json",
    log=folder / "log", ports=({port},), admin_port={admin_port}, concurrency=1,
)
server.start()
server.wait_live({LIVE_TIMEOUT_S})
print(server.pid, flush=True)
time.sleep(1000)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert group_members(pid) == [pid]

        starter.send_signal(signal.SIGKILL)

    assert wait_until(lambda: group_members(pid) == [], WITHIN_S)
