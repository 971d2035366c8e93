"""Where commands print, and how they end badly."""

from signal import SIGINT
from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape

UNLIMITED_WIDTH = 1000
WAITS_FOR_A_PERSON = 3
INTERRUPTED = 128 + SIGINT
"""Exit codes beside 0 for success and 1 for failure."""


def open_console() -> Console:
    """A terminal's own width; what goes into a file or a pipe is not cut."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = UNLIMITED_WIDTH
    return console


def fail(console: Console, message: str) -> NoReturn:
    """Print the error and leave with exit code 1."""
    console.print(f"[red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)
