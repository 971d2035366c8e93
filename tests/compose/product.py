"""The product as its users run it, in a folder of its own: `make up`, and what they do then."""

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from contract.layout import Store
from embedded.process import wait_until

ROOT = Path(__file__).parents[2]
FILES_OF_COMPOSE = ("docker-compose.yml", "docker-compose.gpu.yml")
_FILES = (*FILES_OF_COMPOSE, ".env.example", "Makefile", "deploy")
HEALTHY_TIMEOUT_S = 60.0
"""For a server to be up and its models to be loaded, on a machine with other things to do."""
_COMMAND_TIMEOUT_S = 200


class Product:
    """A checkout without its source: our images are there already.

    Args:
        environment: of its commands; names the compose project and its ports.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        for name in _FILES:
            copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
            copy(ROOT / name, folder / name)
        self.folder = folder
        self.store = Store(folder / "model_repository")
        self.project = environment["COMPOSE_PROJECT_NAME"]
        self.gateway = f"http://127.0.0.1:{environment['HTTP_PORT']}"
        self.api = f"http://127.0.0.1:{environment['API_PORT']}"
        self._environment = environment

    def run(self, *command: str) -> str:
        """Its output."""
        ended = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
        assert ended.returncode == 0, f"{' '.join(command)}: {ended.stdout}"
        return ended.stdout

    def compose(self, *arguments: str) -> str:
        return self.run("deploy/bin/compose", *arguments)

    def container(self, service: str) -> dict[str, Any]:
        """What Docker knows of a service's container."""
        label = f"label=com.docker.compose.service={service}"
        (name,) = self._named("ps", "--all", "--filter", label)
        (found,) = json.loads(self.run("docker", "inspect", name))
        return dict(found)

    def is_healthy(self, service: str) -> bool:
        return bool(self.container(service)["State"]["Health"]["Status"] == "healthy")

    def ask(self, path: str, **headers: str) -> httpx2.Response:
        """As a viewer."""
        return httpx2.get(
            self.api + path, headers=self._headers("viewer") | headers, timeout=HEALTHY_TIMEOUT_S
        )

    def post(
        self, path: str, body: object = None, *, role: str | None = "operator"
    ) -> httpx2.Response:
        """With the token of a role, or with none."""
        headers = {} if role is None else self._headers(role)
        return httpx2.post(self.api + path, json=body, headers=headers, timeout=HEALTHY_TIMEOUT_S)

    def infer(self, model: str) -> httpx2.Response:
        """2 x (1, 2), through the gateway."""
        x = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.0, 2.0]}
        url = f"{self.gateway}/v2/models/{model}/infer"
        return httpx2.post(url, json={"inputs": [x]}, timeout=HEALTHY_TIMEOUT_S)

    def is_ready(self) -> bool:
        try:
            return self.ask("/readyz").status_code == httpx2.codes.OK
        except httpx2.TransportError:
            return False

    def times(self, event: str) -> int:
        """How often the sidecar has recorded that."""
        return len(self.ask(f"/v1/audit?event={event}").json()["entries"])

    def wait_until_ready(self) -> None:
        ready = wait_until(self.is_ready, HEALTHY_TIMEOUT_S)
        assert ready, self.compose("ps") + self.compose("logs", "--tail", "40")

    def kill_triton(self) -> None:
        """As a crash would: by a signal, of which Docker knows nothing."""
        script = (
            "import psutil\n"
            "for process in psutil.process_iter(['cmdline']):\n"
            "    if '--http-port=8200' in (process.info['cmdline'] or []): process.kill()"
        )
        self.compose("exec", "-T", "sidecar", "python", "-c", script)

    def remains(self) -> list[str]:
        """Containers, volumes and networks that Docker still has of it."""
        things = (("ps", "--all"), ("volume", "ls"), ("network", "ls"))
        return [name for thing in things for name in self._named(*thing)]

    def _named(self, *things: str) -> list[str]:
        label = f"label=com.docker.compose.project={self.project}"
        return self.run("docker", *things, "--quiet", "--filter", label).split()

    def _headers(self, role: str) -> dict[str, str]:
        token = (self.folder / f"secrets/{role}.token").read_text().strip()
        return {"Authorization": f"Bearer {token}"}
