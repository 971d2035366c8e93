"""Work that never ends: it outlives its bugs, and they are told."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from sidecar.runtime.board import Board


async def endlessly(
    task: str, step: Callable[[], Awaitable[None]], board: Board, *, every_s: float
) -> None:
    """Do the step again and again, until cancelled. A bug in it is shown as the task's trouble."""
    bug = None
    while True:
        try:
            await step()
        except Exception as error:  # noqa: BLE001  (nobody else would see it)
            bug = told(task, error, bug)
        else:
            bug = None
        board.trouble(task, bug)
        await asyncio.sleep(every_s)


def told(task: str, error: Exception, known: str | None) -> str:
    """The bug in a sentence. The log gets its traceback, unless it is the one that is `known`."""
    bug = f"bug: {type(error).__name__}: {error}; the log tells more, and it is tried again"
    if bug != known:
        structlog.get_logger("pilotlight").error("task_crashed", task=task, exc_info=error)
    return bug
