"""How a build looks while it runs."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from pilotlight.commands.output import Output
from pilotlight.commands.progress import live

if TYPE_CHECKING:
    from generator.events import BuildEvent, Built, Failed
    from generator.reproducible import Differs

    Report = Callable[[BuildEvent], None]

T = TypeVar("T")

UNCHANGED = "unchanged"
STYLES = {
    "built": "green",
    UNCHANGED: "dim",
    "failed": "red",
    "reproduced": "green",
    "differs": "red",
}
"""Of the ends of a model's way."""


def told(out: Output, work: "Callable[[Report], T]") -> T:
    """Do `work`, telling what it reports: a line of JSON for each event, or as `shown`."""
    if out.as_json:
        return work(lambda event: out.tell(asdict(event), None))
    return shown(out.console, work)


def shown(console: Console, work: "Callable[[Report], T]") -> T:
    """Do `work` with a live line for each model under way, above them those that have ended.

    Plain lines where there is no terminal. What is unchanged is only counted, by whoever sums up.
    """
    under_way: dict[tuple[str, int | None], BuildEvent] = {}

    with live(console) as show:

        def report(event: "BuildEvent") -> None:
            under_way[event.model, event.version] = event
            has_ended = event.stage in STYLES
            if has_ended:
                del under_way[event.model, event.version]
            show(Text.from_markup("\n".join(map(_line, under_way.values()))))
            if event.stage != UNCHANGED and (has_ended or not console.is_terminal):
                console.print(_line(event))

        return work(report)


def _line(event: "BuildEvent") -> str:
    style = STYLES.get(event.stage, "cyan")
    return f"{escape(f'{named(event):<14}')} [{style}]{event.stage:<10}[/] {event.seconds:6.1f} s"


def named(entry: "BuildEvent | Built | Failed | Differs") -> str:
    return entry.model if entry.version is None else f"{entry.model} {entry.version}"
