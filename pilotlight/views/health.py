"""What the sidecar needs, what of it is amiss, and what to do."""

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from pilotlight.views import Body


def readiness_line(readiness: Body) -> Text:
    if readiness["ready"]:
        return Text("ready", "green")
    return Text(f"not ready: {'; '.join(readiness['missing'])}", "red")


def checks_view(readiness: Body) -> RenderableType:
    """A line for each check, and under what is amiss the remedy where there is one."""
    table = Table.grid(padding=(0, 2))
    for check in readiness["checks"]:
        table.add_row(
            "[green]ok[/]" if check["ok"] else "[red]amiss[/]",
            escape(check["name"]),
            escape(check["detail"]),
        )
        if not check["ok"] and check.get("remedy"):
            table.add_row("", "", f"[yellow]{escape(check['remedy'])}[/]")
    return Group(table, readiness_line(readiness))
