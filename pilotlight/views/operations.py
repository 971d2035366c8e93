"""What was asked for, and how it ended."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.markup import escape
from rich.text import Text

from pilotlight.views import Body
from pilotlight.views.listing import LABEL, MAY_LACK, NAME, WORDS, Listing
from pilotlight.views.words import brief, clock, moment, seconds


def operation_table(operations: Sequence[Body]) -> RenderableType:
    """One line each, in the given order."""
    if not operations:
        return Text("nothing was asked for yet")
    table = Listing(
        {"asked for": LABEL, "by": MAY_LACK, "what": LABEL, "of": NAME}
        | {"state": LABEL, "id": MAY_LACK, "why": WORDS}
    )
    for each in operations:
        table.add_row(
            clock(each["created_at"]),
            escape(each["actor"]),
            each["kind"],
            escape(each["model"]),
            _state(each),
            each["id"],
            Text(brief(_why(each))),
        )
    return table


def waits_line(operation: Body) -> Text:
    return Text(f"waits for {operation['waits_for']}", "yellow")


def _why(operation: Body) -> str:
    waits = operation["waits_for"]
    return operation["error"] or (f"waits for {waits}" if waits else "")


def _state(operation: Body) -> str:
    if not operation["done"]:
        return "[yellow]goes on[/]"
    took = moment(operation["finished_at"]) - moment(operation["created_at"])
    ended = f"after {seconds(took.total_seconds())}"
    if operation["error"]:
        return f"[red]failed[/] {ended}"
    return f"[green]done[/] {ended}"
