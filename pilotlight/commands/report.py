"""`pilotlight report`: one release as a page for a person who decides."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pilotlight.commands.connection import DEFAULT_URL, TokenFile, Url, connected
from pilotlight.commands.output import fail, open_console
from pilotlight.commands.release import Name


def report_command(
    name: Name,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to write; here by default.",
            dir_okay=False,
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Write one HTML file with every check, picture and step of a release."""
    console = open_console()
    try:
        from pilotlight.report.render import render  # noqa: PLC0415 (an extra)
    except ModuleNotFoundError as error:
        fail(console, f"a report needs {error.name}: pip install 'pilotlight[charts]'")
    with connected(console, url, token_file) as admin:
        found = admin.find_release(name)
        gathered = admin.get(f"{found['location']}/evidence")
    path = output or Path(f"{found['id']}.html")
    try:
        path.write_text(render(found, gathered, made_at=datetime.now(UTC)), encoding="utf-8")
    except OSError as error:
        fail(console, f"the report cannot be written: {error}")
    console.print(f"{escape(str(path))}: {found['state']}, {escape(found['reason'])}")
