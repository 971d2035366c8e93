"""What the planner does now, and what it would do with another budget."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from contract.bytes import format_bytes
from pilotlight.views import Body
from pilotlight.views.words import NONE, ahead, figure, numbers
from sidecar.core.ledger import Hold


def plan_view(
    plan: Body, devices: Sequence[Body], *, explained: bool, now: datetime
) -> RenderableType:
    """What is under way, decided and blocked; `explained` adds the numbers that were weighed."""
    table = Table.grid(padding=(0, 2))
    for device in devices:
        for holder in device["holders"]:
            if doing := _UNDER_WAY.get(holder["hold"]):
                size = f"{format_bytes(holder['bytes'])} on {device['device']}"
                table.add_row(doing, escape(holder["model"]), holder["server"], size)
    for action in (*plan["notes"], *plan["work"]):
        table.add_row(
            action["action"].replace("_", " "),
            escape(action["model"] or NONE),
            action["server"] or "",
            escape(action["reason"]),
        )
        if explained and action["numbers"]:
            table.add_row("", "", "", f"[dim]{numbers(action['numbers'])}[/]")
    for obstacle in plan["blocked"]:
        name, reason = escape(obstacle["model"]), escape(obstacle["reason"])
        table.add_row("[red]blocked[/]", name, "", reason)
    shown = table if table.row_count else Text("nothing to do")
    due = f"plans again {ahead(plan['wake_at'], now)} at the latest" if plan["wake_at"] else ""
    return Group(shown, Text(due, "dim")) if due else shown


_UNDER_WAY = {Hold.RESERVED: "loading", Hold.LEAVING: "leaving"}


def policy_view(policy: Body) -> RenderableType:
    """A line for each of its keys, as the settings have them."""
    table = Table.grid(padding=(0, 2))
    for key, value in policy.items():
        table.add_row(f"[bold]{escape(key)}[/]", escape(_plain(value)))
    return table


def what_if_view(found: Body, *, explained: bool) -> RenderableType:
    """The present next to the other case, and who changes; `explained` shows everybody."""
    now, then = found["now"], found["then"]
    table = Table(box=None, pad_edge=False)
    for column in ("", "now", "then"):
        table.add_column(column, no_wrap=True)
    before, after = _outlook(now), _outlook(then)
    for name in after:
        table.add_row(name, before.get(name, NONE), after[name])
    lines = [Text(f"budget too small: {each}", "red") for each in then["too_small"]]
    return Group(table, "", _choices(now, then, explained=explained), *lines)


def _outlook(outlook: Body) -> dict[str, str]:
    rows = {
        "models held": str(len(outlook["held"])),
        "cold starts": f"{figure(outlook['cold_start_s_per_hour'])} s/h",
    }
    for space in outlook["devices"]:
        held, budget = format_bytes(space["held_bytes"]), format_bytes(space["budget_bytes"])
        more = space["one_more_gib_saves_s_per_hour"]
        rows[space["device"]] = f"{held} of {budget}"
        rows[f"{space['device']}: one more GiB saves"] = f"{figure(more)} s/h"
    return rows


def _choices(now: Body, then: Body, *, explained: bool) -> RenderableType:
    """Who comes and who goes, the most urgent first."""
    held_before = {choice["model"] for choice in now["held"]}
    table = Table(box=None, pad_edge=False)
    for column in ("then", "model", "needs", "saves", "score", "why"):
        table.add_column(column, no_wrap=column != "why")
    for is_held, choices in ((True, then["held"]), (False, then["left_out"])):
        for choice in choices:
            was_held = choice["model"] in held_before
            if explained or is_held != was_held:
                needs = (f"{format_bytes(n)} on {device}" for device, n in choice["needed"].items())
                table.add_row(
                    _FATES[was_held, is_held],
                    escape(choice["model"]),
                    ", ".join(needs),
                    f"{figure(choice['cold_start_s_per_hour'])} s/h",
                    figure(choice["score"]),
                    escape(choice["reason"]),
                )
    return table if table.row_count else Text("the same models are held")


_FATES = {
    (True, True): "stays",
    (False, True): "[green]comes[/]",
    (True, False): "[red]goes[/]",
    (False, False): "[dim]stays out[/]",
}


def _plain(value: object) -> str:
    """Budgets in the units of the settings."""
    if isinstance(value, Mapping):
        budgets = (f"{device} {format_bytes(count)}" for device, count in value.items())
        return ", ".join(budgets) or NONE
    return str(value).lower() if isinstance(value, bool) else str(value)
