"""What the planner does now, what it would do otherwise, and by which policy."""

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from pilotlight.admin import Admin
from pilotlight.commands.arguments import budget_parts, offered_models
from pilotlight.commands.output import Output
from pilotlight.commands.running import command
from pilotlight.views.explanation import load_sentence
from pilotlight.views.plans import plan_view, policy_view, what_if_view


@command(
    "pilotlight plan --explain",
    "pilotlight plan --budget 24GiB",
    "pilotlight plan --budget gpu:0=40GiB --load ranker",
)
def plan_command(
    out: Output,
    admin: Admin,
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
        typer.Option(
            help="What if: this model had to be loaded; may be given more than once.",
            autocompletion=offered_models,
        ),
    ] = None,
) -> None:
    """Show what the planner is about to do and why, or what it would do with other budgets."""
    if not budget and not load:
        plan, devices = admin.get("/v1/plans"), admin.get("/v1/devices")["devices"]
        out.show(plan, plan_view(plan, devices, explained=explain, now=datetime.now(UTC)))
        return
    budgets = dict(_of_device(text, admin) for text in budget or ())
    loads = {model: admin.get(f"/v1/models/{model}:explain")["load"] for model in load or ()}
    found = admin.ask("/v1/plans", {"budgets": budgets, "load": list(loads)})
    sentences = (Text(load_sentence(model, each)) for model, each in loads.items())
    view = Group(*sentences, what_if_view(found, explained=explain))
    out.show({**found, "loads": loads}, view)


@command("pilotlight policy", "pilotlight policy --json | jq .budgets")
def policy_command(out: Output, admin: Admin) -> None:
    """Show by which policy the planner decides; the settings file says it."""
    policy = admin.get("/v1/policy")
    out.show(policy, policy_view(policy))


def _of_device(text: str, admin: Admin) -> tuple[str, str]:
    """A size alone is for the only device."""
    device, size = budget_parts(text)
    if device:
        return device, size
    known = [each["device"] for each in admin.get("/v1/devices")["devices"]]
    if len(known) != 1:
        devices = ", ".join(known) or "no device with a budget"
        raise typer.BadParameter(
            f"for which device? There is {devices}; write for example 'cpu={text}'"
        )
    return known[0], size
