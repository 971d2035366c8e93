"""Commands that ask for something to be done."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.text import Text

from pilotlight.admin import Admin
from pilotlight.commands.arguments import Model, Timeout, offered_releases, offered_versions
from pilotlight.commands.output import Output
from pilotlight.commands.progress import busy
from pilotlight.commands.release import ask_of_release
from pilotlight.commands.running import command
from pilotlight.views import Body
from pilotlight.views.models import control_line, spec_view
from pilotlight.views.operations import waits_line
from pilotlight.views.words import seconds

OfRelease = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL|RELEASE]",
        help="Only this model's newest release, or its id.",
        autocompletion=offered_releases,
    ),
]
ANSWER_S = 10.0
"""What an answer may take beyond the wait that it was asked for."""


@command("pilotlight load ranker", "pilotlight load ranker --timeout-s 60 --json")
def load_command(out: Output, admin: Admin, model: Model, timeout_s: Timeout = 600) -> None:
    """Load and warm a model, and keep it."""
    _ask(out, admin, "load", model, timeout_s)


@command("pilotlight unload ranker")
def unload_command(out: Output, admin: Admin, model: Model, timeout_s: Timeout = 120) -> None:
    """Unload a cold model."""
    _ask(out, admin, "unload", model, timeout_s)


@command("pilotlight ensure ranker --timeout-s 10")
def ensure_command(
    out: Output,
    admin: Admin,
    model: Model,
    timeout_s: Annotated[float, typer.Option(help="Seconds to wait.", min=0.001, max=60)] = 30,
) -> None:
    """Wait until a model answers, as a first request does; it may leave again."""
    path = f"/v1/models/{model}:ensure?timeout={timeout_s:.3f}s"
    with busy(out.console, f"waiting for {model}"):
        ensured = admin.ask(path, timeout_s=timeout_s + ANSWER_S)
    took = seconds(ensured["waited_s"])
    out.show(ensured, Text(f"{ensured['outcome']}: {model} answers after {took}"))


@command("pilotlight unquarantine ranker")
def unquarantine_command(out: Output, admin: Admin, model: Model) -> None:
    """Let a model be loaded again as if it had never failed."""
    admin.ask(f"/v1/models/{model}:unquarantine")
    out.show(admin.model(model), f"{escape(model)} may be loaded again")


@command("pilotlight unreject ranker 3")
def unreject_command(
    out: Output,
    admin: Admin,
    model: Model,
    version: Annotated[
        int,
        typer.Argument(help="The version that was rejected.", autocompletion=offered_versions),
    ],
) -> None:
    """Let a version be released again as if nothing had spoken against it."""
    admin.clear_rejection(model, version)
    out.show(admin.model(model), f"version {version} of {escape(model)} may be released again")


@command(
    "pilotlight set ranker tier=warm priority=2",
    "pilotlight set ranker tier=      # as the settings file and the store say",
    "pilotlight set ranker            # what holds",
)
def set_command(
    out: Output,
    admin: Admin,
    model: Model,
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="tier, pin, priority, idle_timeout_s, acceptable_cold_start_s; `key=` takes back.",
        ),
    ] = None,
) -> None:
    """Show what is wanted of a model, or change it, above the settings file and the store."""
    patch = dict(map(_change, changes or ()))
    spec = admin.change_spec(model, patch) if patch else admin.get(f"/v1/models/{model}/spec")
    out.show(spec, spec_view(spec))


@command("pilotlight pause             # begin nothing at all", "pilotlight pause ranker")
def pause_command(
    out: Output, admin: Admin, release: OfRelease = None, timeout_s: Timeout = 600
) -> None:
    """Let one release stay where it is; without a name, begin nothing at all."""
    _stop_or_go(out, admin, "pause", release, timeout_s)


@command("pilotlight resume", "pilotlight resume ranker")
def resume_command(
    out: Output, admin: Admin, release: OfRelease = None, timeout_s: Timeout = 600
) -> None:
    """Let one release go on; without a name, the whole sidecar."""
    _stop_or_go(out, admin, "resume", release, timeout_s)


@command("pilotlight drain && pilotlight status")
def drain_command(out: Output, admin: Admin) -> None:
    """Let the sidecar say not ready and finish what it has begun, until it is started again."""
    _set_mode(out, admin, "drain")


def _change(text: str) -> tuple[str, str | None]:
    key, equals, value = text.partition("=")
    if not equals:
        raise typer.BadParameter(f"{text!r} is no change; write for example 'tier=warm' or 'pin='")
    return key, value or None


def _stop_or_go(
    out: Output, admin: Admin, action: str, release: str | None, timeout_s: float
) -> None:
    if release is None:
        _set_mode(out, admin, action)
    else:
        ask_of_release(out, admin, action, release, timeout_s)


def _set_mode(out: Output, admin: Admin, action: str) -> None:
    control = admin.ask(f"/v1:{action}")
    out.show(control, control_line(control))


def _ask(out: Output, admin: Admin, action: str, model: str, timeout_s: float) -> None:
    told: set[str | None] = {None}

    def look(operation: Body) -> None:
        """Say once what it waits for."""
        if operation["waits_for"] not in told:
            told.add(operation["waits_for"])
            out.say(waits_line(operation))

    with busy(out.console, f"{action} of {model}"):
        ended = admin.wait(admin.ask(f"/v1/models/{model}:{action}"), timeout_s, look)
    out.show(ended, f"[green]done[/]: {ended['kind']} of {escape(ended['model'])}")
