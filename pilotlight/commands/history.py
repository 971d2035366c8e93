"""`pilotlight history`: every release that a model ever had."""

import csv
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pilotlight.commands.connection import DEFAULT_URL, Model, TokenFile, Url, connected
from pilotlight.commands.output import fail, open_console
from pilotlight.views.releases import CSV_COLUMNS, history_rows, history_view


def history_command(
    model: Model,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON array.")] = False,
    file: Annotated[
        Path | None, typer.Option("--csv", help="Write a row for each step.", dir_okay=False)
    ] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Tell every release of a model, newest first: who, when, why, and how long each step took."""
    console = open_console()
    with connected(console, url, token_file) as admin:
        releases = list(admin.releases(model=model))
    if as_json:
        typer.echo(json.dumps(releases, indent=2))
    elif file is None:
        console.print(history_view(releases), soft_wrap=True)
    if file is None:
        return
    try:
        with file.open("w", newline="") as lines:
            table = csv.DictWriter(lines, CSV_COLUMNS)
            table.writeheader()
            table.writerows(history_rows(releases))
    except OSError as error:
        fail(console, str(error))
    if not as_json:
        console.print(f"{len(releases)} releases written to {escape(str(file))}")
