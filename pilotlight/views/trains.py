"""Trains of releases."""

from collections import Counter
from collections.abc import Sequence

from rich.console import RenderableType
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pilotlight.views import Body
from pilotlight.views.listing import LABEL, MAY_LACK, WORDS, Listing
from pilotlight.views.releases import BAR_WIDTH
from pilotlight.views.words import brief, clock
from sidecar.core.train import CarState


def train_bar(train: Body) -> RenderableType:
    """How many of its releases have ended."""
    ended = sum(car["state"] not in (CarState.WAITING, CarState.GOING) for car in train["cars"])
    line = Table.grid(padding=(0, 1))
    line.add_row(counted(train), ProgressBar(len(train["cars"]), ended, width=BAR_WIDTH))
    return line


def train_table(trains: Sequence[Body]) -> RenderableType:
    """One line each, in the given order."""
    if not trains:
        return Text("no train yet")
    heads = ("begun", "by", "state", "releases")
    table = Listing(dict.fromkeys(heads, LABEL) | {"id": MAY_LACK, "why": WORDS})
    for train in trains:
        table.add_row(
            clock(train["created_at"]),
            escape(train["actor"]),
            _state(train),
            counted(train),
            train["id"],
            Text(brief(train["stopped"] or "")),
        )
    return table


def counted(train: Body) -> str:
    """How many cars are in which state: `2 done, 1 waiting`."""
    counts = Counter(CarState(car["state"]) for car in train["cars"])
    return ", ".join(f"{counts[state]} {state}" for state in CarState if counts[state])


def _state(train: Body) -> str:
    if train["stopped"] is not None:
        return "[red]stopped[/]"
    return "[green]done[/]" if train["done"] else "[yellow]goes on[/]"
