"""`pilotlight schema`: what a file may say, for editors."""

from typing import Annotated

import typer

from pilotlight.commands.output import Output
from pilotlight.commands.running import command
from pilotlight.schema import Kind, published


@command("pilotlight schema settings > settings.schema.json")
def schema_command(
    out: Output, kind: Annotated[Kind, typer.Argument(help="Which file.", show_default=False)]
) -> None:
    """Print the JSON Schema of a settings file or of a recipe.

    An editor completes and explains keys with it, and marks what is wrong: let the file begin
    with `# yaml-language-server: $schema=settings.schema.json`.
    """
    # JSON as it is, whether asked for with --json or not.
    typer.echo(published(kind), file=out.stdout, nl=False)
