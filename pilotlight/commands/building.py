"""How a build looks while it runs."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from contract.layout import Store
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
_TOLD = 3


def told(out: Output, work: "Callable[[Report], T]", *, entries: int) -> T:
    """Do `work`, telling what it reports: a line of JSON for each event, or as `shown`."""
    if out.as_json:
        return work(lambda event: out.tell(asdict(event), None))
    return shown(out.console, work, entries=entries)


def shown(console: Console, work: "Callable[[Report], T]", *, entries: int) -> T:
    """Do `work` with a live line for each model under way, above them those that have ended.

    Only these where there is no terminal. Each says how many of all `entries` have ended. What is
    unchanged is only counted.
    """
    under_way: dict[tuple[str, int | None], BuildEvent] = {}
    ended = itertools.count(1)

    with live(console) as show:

        def report(event: "BuildEvent") -> None:
            under_way[event.model, event.version] = event
            has_ended = event.stage in STYLES
            if has_ended:
                del under_way[event.model, event.version]
            show(Text.from_markup("\n".join(map(_line, under_way.values()))))
            if has_ended:
                number = next(ended)
                if event.stage != UNCHANGED:
                    console.print(f"{_line(event)}  {number}/{entries}")

        return work(report)


def _line(event: "BuildEvent") -> str:
    style = STYLES.get(event.stage, "cyan")
    return f"{escape(f'{named(event):<14}')} [{style}]{event.stage:<10}[/] {event.seconds:6.1f} s"


def named(entry: "BuildEvent | Built | Failed | Differs") -> str:
    return entry.model if entry.version is None else f"{entry.model} {entry.version}"


def next_steps(built: "Sequence[Built]", store: Store) -> Iterator[str]:
    """What becomes of the new versions: of a model's first nobody has to take care."""
    newest = {one.model: one.version for one in sorted(built, key=lambda one: one.version)}
    made = {(one.model, one.version) for one in built}
    has_older = {
        model
        for model in newest
        if any((model, version) not in made for version in store.versions(model))
    }
    first = [f"{model} {version}" for model, version in newest.items() if model not in has_older]
    later = [f"{model} {version}" for model, version in newest.items() if model in has_older]
    if first:
        yield (
            f"{_some(first)}: a first version needs no release; it is loaded at its first request, "
            "or at once where it is hot"
        )
    if len(later) == 1:
        yield f"{later[0]} is new: pilotlight release {later[0]}"
    elif later:
        yield (
            f"{len(later)} models have new versions ({_some(later)}): "
            "pilotlight release --all-pending"
        )


def _some(versions: Sequence[str]) -> str:
    rest = len(versions) - _TOLD
    told = ", ".join(versions[:_TOLD])
    return f"{told} and {rest} more" if rest > 0 else told
