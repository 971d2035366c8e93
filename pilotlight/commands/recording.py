"""The command for requests that are kept, so that a release can ask both versions them."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pilotlight.commands.connection import DEFAULT_URL, Model, TokenFile, Url, connected
from pilotlight.commands.output import fail, open_console
from pilotlight.views.recording import recording_view


def recording_command(
    model: Model,
    *,
    percent: Annotated[
        int | None, typer.Option(help="Percentage of requests that the gateway copies to us.")
    ] = None,
    most: Annotated[int | None, typer.Option(help="How many are kept: the newest.")] = None,
    redact: Annotated[
        list[str] | None,
        typer.Option(metavar="INPUT", help="Keep no value of this input; may be repeated."),
    ] = None,
    add: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Keep this request for inference, in JSON as Triton takes it.",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="End it, and forget what was kept.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Show which requests of a model are kept; with an option, replace all that was said of it."""
    console = open_console()
    given = {"percent": percent, "most": most, "redact": redact}
    said = {name: value for name, value in given.items() if value is not None}
    if off and (said or add):
        fail(console, "--off ends all of it; leave the other options out")
    with connected(console, url, token_file) as admin:
        if off:
            admin.end_recording(model)
        if said:
            admin.record(model, said)
        if add is not None:
            admin.hand_over(model, _request(console, add))
        console.print(recording_view(admin.recording(model)))


def _request(console: Console, path: Path) -> dict[str, Any]:
    try:
        request: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        fail(console, f"{path} is no JSON: {error}")
    return request
