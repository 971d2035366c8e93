"""`pilotlight report`: one release as a page for a person who decides."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from pilotlight.admin import Admin
from pilotlight.commands.arguments import ReleaseName
from pilotlight.commands.output import CommandFailed, Output
from pilotlight.commands.release import find_release
from pilotlight.commands.running import command


@command("pilotlight report ranker", "pilotlight report ranker -o evidence.html", extra="charts")
def report_command(
    out: Output,
    admin: Admin,
    name: ReleaseName,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to write.",
            dir_okay=False,
            show_default="the release's id, here",
        ),
    ] = None,
) -> None:
    """Write one HTML file with every check, picture and step of a release."""
    from pilotlight.report.render import render  # noqa: PLC0415  (an extra)

    found = find_release(admin, name)
    gathered = admin.get(f"{found['location']}/evidence")
    path = output or Path(f"{found['id']}.html")
    try:
        path.write_text(render(found, gathered, made_at=datetime.now(UTC)), encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"the report cannot be written: {error}") from error
    said = {"path": str(path), "release": found, "evidence": gathered}
    out.show(said, Text(f"{path}: {found['state']}, {found['reason']}"))
