"""Commands that show what is the case, and why."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from time import sleep
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from contract.intent import Tier
from pilotlight.admin import Admin, AdminError
from pilotlight.commands.connection import DEFAULT_URL, Model, TokenFile, Url, connected
from pilotlight.commands.output import open_console
from pilotlight.views.explanation import explanation_view
from pilotlight.views.status import Status
from sidecar.core.status import Warmth

WATCH_S = 1.0


def status_command(
    *,
    tier: Annotated[Tier | None, typer.Option(help="Only models of this tier.")] = None,
    warmth: Annotated[Warmth | None, typer.Option(help="Only models as warm as this.")] = None,
    limit: Annotated[int | None, typer.Option(help="The most models to show.", min=1)] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again each second, until ctrl-C.")
    ] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Show every model, the warmest first, what memory is used for, and what is amiss."""
    console = open_console()
    with connected(console, url, token_file) as admin:

        def look() -> Status:
            return _look(admin, tier, warmth)

        if watch:
            with suppress(KeyboardInterrupt):
                _watch(console, look, limit)
        else:
            console.print(look().view(limit=limit))


def explain_command(model: Model, url: Url = DEFAULT_URL, token_file: TokenFile = None) -> None:
    """Show why a model is warm or cold, with the numbers that the planner weighs."""
    console = open_console()
    with connected(console, url, token_file) as admin:
        found = admin.get(f"/v1/models/{model}:explain")
    console.print(explanation_view(found, now=datetime.now(UTC)))


def _look(admin: Admin, tier: Tier | None, warmth: Warmth | None) -> Status:
    return Status(
        models=admin.models(tier=tier, warmth=warmth),
        devices=admin.get("/v1/devices"),
        control=admin.get("/v1/control"),
        readiness=admin.readiness(),
        gateway=admin.gateway(),
        now=datetime.now(UTC),
    )


def _watch(console: Console, look: Callable[[], Status], limit: int | None) -> None:
    """A sidecar that goes away is looked for until it is back."""
    with Live(console=console, auto_refresh=False) as live:
        while True:
            try:
                view = look().fitted(console, limit=limit)
            except AdminError as error:
                view = Text(str(error), "red")
            live.update(view, refresh=True)
            sleep(WATCH_S)
