"""Where commands print: words for people, or JSON and nothing else; and how they end badly."""

import codecs
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from io import TextIOWrapper
from signal import SIGINT
from typing import Any, Literal, NoReturn, Self, TextIO

import typer
from rich.console import Console, RenderableType
from rich.markup import escape

UNLIMITED_WIDTH = 1000
DUMB = ("dumb", "unknown")
LOOKALIKES = "pilotlight.lookalikes"
_ASCII = {
    **dict.fromkeys("█▇▆▓", "#"),
    **dict.fromkeys("▅▄▒", "+"),
    **dict.fromkeys("▃▂░", "-"),
    **dict.fromkeys("▁·", "."),
    "…": "~",
}


class ExitCode(IntEnum):
    """How a command ends; `pilotlight --help` shows them."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    WAITS_FOR_A_PERSON = 3
    UNREACHABLE = 4
    INTERRUPTED = 128 + SIGINT

    @property
    def meaning(self) -> str:
        return _MEANINGS[self]


_MEANINGS = {
    ExitCode.DONE: "done",
    ExitCode.FAILED: "refused, failed, rolled back or not ready",
    ExitCode.USAGE: "the command line was not understood",
    ExitCode.WAITS_FOR_A_PERSON: "a release waits for a person",
    ExitCode.UNREACHABLE: "no sidecar answers",
    ExitCode.INTERRUPTED: "ctrl-C; what the sidecar has begun goes on",
}


class CommandFailed(Exception):
    """What a command could not do.

    `code` is for programs and stays, as those of the REST API do. `remedy` is what to type or to
    change, where the message does not say so itself. `problem` is the sidecar's whole answer.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "failed",
        remedy: str | None = None,
        problem: Mapping[str, Any] | None = None,
        exit_code: ExitCode = ExitCode.FAILED,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.remedy = remedy
        self.problem = problem
        self.exit_code = exit_code

    def body(self) -> dict[str, Any]:
        """What `--json` says of it."""
        return {
            "code": self.code,
            "message": str(self),
            "remedy": self.remedy,
            "problem": self.problem,
            "exit_code": self.exit_code,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One command's answer, in words or in JSON.

    Words go to `console`, which is silent where JSON is asked for; errors go to stderr. A view
    is made from the body that JSON shows, so that neither knows more than the other.
    """

    as_json: bool
    console: Console
    errors: Console
    stdout: TextIO

    @classmethod
    def open(cls, *, as_json: bool = False, coloured: bool = True) -> Self:
        return cls(
            as_json=as_json,
            console=_console(sys.stdout, coloured=coloured, quiet=as_json),
            errors=_console(sys.stderr, coloured=coloured),
            stdout=sys.stdout,
        )

    def show(self, body: object, view: RenderableType) -> None:
        """The whole answer: one JSON document."""
        if self.as_json:
            typer.echo(json.dumps(body, indent=2), file=self.stdout)
        else:
            self.console.print(view)

    def tell(self, body: object, view: RenderableType | None) -> None:
        """One of many as it comes: a line of JSON. Without a view it is for programs alone."""
        if self.as_json:
            typer.echo(json.dumps(body), file=self.stdout)
        elif view is not None:
            self.say(view)

    def say(self, words: RenderableType) -> None:
        """For people alone."""
        self.console.print(words, soft_wrap=True)

    def fail(self, error: CommandFailed) -> NoReturn:
        """Leave with the error's exit code."""
        if self.as_json:
            typer.echo(json.dumps({"error": error.body()}), err=True)
        else:
            remedy = f"\n  {escape(error.remedy)}" if error.remedy else ""
            self.errors.print(f"[red]error:[/] {escape(str(error))}{remedy}", soft_wrap=True)
        raise typer.Exit(error.exit_code)


def use_lookalikes() -> None:
    """What the encoding of a stream has no sign for is printed as something similar."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=LOOKALIKES)


def _console(stream: TextIO, *, coloured: bool, quiet: bool = False) -> Console:
    """A terminal's own width; what goes into a file or a pipe is not cut.

    Only a terminal sees what moves. `NO_COLOR` and `FORCE_COLOR` decide about colours alone.
    """
    is_terminal = stream.isatty() and os.environ.get("TERM") not in DUMB
    console = Console(
        file=stream,
        quiet=quiet,
        highlight=False,
        force_terminal=is_terminal and not quiet,
        color_system=_colours(is_terminal=is_terminal) if coloured else None,
    )
    if not is_terminal:
        console.width = UNLIMITED_WIDTH
    return console


def _colours(*, is_terminal: bool) -> Literal["auto", "standard"] | None:
    if os.environ.get("NO_COLOR"):
        return None
    if not is_terminal and os.environ.get("FORCE_COLOR"):
        return "standard"
    return "auto"


def _lookalike(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    missing = error.object[error.start : error.end]
    return "".join(_ASCII.get(each, "?") for each in missing), error.end


codecs.register_error(LOOKALIKES, _lookalike)
