"""The command for requests that are kept, so that a release can ask both versions them."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pilotlight.admin import Admin
from pilotlight.commands.arguments import Model
from pilotlight.commands.output import CommandFailed, Output
from pilotlight.commands.running import command
from pilotlight.views.recording import recording_view


@command(
    "pilotlight recording ranker",
    "pilotlight recording ranker --percent 1 --most 200 --redact ids",
    "pilotlight recording ranker --add request.json",
)
def recording_command(
    out: Output,
    admin: Admin,
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
) -> None:
    """Show which requests of a model are kept; with an option, replace all that was said of it."""
    given = {"percent": percent, "most": most, "redact": redact}
    said = {name: value for name, value in given.items() if value is not None}
    if off and (said or add):
        raise typer.BadParameter("--off ends all of it; leave the other options out")
    if off:
        admin.end_recording(model)
    if said:
        admin.record(model, said)
    if add is not None:
        admin.hand_over(model, _request(add))
    recording = admin.recording(model)
    out.show(recording, recording_view(recording))


def _request(path: Path) -> dict[str, Any]:
    try:
        request: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError as error:
        raise CommandFailed(f"{path} is no JSON: {error}") from error
    return request
