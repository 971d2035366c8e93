"""What a sidecar says of itself; one without any Triton says as much."""

import functools
import json
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

_NOBODY = "127.0.0.1:1"
_ANY = "127.0.0.1:0"
_SETTINGS = {
    "store": "store",
    "state": "state.sqlite",
    "servers": {
        "serving": {"grpc": _NOBODY, "http": _NOBODY, "stage": "serving"},
        "canary": {"grpc": _NOBODY, "stage": "canary"},
    },
    "api": {"port": 0},
    "gateway": {
        "folder": "gateway",
        "admin": _NOBODY,
        "activator": {"http": _ANY, "grpc": _ANY},
    },
}


@functools.cache
def document() -> dict[str, Any]:
    """The OpenAPI document of the REST API."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder) / "pilotlight.yaml"
        settings.write_text(yaml.safe_dump(_SETTINGS))
        command = [sys.executable, "-m", "pilotlight", "serve", "--settings", str(settings)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as sidecar:
            try:
                url = f"{_address(sidecar.stderr or ())}/openapi.json"
                with urllib.request.urlopen(url) as answer:  # noqa: S310  (our own sidecar)
                    return dict(json.load(answer))
            finally:
                sidecar.terminate()


def _address(log: Iterable[str]) -> str:
    said = []
    for line in log:
        if "sidecar_started" in line:
            return str(json.loads(line)["api"])
        said.append(line)
    raise RuntimeError(f"the sidecar that is to be asked did not start:\n{''.join(said)}")
