"""`pilotlight costs`: what the models of a store cost, as the generator measured it."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.markup import escape

from contract.bytes import format_bytes
from contract.errors import ContractError
from contract.manifest import ShapeCost
from pilotlight.charts import ChartsMissing, draw_costs
from pilotlight.commands.output import CommandFailed, Output
from pilotlight.commands.running import command
from pilotlight.costs import ModelCosts, TotalCosts, read_costs
from pilotlight.paths import MODEL_REPOSITORY
from pilotlight.views.listing import FIGURE, NAME, Listing
from pilotlight.views.words import counted, figure, or_none

Columns = Mapping[str, Callable[[ModelCosts], str]]
"""Cells of a row by the heads of their columns."""


@command(
    "pilotlight costs",
    "pilotlight costs /srv/models --plot costs.png",
    "pilotlight costs --csv models.csv && pilotlight replay trace.csv --models models.csv "
    "--budget 12GiB",
    "pilotlight costs --json | jq '.total.serial_load_s'",
)
def costs_command(
    out: Output,
    store: Annotated[
        Path, typer.Argument(help="Where it was published.", file_okay=False)
    ] = MODEL_REPOSITORY,
    *,
    plot: Annotated[
        Path | None, typer.Option(help="Where to draw it; the suffix says in which format.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--csv", help="Write what `pilotlight replay --models` reads.", dir_okay=False
        ),
    ] = None,
) -> None:
    """Show memory, load seconds and latencies of each model's newest version.

    Of one instance: `private` memory after the load, `+1` what a second one
    adds, `shared` by all, `peak` after the largest shape; seconds to load from
    a disk, and from the page cache. Of the largest shape of the warm-up: the
    first run, a steady one, and how many it takes.
    """
    try:
        costs = read_costs(store)
    except ContractError as error:
        raise CommandFailed(str(error)) from error
    total = TotalCosts.of(costs)
    out.show(
        {"models": [asdict(each) for each in costs], "total": asdict(total)},
        Group(*_tables(costs, out.console), _summed(total), *_notes(costs)),
    )
    if plot:
        try:
            draw_costs(costs, plot)
        except (ChartsMissing, OSError, ValueError) as error:
            raise CommandFailed(str(error)) from error
        out.say(f"{escape(str(plot))} is drawn")
    if file:
        try:
            _write(costs, file)
        except OSError as error:
            raise CommandFailed(str(error)) from error
        out.say(f"{escape(str(file))} is written")


def _write(costs: Sequence[ModelCosts], file: Path) -> None:
    """A row for each model: bytes of all its instances, seconds until it is loaded and warm."""
    # Slow, and only for this.
    from pilotlight.traces import MODEL_COLUMNS  # noqa: PLC0415

    with file.open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(MODEL_COLUMNS)
        for each in costs:
            load_s = each.serial_load_cold_s or each.serial_load_s
            warmup_s = (each.warmup and each.warmup.seconds) or 0.0
            table.writerow([each.model, each.held_bytes, f"{load_s + warmup_s:.3f}"])


def _tables(costs: Sequence[ModelCosts], console: Console) -> Iterator[Listing | str]:
    """One where it fits, else memory above time."""
    whole = _table(costs, {**_MEMORY, **_TIME})
    fits = whole.width <= console.width
    for table in [whole] if fits else [_table(costs, _MEMORY), _table(costs, _TIME)]:
        yield table
        yield ""


def _table(costs: Sequence[ModelCosts], columns: Columns) -> Listing:
    table = Listing({"model": NAME} | dict.fromkeys(columns, FIGURE))
    for each in costs:
        several = f" x{each.instances}" if each.instances > 1 else ""
        name = escape(f"{each.model} {each.version}{several}")
        table.add_row(name, *(cell(each) for cell in columns.values()))
    return table


def _summed(total: TotalCosts) -> str:
    made_of = f"{counted(total.models, 'model')}, {counted(total.instances, 'instance')}"
    return (
        f"{made_of}: {format_bytes(total.disk_bytes)} on disk, {format_bytes(total.held_bytes)} "
        f"held at most, {_seconds(total.serial_load_s)} to load one after the other "
        f"({_seconds(total.serial_load_cold_s)} from a cold disk)"
    )


def _notes(costs: Sequence[ModelCosts]) -> Iterator[str]:
    for each in costs:
        if each.warmup and each.warmup.note:
            yield f"[yellow]{escape(each.model)}:[/] {each.warmup.note}"


def _seconds(seconds: float | None) -> str:
    return or_none(seconds, lambda value: f"{value:.3f} s")


def _of_largest(said: Callable[[ShapeCost], str]) -> Callable[[ModelCosts], str]:
    return lambda each: or_none(each.largest, said)


_MEMORY: Columns = {
    "disk": lambda each: format_bytes(each.disk_bytes),
    "private": lambda each: format_bytes(each.private_bytes),
    "+1": lambda each: or_none(each.further_private_bytes, format_bytes),
    "shared": lambda each: format_bytes(each.shared_bytes),
    "peak": lambda each: format_bytes(each.peak_bytes),
}
_TIME: Columns = {
    "cold load": lambda each: _seconds(each.load_cold_s),
    "load": lambda each: _seconds(each.load_s),
    "first": _of_largest(lambda shape: f"{figure(shape.first_ms)} ms"),
    "steady": _of_largest(lambda shape: f"{figure(shape.steady_ms)} ms"),
    "runs": _of_largest(lambda shape: str(shape.runs_until_steady)),
    "warm-up": lambda each: _seconds(each.warmup.seconds if each.warmup else None),
}
