"""`pilotlight plan`: what the planner does now, and what it would do otherwise."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from pilotlight.admin import Admin
from pilotlight.commands.connection import DEFAULT_URL, TokenFile, Url, connected
from pilotlight.commands.output import fail, open_console
from pilotlight.views.explanation import load_sentence
from pilotlight.views.plans import plan_view, what_if_view


def plan_command(
    *,
    explain: Annotated[
        bool, typer.Option("--explain", help="With the numbers that were weighed.")
    ] = False,
    budget: Annotated[
        list[str] | None,
        typer.Option(help="What if: 12GiB, or gpu:0=40GiB; may be given for several devices."),
    ] = None,
    load: Annotated[
        list[str] | None,
        typer.Option(help="What if: this model had to be loaded; may be given more than once."),
    ] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Show what the planner is about to do and why, or what it would do with other budgets."""
    console = open_console()
    with connected(console, url, token_file) as admin:
        if not budget and not load:
            plan, devices = admin.get("/v1/plans"), admin.get("/v1/devices")["devices"]
            console.print(plan_view(plan, devices, explained=explain, now=datetime.now(UTC)))
            return
        try:
            budgets = dict(_of_device(text, admin) for text in budget or ())
        except ValueError as error:
            fail(console, str(error))
        for model in load or ():
            found = admin.get(f"/v1/models/{model}:explain")
            console.print(load_sentence(model, found["load"]), markup=False, soft_wrap=True)
        body = {"budgets": budgets, "load": load or []}
        console.print(what_if_view(admin.ask("/v1/plans", body), explained=explain))


def _of_device(text: str, admin: Admin) -> tuple[str, str]:
    """`gpu:0=40GiB`; a size alone is for the only device.

    Raises:
        ValueError: there is not exactly one device.
    """
    device, equals, size = text.rpartition("=")
    if equals:
        return device, size
    known = [each["device"] for each in admin.get("/v1/devices")["devices"]]
    if len(known) != 1:
        devices = ", ".join(known) or "no device with a budget"
        raise ValueError(f"for which device? There is {devices}; write for example 'cpu={text}'")
    return known[0], size
