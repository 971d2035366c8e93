"""The client and the sidecar's OpenAPI document say the same."""

import inspect
import re
import subprocess
import sys
from typing import Any

from pilotlight.client import ClientError, Recording, Spec, Steering, bodies
from pilotlight.client.client import Sidecar
from pilotlight.client.resource import Resource
from pilotlight.client.wire import Answer, Request
from tests.unit.pilotlight.client.bodies import FILE, document, written

# What a program that only uses the REST API must not have to install.
HEAVY = {"fastapi", "grpc", "numpy", "prometheus_client", "starlette", "structlog", "tritonclient"}
NEEDED = {
    "model": "m",
    "version": 2,
    "patch": Spec(),
    "steering": Steering(),
    "recording": Recording(),
    "request": {"inputs": []},
    "release": "r",
    "train": "t",
    "operation": "o",
    "timeout_s": 0.0,
}


async def test_the_bodies_are_those_of_the_document() -> None:
    assert FILE.read_text() == written(await document()), (
        "run `python -m tests.unit.pilotlight.client.bodies`"
    )


async def test_each_operation_of_the_document_has_a_method() -> None:
    asked = {(request.method, request.path) for request in every_request()}
    for path, item in (await document())["paths"].items():
        pattern = re.compile(re.sub(r"\{\w+\}", "[^/:]+", path))
        for method in item:
            assert any(by == method.upper() and pattern.fullmatch(where) for by, where in asked), (
                f"no method of the client asks for {method.upper()} {path}"
            )


class Recorder:
    """A shell that carries nothing, and answers so that whoever asks goes on."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def play(self, steps: Any) -> None:
        try:
            self.requests.append(next(steps))
            self.requests.append(
                steps.send(Answer(source="", status=200, headers={"etag": '"1"'}, content=b"{}"))
            )
        except (StopIteration, ClientError):
            return

    def pages(self, pages: Any) -> None:
        self.requests.append(pages.first)

    def feed(self, feed: Any) -> None:
        self.requests.append(feed.first)


def every_request() -> list[Request]:
    """Of every method, called with whatever it needs."""
    shell = Recorder()
    sidecar = Sidecar(shell)  # type: ignore[type-var]
    for owner in [sidecar, *(it for it in vars(sidecar).values() if isinstance(it, Resource))]:
        for name in dir(type(owner)):
            if not name.startswith("_"):
                method = getattr(owner, name)
                wanted = inspect.signature(method).parameters
                method(**{each: NEEDED[each] for each in wanted if each in NEEDED})
    return shell.requests


def test_what_a_newer_sidecar_says_besides_is_kept() -> None:
    said = {"name": "gpu", "ok": True, "detail": "there", "weather": "fine"}
    assert bodies.HealthCheck.model_validate(said).model_extra == {"weather": "fine"}


def test_a_word_of_a_newer_sidecar_is_no_error() -> None:
    said = {"mode": "dreaming", "profile": "production", "since": None, "actor": None}
    assert bodies.ControlBody.model_validate(said).model_dump() == said


def test_the_client_needs_none_of_the_sidecars_libraries() -> None:
    tell = "import sys, pilotlight.client; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", tell], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not loaded & (HEAVY | {"sidecar", "generator", "embedded", "rich", "typer"})
