"""How commands reach a running sidecar."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pilotlight.admin import Admin, AdminError
from pilotlight.commands.output import fail

Url = Annotated[str, typer.Option(help="The sidecar's address.", envvar="PILOTLIGHT_URL")]
TokenFile = Annotated[
    Path | None,
    typer.Option(
        help="File with its bearer token.",
        envvar="PILOTLIGHT_TOKEN_FILE",
        exists=True,
        dir_okay=False,
    ),
]
Model = Annotated[str, typer.Argument(help="The model's name.")]

DEFAULT_URL = "http://127.0.0.1:8080"


@contextmanager
def connected(console: Console, url: str, token_file: Path | None) -> Iterator[Admin]:
    """A client; what the sidecar refuses ends the command with its own words."""
    with Admin(url, token_file.read_text().strip() if token_file else None) as admin:
        try:
            yield admin
        except AdminError as error:
            fail(console, str(error))
