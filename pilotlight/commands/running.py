"""What all commands have in common: where they print, whom they ask, how they end."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from inspect import Parameter, Signature, signature
from typing import Annotated, Any

import typer

from pilotlight.commands.output import CommandFailed, Output

_PANEL = "Output"
AsJson = Annotated[
    bool,
    typer.Option("--json", help="JSON and nothing else; errors on stderr.", rich_help_panel=_PANEL),
]
NoColor = Annotated[
    bool,
    typer.Option("--no-color", help="As with NO_COLOR in the environment.", rich_help_panel=_PANEL),
]


@dataclass(frozen=True, slots=True)
class Command:
    """A part of the command line. `run` takes a command's own options, and the common ones."""

    run: Callable[..., None]
    examples: tuple[str, ...]


def command(*examples: str, extra: str | None = None) -> Callable[[Callable[..., None]], Command]:
    """Turn a function of an `out: Output` and its options into a command.

    Where it has an `admin: Admin` too, it asks a running sidecar. `extra` is what of Pilotlight to
    install where a library is missing.
    """

    def wrap(function: Callable[..., None]) -> Command:
        own = dict(signature(function, eval_str=True).parameters)
        del own["out"]
        work, common = function, _OUTPUT
        if own.pop("admin", None):
            # Slow, and for nothing where no sidecar is asked.
            from pilotlight.commands import connection  # noqa: PLC0415

            work = connection.asking(function)
            url = _option("url", connection.Url, connection.DEFAULT_URL)
            common = (url, _option("token_file", connection.TokenFile, None), *_OUTPUT)

        @wraps(function)
        def run(*, as_json: bool = False, no_color: bool = False, **options: Any) -> None:
            out = Output.open(as_json=as_json, coloured=not no_color)
            try:
                work(out, **options)
            except CommandFailed as error:
                out.fail(error)
            except ModuleNotFoundError as error:
                if extra is None:
                    raise
                out.fail(_of_extra(error, extra))

        run.__signature__ = Signature([*own.values(), *common])  # type: ignore[attr-defined]
        return Command(run, examples)

    return wrap


def _option(name: str, annotation: object, default: object) -> Parameter:
    return Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


_OUTPUT: tuple[Parameter, ...] = (
    _option("as_json", AsJson, default=False),
    _option("no_color", NoColor, default=False),
)


def _of_extra(error: ModuleNotFoundError, extra: str) -> CommandFailed:
    return CommandFailed(
        f"{error.name} is not installed",
        code="extra_missing",
        remedy=f"pip install 'pilotlight[{extra}]'",
    )
