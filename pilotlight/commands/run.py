"""`pilotlight serve`: the sidecar. `pilotlight up`: the sidecar with two embedded Tritons."""

import signal
import threading
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from pilotlight.commands.arguments import budget_parts, parse_duration
from pilotlight.commands.connection import connected
from pilotlight.commands.output import CommandFailed, Output
from pilotlight.commands.progress import busy
from pilotlight.commands.running import command
from pilotlight.paths import EMBEDDED, ENVOY, MODEL_REPOSITORY, WORK
from pilotlight.views.health import readiness_line

if TYPE_CHECKING:
    from pilotlight.own_settings import OwnSettings
    from pilotlight.stack import Stack

READY_POLL_S = 0.2


class PortChoice(StrEnum):
    USUAL = "usual"
    FREE = "free"


@command(
    "pilotlight serve --settings /etc/pilotlight.yaml",
    "pilotlight serve --port 8081",
    extra="sidecar",
)
def serve_command(
    out: Output,
    settings: Annotated[Path, typer.Option(help="The sidecar's YAML file.")] = Path(
        "pilotlight.yaml"
    ),
    port: Annotated[
        int | None, typer.Option(help="Overrides api.port.", show_default="as the file says")
    ] = None,
) -> None:
    """Run the sidecar beside Triton servers that run already. It logs to stderr."""
    from sidecar.compose import run  # noqa: PLC0415  (an extra, and slow)
    from sidecar.errors import SidecarError  # noqa: PLC0415
    from sidecar.settings import load_settings  # noqa: PLC0415

    try:
        run(load_settings(settings, port=port))
    except SidecarError as error:
        raise CommandFailed(str(error)) from error


@command(
    "pilotlight up",
    "pilotlight up --store /srv/models --home .pilotlight/other --ports free",
    "pilotlight up --budget cpu=600MiB --soak 10s",
    "pilotlight up --settings own.yaml",
    extra="sidecar,embedded",
)
def up_command(
    out: Output,
    *,
    store: Annotated[Path, typer.Option(help="A model repository from `build`.")] = (
        MODEL_REPOSITORY
    ),
    soak: Annotated[
        float | None,
        typer.Option(
            parser=parse_duration,
            metavar="TIME",
            help="How long both versions stay after a promotion.",
            show_default="60s, or as --settings say",
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICE=SIZE",
            help="Memory for models: cpu=12GiB, or gpu:0=40GiB; may be given for several devices.",
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(help="A YAML file with settings of your own, such as policy and models."),
    ] = None,
    ports: Annotated[
        PortChoice, typer.Option(help="`usual`: 8000 and 8001 as Triton, and 8080; `free`: any.")
    ] = PortChoice.USUAL,
    home: Annotated[Path, typer.Option(help="Where stages, state and logs go.")] = WORK / "up",
) -> None:
    """Run two embedded Tritons, the gateway and the sidecar until ctrl-C."""
    from embedded.errors import EmbeddedError  # noqa: PLC0415  (an extra, and slow)
    from embedded.provision import provision, provision_envoy  # noqa: PLC0415
    from pilotlight.stack import Ports, Stack, StackDidNotStart, alone_in  # noqa: PLC0415
    from sidecar.errors import SidecarError  # noqa: PLC0415

    if not store.is_dir():
        raise CommandFailed(
            f"there is no model repository {store}",
            remedy="`pilotlight build` makes one from a recipe; name another with --store",
        )
    typed = _typed(soak, budget or ())
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    try:
        own = _own(settings, home.resolve() / "settings.yaml", typed)
        with ExitStack() as running:
            running.enter_context(alone_in(home.resolve()))
            with busy(out.console, "starting two Tritons, the gateway and the sidecar"):
                stack = Stack(
                    provision(EMBEDDED, out.say),
                    home=home.resolve(),
                    store=store.resolve(),
                    ports=Ports.free() if ports is PortChoice.FREE else Ports.usual(),
                    own=own,
                    on_event=lambda line: out.say(Text(line, "dim")),
                    envoy=provision_envoy(ENVOY, out.say),
                )
                running.enter_context(stack)
            _announce(out, stack)
            _announce_readiness(out, stack.url, stop)
            stop.wait()
    except (EmbeddedError, StackDidNotStart, SidecarError) as error:
        raise CommandFailed(str(error)) from error


def _typed(soak_s: float | None, budgets: Iterable[str]) -> dict[str, Any]:
    """What the options say, as keys of the sidecar's settings."""
    keys: dict[str, Any] = {} if soak_s is None else {"soak_s": soak_s}
    sizes = dict(map(_of_device, budgets))
    return keys | {"policy": {"budgets": sizes}} if sizes else keys


def _of_device(text: str) -> tuple[str, str]:
    device, size = budget_parts(text)
    if not device:
        raise typer.BadParameter(f"for which device? Write for example '--budget cpu={text}'")
    return device, size


def _own(file: Path | None, written: Path, typed: Mapping[str, Any]) -> "OwnSettings":
    """What was typed goes before what the user's file says."""
    from pilotlight.own_settings import OwnSettings, joined  # noqa: PLC0415
    from sidecar.settings import read_keys  # noqa: PLC0415

    if file is None:
        return OwnSettings(path=written, keys=typed)
    return OwnSettings(path=file, keys=joined(read_keys(file), typed))


def _announce(out: Output, stack: "Stack") -> None:
    body = {"http": stack.http_address, "grpc": stack.grpc_address, "sidecar": stack.url}
    out.tell(
        body,
        f"models answer at http://{stack.http_address}/v2 (HTTP)\n"
        f"             and {stack.grpc_address} (gRPC)\n"
        f"sidecar at {stack.url}; try `pilotlight status --url {stack.url}`",
    )


def _announce_readiness(out: Output, url: str, stop: threading.Event) -> None:
    """Each change: in a terminal in one place, elsewhere as a line."""
    shown = None
    with connected(url) as admin, busy(out.console, "until every hot model answers") as say:
        while not stop.wait(READY_POLL_S):
            readiness = admin.readiness()
            if readiness["ready"]:
                out.tell(readiness, "[green]ready[/]: every hot model is loaded, warmed and probed")
                return
            if readiness["missing"] != shown:
                shown = readiness["missing"]
                line = readiness_line(readiness).plain
                say(line)
                out.tell(readiness, None if out.console.is_terminal else line)
