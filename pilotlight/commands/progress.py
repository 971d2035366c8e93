"""What moves on a terminal while something takes its time; elsewhere nothing of it is seen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn


@contextmanager
def busy(console: Console, doing: str) -> Iterator[Callable[[str], None]]:
    """A spinner with the time that has passed. Yields what changes its words."""
    with Progress(
        SpinnerColumn("line" if console.options.ascii_only else "dots"),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as shown:
        task = shown.add_task(doing)
        yield lambda words: shown.update(task, description=words)


@contextmanager
def live(console: Console, *, stays: bool = False) -> Iterator[Callable[[RenderableType], None]]:
    """Yields what replaces the view under the printed lines. The last one may stay."""
    if not console.is_terminal:
        yield lambda _view: None
        return
    with Live(console=console, transient=not stays) as shown:
        yield shown.update
