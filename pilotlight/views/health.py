"""What the sidecar needs, what of it is amiss, and what to do."""

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pilotlight.views import Body

MOST_TOLD = 3
"""Of what is missing; two hundred hot models may be on their way."""


def readiness_line(readiness: Body) -> Text:
    if readiness["ready"]:
        return Text("ready", "green")
    told, more = readiness["missing"][:MOST_TOLD], len(readiness["missing"]) - MOST_TOLD
    rest = f"; and {more} more, which `pilotlight doctor` tells" if more > 0 else ""
    return Text(f"not ready: {'; '.join(told)}{rest}", "red")


def checks_view(readiness: Body) -> RenderableType:
    """A line for each check, and under what is amiss the remedy where there is one.

    What ails several in a row is told of the first.
    """
    table = Table.grid(padding=(0, 2))
    before = None
    for check in readiness["checks"]:
        repeated = not check["ok"] and check["detail"] == before
        before = check["detail"]
        table.add_row(
            "[green]ok[/]" if check["ok"] else "[red]amiss[/]",
            escape(check["name"]),
            "the same" if repeated else escape(check["detail"]),
        )
        if not check["ok"] and check.get("remedy") and not repeated:
            table.add_row("", "", f"[yellow]{escape(check['remedy'])}[/]")
    return Group(table, readiness_line(readiness))
