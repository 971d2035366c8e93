"""`pilotlight build`: a recipe into a model repository."""

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from generator.build import build
from generator.errors import GeneratorError
from generator.events import BuildEvent, BuildReport, Failed
from pilotlight.commands.output import fail
from pilotlight.paths import EXAMPLE, MODEL_REPOSITORY

STYLES = {"built": "green", "unchanged": "dim", "failed": "red"}


def default_jobs() -> int:
    """An export takes one core and up to about 2.7 GB for a model with 2.4 GB of weights."""
    return max(1, (os.cpu_count() or 2) // 2)


def build_command(
    recipe: Annotated[Path, typer.Argument(help="What to build.")] = EXAMPLE / "models.yaml",
    store: Annotated[Path, typer.Option(help="Where to publish.")] = MODEL_REPOSITORY,
    jobs: Annotated[int, typer.Option(help="Models exported at once.", min=1)] = default_jobs(),
) -> None:
    """Export, verify, measure and publish the models that changed."""
    console = Console()
    try:
        report = build_shown(recipe, store, jobs=jobs, console=console)
    except GeneratorError as error:
        fail(console, str(error))
    for failure in report.failed:
        console.print(
            f"[red]{_named(failure)} failed:[/] {escape(failure.reason)}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"{store}: {len(report.built)} built, {len(report.unchanged)} unchanged, "
        f"{len(report.failed)} failed",
        highlight=False,
        soft_wrap=True,
    )
    if report.failed:
        raise typer.Exit(1)


def _named(entry: BuildEvent | Failed) -> str:
    return entry.model if entry.version is None else f"{entry.model} {entry.version}"


def build_shown(recipe: Path, store: Path, *, jobs: int, console: Console) -> BuildReport:
    """Build with a live line per model; plain lines where there is no terminal."""
    events: dict[tuple[str, int | None], BuildEvent] = {}

    def table() -> Table:
        shown = Table.grid(padding=(0, 2))
        for event in events.values():
            stage = f"[{STYLES.get(event.stage, 'cyan')}]{event.stage}[/]"
            shown.add_row(_named(event), stage, f"{event.seconds:.1f} s")
        return shown

    with Live(console=console, get_renderable=table, refresh_per_second=4, transient=True) as live:

        def report(event: BuildEvent) -> None:
            events[event.model, event.version] = event
            if not console.is_terminal:
                console.print(
                    f"{_named(event):<14} {event.stage:<10} {event.seconds:6.1f} s",
                    highlight=False,
                )
            live.refresh()

        built = build(recipe, store, jobs=jobs, report=report)
    if console.is_terminal:
        console.print(table())
    return built
