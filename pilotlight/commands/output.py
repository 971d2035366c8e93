"""How commands end badly."""

from typing import NoReturn

import typer
from rich.console import Console
from rich.markup import escape


def fail(console: Console, message: str) -> NoReturn:
    """Print the error and leave with exit code 1."""
    console.print(f"[red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)
