"""Commands that ask for something to be done."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pilotlight.commands.connection import DEFAULT_URL, Model, TokenFile, Url, connected
from pilotlight.commands.output import fail, open_console
from pilotlight.commands.release import Timeout, ask_of_release
from pilotlight.views.models import control_line, spec_table
from pilotlight.views.words import seconds

OfRelease = Annotated[
    str | None,
    typer.Argument(metavar="[MODEL|RELEASE]", help="Only this model's newest release, or its id."),
]
ANSWER_S = 10.0
"""What an answer may take beyond the wait that it was asked for."""


def load_command(
    model: Model, timeout_s: Timeout = 600, url: Url = DEFAULT_URL, token_file: TokenFile = None
) -> None:
    """Load and warm a model, and keep it."""
    _ask(f"/v1/models/{model}:load", timeout_s, url, token_file)


def unload_command(
    model: Model, timeout_s: Timeout = 600, url: Url = DEFAULT_URL, token_file: TokenFile = None
) -> None:
    """Unload a cold model."""
    _ask(f"/v1/models/{model}:unload", timeout_s, url, token_file)


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


def unreject_command(
    model: Model,
    version: Annotated[int, typer.Argument(help="The version that was rejected.")],
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Let a version be released again as if nothing had spoken against it."""
    console = open_console()
    with connected(console, url, token_file) as admin:
        admin.clear_rejection(model, version)
    console.print(f"version {version} of {escape(model)} may be released again")


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


def pause_command(
    release: OfRelease = None,
    timeout_s: Timeout = 600,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Let one release stay where it is; without a name, begin nothing at all."""
    _stop_or_go("pause", release, timeout_s, url, token_file)


def resume_command(
    release: OfRelease = None,
    timeout_s: Timeout = 600,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Let one release go on; without a name, the whole sidecar."""
    _stop_or_go("resume", release, timeout_s, url, token_file)


def drain_command(url: Url = DEFAULT_URL, token_file: TokenFile = None) -> None:
    """Let the sidecar say not ready, and finish what it has begun."""
    _set_mode("drain", url, token_file)


def _stop_or_go(
    action: str, release: str | None, timeout_s: float, url: str, token_file: Path | None
) -> None:
    if release is None:
        _set_mode(action, url, token_file)
    else:
        ask_of_release(action, release, timeout_s, url, token_file)


def _set_mode(action: str, url: str, token_file: Path | None) -> None:
    console = open_console()
    with connected(console, url, token_file) as admin:
        console.print(control_line(admin.ask(f"/v1:{action}")))


def _ask(path: str, timeout_s: float, url: str, token_file: Path | None) -> None:
    console = open_console()
    with connected(console, url, token_file) as admin:
        ended = admin.wait(admin.ask(path), timeout_s)
    console.print(f"[green]done[/]: {ended['kind']} of {escape(ended['model'])}")
