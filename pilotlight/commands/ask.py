"""Commands that ask for something to be done."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from pilotlight.commands.connection import DEFAULT_URL, Model, TokenFile, Url, connected
from pilotlight.commands.output import fail, open_console
from pilotlight.views.models import control_line, spec_table
from pilotlight.views.words import seconds

Timeout = Annotated[float, typer.Option(help="Seconds to wait for the end.", min=0)]
ANSWER_S = 10.0
"""What an answer may take beyond the wait that it was asked for."""


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


def ensure_command(
    model: Model,
    timeout_s: Annotated[float, typer.Option(help="Seconds to wait.", min=0.001, max=60)] = 30,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Wait until a model answers, as a first request does; it may leave again."""
    console = open_console()
    path = f"/v1/models/{model}:ensure?timeout={timeout_s:.3f}s"
    with connected(console, url, token_file) as admin:
        ensured = admin.ask(path, timeout_s=timeout_s + ANSWER_S)
    console.print(f"{ensured['warmth']}: {model} answers after {seconds(ensured['waited_s'])}")


def unquarantine_command(
    model: Model, url: Url = DEFAULT_URL, token_file: TokenFile = None
) -> None:
    """Let a model be loaded again as if it had never failed."""
    console = open_console()
    with connected(console, url, token_file) as admin:
        admin.ask(f"/v1/models/{model}:unquarantine")
    console.print(f"{escape(model)} may be loaded again")


def set_command(
    model: Model,
    changes: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...",
            help="tier, pin, priority, idle_timeout_s, acceptable_cold_start_s; `key=` takes back.",
        ),
    ],
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Change what is wanted of a model, above the settings file and the store."""
    console = open_console()
    patch = {}
    for change in changes:
        key, equals, value = change.partition("=")
        if not equals:
            fail(console, f"{change!r} is no change; write for example 'tier=warm' or 'pin='")
        patch[key] = value or None
    with connected(console, url, token_file) as admin:
        console.print(spec_table(admin.change_spec(model, patch)))


def pause_command(url: Url = DEFAULT_URL, token_file: TokenFile = None) -> None:
    """Let the sidecar look on and do nothing; what is under way ends."""
    _set_mode("pause", url, token_file)


def resume_command(url: Url = DEFAULT_URL, token_file: TokenFile = None) -> None:
    """Let the sidecar act again."""
    _set_mode("resume", url, token_file)


def drain_command(url: Url = DEFAULT_URL, token_file: TokenFile = None) -> None:
    """Let the sidecar say not ready, and finish what it has begun."""
    _set_mode("drain", url, token_file)


def _set_mode(action: str, url: str, token_file: Path | None) -> None:
    console = open_console()
    with connected(console, url, token_file) as admin:
        console.print(control_line(admin.ask(f"/v1:{action}")))


def _ask(
    path: str, body: dict[str, Any] | None, timeout_s: float, url: str, token_file: Path | None
) -> None:
    """Ask, then show each step of the model's release as it is taken."""
    console = open_console()
    steps_shown = 0

    def show_steps(operation: dict[str, Any]) -> None:
        nonlocal steps_shown
        if operation["release"]:
            steps = admin.release(operation["release"])["steps"]
            for step in steps[steps_shown:]:
                console.print(f"  {step['state']:<15} {escape(step['note'])}")
            steps_shown = len(steps)

    with connected(console, url, token_file) as admin:
        ended = admin.wait(admin.ask(path, body), timeout_s, show_steps)
    console.print(f"[green]done[/]: {ended['kind']} of {ended['model']}")
