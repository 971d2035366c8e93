"""`pilotlight serve`: the sidecar. `pilotlight up`: the sidecar with two embedded Tritons."""

import signal
import threading
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from embedded.errors import EmbeddedError
from embedded.provision import provision, provision_envoy
from pilotlight.admin import Admin, AdminError
from pilotlight.commands.output import fail
from pilotlight.paths import EMBEDDED, ENVOY, MODEL_REPOSITORY, WORK
from pilotlight.stack import Ports, SidecarDidNotStart, Stack
from sidecar.errors import SidecarError


class PortChoice(StrEnum):
    USUAL = "usual"
    FREE = "free"


def serve_command(
    settings: Annotated[Path, typer.Option(help="The sidecar's YAML file.")] = Path(
        "pilotlight.yaml"
    ),
    port: Annotated[int | None, typer.Option(help="Overrides api.port.")] = None,
) -> None:
    """Run the sidecar beside Triton servers that run already."""
    from sidecar.compose import run  # noqa: PLC0415  (keeps the other commands quick)
    from sidecar.settings import load_settings  # noqa: PLC0415

    try:
        run(load_settings(settings, port=port))
    except SidecarError as error:
        fail(Console(stderr=True), str(error))


def up_command(
    store: Annotated[Path, typer.Option(help="A model repository from `build`.")] = (
        MODEL_REPOSITORY
    ),
    soak_s: Annotated[float, typer.Option(help="Seconds that a promotion soaks.", min=0)] = 60.0,
    ports: Annotated[
        PortChoice, typer.Option(help="`usual`: 8000 and 8001 as Triton, and 8080; `free`: any.")
    ] = PortChoice.USUAL,
    home: Annotated[Path, typer.Option(help="Where stages, state and logs go.")] = WORK / "up",
) -> None:
    """Run two embedded Tritons, the gateway and the sidecar until ctrl-C."""
    console = Console(soft_wrap=True)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        installation = provision(EMBEDDED, console.print)
        stack = Stack(
            installation,
            home=home.resolve(),
            store=store.resolve(),
            ports=Ports.free() if ports is PortChoice.FREE else Ports.usual(),
            soak_s=soak_s,
            on_event=lambda line: console.print(f"[dim]{line}[/]", highlight=False),
            envoy=provision_envoy(ENVOY, console.print),
        )
        with stack:
            console.print(f"models answer at http://{stack.http_address}/v2 (HTTP)")
            console.print(f"             and {stack.grpc_address} (gRPC)")
            console.print(f"sidecar at {stack.url}; try `pilotlight status --url {stack.url}`")
            _announce_readiness(console, stack.url, stop)
            stop.wait()
    except (EmbeddedError, SidecarDidNotStart, SidecarError, AdminError) as error:
        fail(console, str(error))


def _announce_readiness(console: Console, url: str, stop: threading.Event) -> None:
    shown = None
    with Admin(url) as admin:
        while not stop.wait(0.2):
            readiness = admin.readiness()
            if readiness["ready"]:
                console.print("[green]ready[/]: every hot model is loaded, warmed and probed")
                return
            if readiness["missing"] != shown:
                shown = readiness["missing"]
                console.print(f"[dim]not ready: {'; '.join(shown)}[/]", highlight=False)
