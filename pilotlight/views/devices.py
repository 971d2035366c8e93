"""Memory of each device as a bar: who holds it, and what is free."""

from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from contract.bytes import format_bytes
from pilotlight.views import Body

BAR_WIDTH = 32

Part = tuple[str, int, str, str]
"""What it is, its bytes, its character, its colour."""


def memory_bars(devices: Sequence[Body]) -> RenderableType:
    """One line for each device, against its budget."""
    table = Table.grid(padding=(0, 2))
    for device in devices:
        parts = list(_parts(device))
        table.add_row(device["device"], _bar(device, parts), _said(device, parts))
    return table


def _parts(device: Body) -> Iterator[Part]:
    """All that takes from the budget. Of others, what they use beyond what it leaves them."""
    ours = [
        ("held", device["held_bytes"], "█", "green"),
        ("loading", device["reserved_bytes"], "▓", "yellow"),
        ("leaving", device["leaving_bytes"], "▒", "blue"),
    ]
    yield from ours
    left = device["budget_bytes"] - device["free_bytes"]
    yield "others", left - sum(count for _, count, _, _ in ours), "░", "magenta"


def _bar(device: Body, parts: list[Part]) -> Text:
    """What is held beyond the budget is cut off."""
    bar = Text()
    reached = 0
    for _, count, character, style in parts:
        reached += count
        end = min(BAR_WIDTH, round(BAR_WIDTH * reached / device["budget_bytes"]))
        bar.append(character * (end - len(bar)), style)
    return bar.append("·" * (BAR_WIDTH - len(bar)), "dim")


def _said(device: Body, parts: list[Part]) -> Text:
    free, budget = device["free_bytes"], format_bytes(device["budget_bytes"])
    state = f"{format_bytes(free)} free" if free >= 0 else f"{format_bytes(-free)} too much"
    said = Text(f"{state} of {budget}")
    for name, count, character, style in parts:
        if count:
            said.append("  ").append(character, style).append(f" {name} {format_bytes(count)}")
    return said
