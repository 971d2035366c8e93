"""What was released: of one model in full, of all at a glance."""

import csv
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pilotlight.admin import Admin
from pilotlight.commands.arguments import Active, Limit, Model, OfModel
from pilotlight.commands.output import CommandFailed, Output
from pilotlight.commands.running import command
from pilotlight.views.releases import CSV_COLUMNS, history_rows, history_view, release_table


@command("pilotlight releases --active", "pilotlight releases --model ranker --limit 5")
def releases_command(
    out: Output,
    admin: Admin,
    *,
    model: OfModel = None,
    active: Active = False,
    limit: Limit = 20,
) -> None:
    """Show the newest releases, one line each."""
    found = admin.releases(model=model, active="true" if active else None)
    releases = list(islice(found, limit))
    out.show(releases, release_table(releases))


@command("pilotlight history ranker", "pilotlight history ranker --csv ranker.csv")
def history_command(
    out: Output,
    admin: Admin,
    model: Model,
    *,
    file: Annotated[
        Path | None, typer.Option("--csv", help="Write a row for each step.", dir_okay=False)
    ] = None,
) -> None:
    """Tell every release of a model, newest first: who, when, why, and how long each step took."""
    releases = list(admin.releases(model=model))
    if file is None:
        out.show(releases, history_view(releases))
        return
    try:
        with file.open("w", newline="") as lines:
            table = csv.DictWriter(lines, CSV_COLUMNS)
            table.writeheader()
            table.writerows(history_rows(releases))
    except OSError as error:
        raise CommandFailed(str(error)) from error
    out.show(releases, f"{len(releases)} releases written to {escape(str(file))}")
