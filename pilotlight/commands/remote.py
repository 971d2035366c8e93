"""Commands that ask a running sidecar."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pilotlight.admin import Admin, AdminError
from pilotlight.commands.output import fail

Url = Annotated[str, typer.Option(help="The sidecar's address.", envvar="PILOTLIGHT_URL")]
TokenFile = Annotated[
    Path | None,
    typer.Option(help="File with its bearer token.", envvar="PILOTLIGHT_TOKEN_FILE"),
]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the end.", min=0)]
Model = Annotated[str, typer.Argument(help="The model's name.")]

DEFAULT_URL = "http://127.0.0.1:8080"
WARMTH_STYLES = {"warmed": "green", "loaded": "yellow", "disk": "dim"}


def status_command(url: Url = DEFAULT_URL, token_file: TokenFile = None) -> None:
    """Show every model: tier, warmth, versions, and why."""
    console = Console()
    with _admin(url, token_file) as admin:
        try:
            models, readiness = admin.models(), admin.readiness()
        except AdminError as error:
            fail(console, str(error))
    table = Table(box=None, pad_edge=False)
    for column in ("model", "tier", "warmth", "serves", "in store", "why"):
        table.add_column(column)
    for model in models:
        warmth = f"[{WARMTH_STYLES[model['warmth']]}]{model['warmth']}[/]"
        serves = ", ".join(map(str, model["ready_versions"])) or "-"
        stored = ", ".join(map(str, model["versions"]))
        table.add_row(model["name"], model["tier"], warmth, serves, stored, escape(model["reason"]))
    console.print(table)
    missing = escape("; ".join(readiness["missing"]))
    console.print("[green]ready[/]" if readiness["ready"] else f"not ready: {missing}")


def load_command(
    model: Model, timeout_s: Timeout = 600, url: Url = DEFAULT_URL, token_file: TokenFile = None
) -> None:
    """Load and warm a model, and keep it."""
    _ask(f"/v1/models/{model}:load", None, timeout_s, url, token_file)


def unload_command(
    model: Model, timeout_s: Timeout = 600, url: Url = DEFAULT_URL, token_file: TokenFile = None
) -> None:
    """Unload a cold model."""
    _ask(f"/v1/models/{model}:unload", None, timeout_s, url, token_file)


def release_command(
    model: Model,
    version: Annotated[int, typer.Argument(help="The version that is to get the traffic.")],
    timeout_s: Timeout = 3600,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Prove a version on canary, promote it, and watch until it serves alone."""
    _ask(f"/v1/models/{model}/releases", {"version": version}, timeout_s, url, token_file)


def rollback_command(
    model: Model, timeout_s: Timeout = 600, url: Url = DEFAULT_URL, token_file: TokenFile = None
) -> None:
    """Move the traffic back to the version before."""
    _ask(f"/v1/models/{model}:rollback", None, timeout_s, url, token_file)


def _ask(
    path: str, body: dict[str, Any] | None, timeout_s: float, url: str, token_file: Path | None
) -> None:
    """Ask, then show each step of the model's release as it is taken."""
    console = Console()
    steps_shown = 0

    def show_steps(operation: dict[str, Any]) -> None:
        nonlocal steps_shown
        if operation["release"]:
            steps = admin.release(operation["release"])["steps"]
            for step in steps[steps_shown:]:
                console.print(f"  {step['state']:<15} {escape(step['note'])}", highlight=False)
            steps_shown = len(steps)

    with _admin(url, token_file) as admin:
        try:
            ended = admin.wait(admin.ask(path, body), timeout_s, show_steps)
        except AdminError as error:
            fail(console, str(error))
    console.print(f"[green]done[/]: {ended['kind']} of {ended['model']}")


def _admin(url: str, token_file: Path | None) -> Admin:
    return Admin(url, token_file.read_text().strip() if token_file else None)
