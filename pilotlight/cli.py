"""The command `pilotlight`.

A command's module is imported when the command is called: many of them need libraries that take
longer to import than another command takes to run.
"""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from pilotlight import commands
from pilotlight.commands.output import CommandFailed, ExitCode, Output, use_lookalikes
from pilotlight.commands.running import Command

HELP = """No user of a model meets a cold start: build, serve and release models on Triton.

[bold]pilotlight build models.yaml[/]   a recipe becomes a model repository
[bold]pilotlight up[/]                  Tritons, gateway and sidecar on this machine
[bold]pilotlight release ranker 2[/]    a version is proven, then promoted

Next: [bold]pilotlight status -w[/] to look, [bold]pilotlight doctor[/] if something is amiss,
[bold]pilotlight COMMAND --help[/] for examples; [bold]--json[/] in scripts.
"""
EPILOG = "[bold]Exit codes[/]\n" + "\n".join(f"  {code:3}  {code.meaning}" for code in ExitCode)

COMMANDS: dict[str, dict[str, str]] = {
    "Build and run": {
        "init": "init",
        "build": "build",
        "prune": "prune",
        "lint": "lint",
        "costs": "costs",
        "verify": "verify",
        "up": "run",
        "serve": "run",
        "demo": "demo",
        "schema": "schema",
    },
    "Look": {
        "status": "show",
        "doctor": "show",
        "explain": "show",
        "plan": "plan",
        "policy": "plan",
        "operations": "show",
        "whoami": "show",
        "events": "events",
        "audit": "events",
        "replay": "replay",
    },
    "Models": {
        "load": "ask",
        "unload": "ask",
        "ensure": "ask",
        "set": "ask",
        "unquarantine": "ask",
    },
    "Releases": {
        "release": "release",
        "watch": "release",
        "promote": "release",
        "abort": "release",
        "rollback": "release",
        "train": "train",
        "trains": "train",
        "releases": "history",
        "history": "history",
        "report": "report",
        "unreject": "ask",
    },
    "Requests of clients": {
        "gateway": "traffic",
        "traffic": "traffic",
        "recording": "recording",
    },
    "A release, or the whole sidecar": {
        "pause": "ask",
        "resume": "ask",
        "drain": "ask",
    },
}
"""The module of each, under the headings of help. There it is the function `NAME_command`."""
_PANELS = {name: panel for panel, names in COMMANDS.items() for name in names}
_MODULES = {name: module for names in COMMANDS.values() for name, module in names.items()}


def find(name: str) -> Command:
    """Import a command."""
    module = import_module(f"{commands.__name__}.{_MODULES[name]}")
    found: Command = getattr(module, f"{name}_command")
    return found


@cache
def _docstrings(module: str) -> dict[str, str | None]:
    """Of a module's functions; it is read, not imported."""
    source = Path(commands.__path__[0], f"{module}.py").read_text(encoding="utf-8")
    functions = (each for each in ast.parse(source).body if isinstance(each, ast.FunctionDef))
    return {each.name: ast.get_docstring(each) for each in functions}


class _Parsers(Mapping[str, Any]):
    """What reads a command's arguments; imports it where it is looked up."""

    def __getitem__(self, name: str) -> Any:
        found = find(name)
        examples = "\n".join(f"  $ {escape(example)}" for example in found.examples)
        epilog = f"[bold]Examples[/]\n{examples}"
        alone = typer.Typer(add_completion=False, rich_markup_mode="rich")
        alone.command(name, epilog=epilog, rich_help_panel=_PANELS[name])(found.run)
        return get_command(alone)

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


class _Group(TyperGroup):
    """Imports a command to call it, not to list it.

    It says in JSON too what cannot be understood, where JSON is asked for.
    """

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = _Parsers()  # type: ignore[assignment]  # nobody adds to it

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """A command as it is listed: without arguments."""
        if cmd_name not in _MODULES:
            return None
        told = _docstrings(_MODULES[cmd_name])[f"{cmd_name}_command"]
        return TyperCommand(cmd_name, help=told, rich_help_panel=_PANELS[cmd_name])

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        return name, self.commands[name] if name else None, rest

    def main(self, *args: Any, **how: Any) -> Any:
        use_lookalikes()
        return super().main(*args, **how)

    def invoke(self, ctx: Any) -> Any:
        as_json = "--json" in ctx.args
        try:
            return super().invoke(ctx)
        except typer.TyperException as error:
            if not as_json:
                raise
            message, code = error.format_message(), ExitCode.USAGE
            Output.open(as_json=True).fail(CommandFailed(message, code="usage", exit_code=code))


app = typer.Typer(
    cls=_Group,
    help=HELP,
    epilog=EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _show_version(wanted: bool) -> None:  # noqa: FBT001  (typer's way to call)
    if wanted:
        # Half of what this takes.
        from importlib.metadata import version  # noqa: PLC0415

        typer.echo(f"pilotlight {version('pilotlight')}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    _version: Annotated[
        bool,
        typer.Option("--version", help="Say the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    pass
