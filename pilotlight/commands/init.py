"""`pilotlight init`: a first recipe from what there is."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from pilotlight.commands.output import CommandFailed, ExitCode, Output
from pilotlight.commands.running import command

RECIPE = "models.yaml"
"""How a recipe is called where nobody says so."""


@command(
    "pilotlight init ranker.py",
    "pilotlight init exported/ranker.onnx --recipe models.yaml",
    "pilotlight init ./sentiment --recipe models.yaml",
    "pilotlight init /srv/models --recipe models.yaml --triton 25.08",
    "pilotlight init ranker.py --force && pilotlight build models.yaml",
    extra="generator",
)
def init_command(
    out: Output,
    what: Annotated[
        Path | None,
        typer.Argument(
            help="A Python file that makes models, an ONNX file, a Triton repository, or a "
            "folder of Hugging Face.",
            show_default=False,
        ),
    ] = None,
    *,
    recipe: Annotated[
        Path | None,
        typer.Option(help="Where to write it.", show_default=f"{RECIPE} beside WHAT"),
    ] = None,
    triton: Annotated[
        str, typer.Option(metavar="YY.MM", help="The release that will serve.")
    ] = "24.10",
    force: Annotated[
        bool, typer.Option("--force", help="Write over a recipe that is there.")
    ] = False,
) -> None:
    """Write a recipe to begin with.

    Of a Python file, functions are called that need no arguments and say that
    they return a torch.nn.Module; shapes come from its `example_inputs()`. Of a
    repository, the ONNX models become entries; of a folder of Hugging Face, or
    of several in one folder, those whose class is known. What nobody can know
    is a line with TODO.
    """
    from generator.errors import GeneratorError  # noqa: PLC0415  (an extra)
    from generator.scaffold.begin import begin  # noqa: PLC0415
    from generator.scaffold.text import left_out, to_fill_in, together  # noqa: PLC0415

    if what is None:
        raise CommandFailed(
            "say what to begin from: a Python file that makes models, an ONNX file, a Triton "
            "repository, or a folder of Hugging Face",
            code="usage",
            remedy="such as: pilotlight init ranker.py",
            exit_code=ExitCode.USAGE,
        )
    target = recipe or Path(os.path.relpath(what.absolute().parent), RECIPE)
    if what.exists() and target.exists() and not force:
        raise CommandFailed(
            f"{target} is there already", remedy="write elsewhere with --recipe, or add --force"
        )
    try:
        text = begin(what, recipe_folder=target.absolute().parent, triton=triton)
        target.write_text(text, encoding="utf-8")
    except (GeneratorError, OSError) as error:
        raise CommandFailed(str(error)) from error
    waiting, without_entry = to_fill_in(text), left_out(text)
    for why in without_entry:
        out.say(f"  left out: {escape(why)}")
    for line in together(waiting):
        out.say(f"  to fill in: {escape(line)}")
    out.tell(
        {"recipe": str(target), "to_fill_in": waiting, "left_out": without_entry},
        f"{escape(str(target))} is written; next: "
        + ("fill in its lines with TODO" if waiting else f"pilotlight build {escape(str(target))}"),
    )
