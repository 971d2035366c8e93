"""Commands that show what is the case, and why."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from time import sleep
from typing import Annotated
from urllib.parse import urlencode

import typer
from rich.markup import escape
from rich.text import Text

from contract.intent import Tier
from pilotlight.admin import Admin, AdminError
from pilotlight.commands.arguments import Active, Limit, Model, OfModel, offered_operations
from pilotlight.commands.output import ExitCode, Output
from pilotlight.commands.progress import live
from pilotlight.commands.running import command
from pilotlight.views.explanation import explanation_view
from pilotlight.views.health import checks_view
from pilotlight.views.operations import operation_table
from pilotlight.views.status import Status
from sidecar.core.status import Warmth

WATCH_S = 1.0


@command("pilotlight status -w", "pilotlight status --tier hot --json | jq '.models[].name'")
def status_command(
    out: Output,
    admin: Admin,
    *,
    tier: Annotated[Tier | None, typer.Option(help="Only models of this tier.")] = None,
    warmth: Annotated[Warmth | None, typer.Option(help="Only models as warm as this.")] = None,
    limit: Annotated[int | None, typer.Option(help="The most models to show.", min=1)] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again each second, until ctrl-C.")
    ] = False,
) -> None:
    """Show every model, the warmest first, what memory is used for, and what is amiss."""

    def look() -> Status:
        return _look(admin, tier, warmth)

    if watch:
        with suppress(KeyboardInterrupt):
            _watch(out, look, limit)
    else:
        status = look()
        out.show(status.bodies(), status.view(limit=limit))


@command("pilotlight doctor", "pilotlight doctor && pilotlight release ranker 2")
def doctor_command(out: Output, admin: Admin) -> None:
    """Check everything that the sidecar needs, and say what to do about what is amiss.

    Exit code: 0 ready, 1 not ready, 4 no sidecar answers.
    """
    readiness = admin.readiness(verbose=True)
    out.show(readiness, checks_view(readiness))
    if not readiness["ready"]:
        raise typer.Exit(ExitCode.FAILED)


@command("pilotlight explain ranker")
def explain_command(out: Output, admin: Admin, model: Model) -> None:
    """Show why a model is warm or cold, with the numbers that the planner weighs."""
    found = admin.get(f"/v1/models/{model}:explain")
    out.show(found, explanation_view(found, now=datetime.now(UTC)))


@command("pilotlight whoami --token-file operator.token")
def whoami_command(out: Output, admin: Admin) -> None:
    """Show the name and the role that a token stands for."""
    caller = admin.get("/v1/caller")
    out.show(caller, f"{escape(caller['name'])}, {caller['role']}")


@command("pilotlight operations --active", "pilotlight operations load-01J9 --json")
def operations_command(
    out: Output,
    admin: Admin,
    operation: Annotated[
        str | None,
        typer.Argument(help="Only the one with this id.", autocompletion=offered_operations),
    ] = None,
    *,
    model: OfModel = None,
    active: Active = False,
    limit: Limit = 20,
) -> None:
    """Show what was asked for, the newest first, and how it ended."""
    if operation is not None:
        found = admin.get(f"/v1/operations/{operation}")
        out.show(found, operation_table([found]))
        return
    query = {"page_size": limit} | ({"model": model} if model else {})
    query |= {"done": "false"} if active else {}
    operations = admin.get(f"/v1/operations?{urlencode(query)}")["operations"]
    out.show(operations, operation_table(operations))


def _look(admin: Admin, tier: Tier | None, warmth: Warmth | None) -> Status:
    return Status(
        models=admin.models(tier=tier, warmth=warmth),
        devices=admin.get("/v1/devices"),
        control=admin.get("/v1/control"),
        readiness=admin.readiness(),
        gateway=admin.gateway(),
        now=datetime.now(UTC),
    )


def _watch(out: Output, look: Callable[[], Status], limit: int | None) -> None:
    """A sidecar that goes away is looked for until it is back."""
    with live(out.console, stays=True) as show:
        while True:
            try:
                status = look()
            except AdminError as error:
                show(Text(str(error), "red"))
            else:
                if out.console.is_terminal:
                    show(status.fitted(out.console, limit=limit))
                else:
                    out.tell(status.bodies(), status.view(limit=limit))
            sleep(WATCH_S)
