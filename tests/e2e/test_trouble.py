"""A sidecar that is started first, with all that can be wrong, and is never started again."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from contract.layout import Store
from embedded.ports import free_ports
from embedded.process import wait_until
from embedded.provision import Installation
from embedded.triton import TritonServer
from tests.e2e.conftest import sidecar_of
from tests.e2e.inside import publish
from tests.fixtures.embedded import LIVE_TIMEOUT_S

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]

WAIT_S = 60.0
KEY = "right"
Checks = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Looked:
    """What `/readyz?verbose` says of the sidecar at `url`, and what its log does."""

    url: str
    log: Path

    def checks(self) -> Checks:
        answer = httpx2.get(f"{self.url}/readyz?verbose", timeout=WAIT_S)
        return {check["name"]: check for check in answer.json()["checks"]}

    def bad(self) -> set[str]:
        return {name for name, check in self.checks().items() if not check["ok"]}

    def is_well(self, name: str) -> bool:
        """Whether that could be looked at, and is as it should be."""
        return bool(self.checks().get(name, {}).get("ok"))

    def is_ready(self) -> bool:
        return httpx2.get(f"{self.url}/readyz", timeout=WAIT_S).status_code == 200

    def until(self, **parts: str) -> None:
        """Each named check (`server_serving`) fails with its part of a sentence."""

        def told() -> bool:
            found = self.checks()
            return all(
                not (check := found.get(name.replace("_", " "), {"ok": True}))["ok"]
                and part in check["detail"]
                for name, part in parts.items()
            )

        assert wait_until(told, WAIT_S), (parts, self.checks())

    def lines(self, event: str) -> list[Mapping[str, Any]]:
        found = map(json.loads, self.log.read_text().splitlines())
        return [line for line in found if line["event"] == event]

    def lost(self, server: str) -> list[str]:
        """How the reasons begin for which a server was lost, in order."""
        lines = self.lines("server_lost")
        return [line["reason"][:13] for line in lines if line["server"] == server]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("serving", "canary", "elsewhere"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def start(installation: Installation, home: Path) -> Iterator[Callable[..., TritonServer]]:
    """`start("serving", "elsewhere")`: a Triton on its ports that reads this folder."""
    ports = {name: free_ports(3) for name in ("serving", "canary")}
    with ExitStack() as cleanup:

        def start(name: str, folder: str | None = None) -> TritonServer:
            http_port, grpc_port, metrics_port = ports[name]
            server = TritonServer(
                installation=installation,
                name=name,
                repository=home / (folder or name),
                log=home / f"{name}.log",
                http_port=http_port,
                grpc_port=grpc_port,
                metrics_port=metrics_port,
                admin_key=KEY,
                completes_configs=False,
            )
            cleanup.callback(server.stop)
            cleanup.callback(server.kill)
            server.start()
            server.wait_live(LIVE_TIMEOUT_S)
            return server

        settings = {
            "store": str(home / "store"),
            "state": str(home / "state.sqlite"),
            "servers": {
                name: {
                    "grpc": f"127.0.0.1:{grpc_port}",
                    "metrics": f"http://127.0.0.1:{metrics_port}/metrics",
                    "stage": str(home / name),
                    "admin_key_file": str(home / f"{name}.key"),
                }
                for name, (_, grpc_port, metrics_port) in ports.items()
            },
            "api": {"port": 0},
            "policy": {"budgets": {"gpu:0": "1GiB"}},
            "interval_s": 0.3,
        }
        (home / "settings.yaml").write_text(yaml.safe_dump(settings))
        yield start


def test_a_sidecar_says_what_is_wrong_and_goes_on_when_it_is_mended(
    home: Path, start: Callable[..., TritonServer]
) -> None:
    (home / "canary.key").write_text("wrong")
    with sidecar_of(home / "settings.yaml", home) as url:
        looked = Looked(url, home / "sidecar.log")
        # Before Triton, without a key and without a store.
        looked.until(
            server_serving="the admin key of Triton at",
            server_canary="no answer from canary server",
            store="is missing; run `make repo`",
        )

        wrong = start("serving", "elsewhere")
        start("canary")
        looked.until(
            server_serving="serving.key cannot be read: No such file",
            server_canary=f"write the key of its --grpc-restricted-protocol into {home}/canary.key",
        )

        for name in ("serving", "canary"):
            (home / f"{name}.key").write_text(KEY)
        looked.until(
            stage_serving=f"the server does not list what is put into {home}/serving",
            gpu="asked for by the budget of gpu:0, but the serving server has none",
        )
        # It may be silent at the look at which serving is seen.
        assert wait_until(lambda: looked.is_well("stage canary"), WAIT_S), looked.checks()
        assert looked.checks()["version serving"]["detail"] == "Triton 2.51.0"

        publish(Store(home / "store"), "m", tier="hot")
        looked.until(model_m="waits for serving: the server does not list")
        wrong.kill()
        looked.until(server_serving="no answer from serving server")
        serving = start("serving")
        assert wait_until(looked.is_ready, WAIT_S), looked.checks()
        assert wait_until(lambda: looked.bad() == {"gpu"}, WAIT_S), looked.checks()

        serving.kill()
        looked.until(server_serving="no answer from serving server")
        serving.start()
        assert wait_until(looked.is_ready, WAIT_S), looked.checks()
        assert looked.lost("serving") == ["the admin key", "no answer fro", "no answer fro"]
        # Nobody waits long for canary: on a machine that stands still it is lost in between.
        lost = looked.lost("canary")
        assert lost[:1] == ["no answer fro"]
        assert set(lost) - {"it has not an"} == {"no answer fro", "Triton at 127"}
        assert looked.lines("load_failed") == []
