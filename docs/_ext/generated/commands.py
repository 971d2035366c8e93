"""The command line, from the application itself."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

import typer
from typer.main import get_command

from generated.markdown import code, paragraphs, table
from pilotlight.cli import app
from pilotlight.commands.output import ExitCode

_EVERYWHERE = ("--url", "--token-file", "--json", "--no-color")
"""Told once; a command that asks no sidecar has only the last two."""


def exit_codes() -> str:
    return table(["Code", "Meaning"], ([code(int(each)), each.meaning] for each in ExitCode))


def common_options() -> str:
    status = _commands()["status"]
    return _parameters(status, [each for each in status.params if each.opts[0] in _EVERYWHERE])


def commands() -> str:
    """Every command, under the heading that `pilotlight --help` gives it."""
    panels = groupby(_commands().items(), key=lambda each: each[1].rich_help_panel)
    return paragraphs(
        *(
            paragraphs(f"## {panel}", *(_told(name, command) for name, command in found))
            for panel, found in panels
        )
    )


def _commands() -> dict[str, Any]:
    return dict(get_command(app).commands)  # type: ignore[attr-defined]


def _told(name: str, command: Any) -> str:
    usage = " ".join(["pilotlight", name, *command.collect_usage_pieces(typer.Context(command))])
    examples = [line.strip() for line in (command.epilog or "").splitlines() if "$ " in line]
    special = [each for each in command.params if each.opts[0] not in _EVERYWHERE]
    return paragraphs(
        f"### `pilotlight {name}`",
        command.help,
        f"```text\n{usage}\n```",
        _parameters(command, special),
        "\n".join(["```console", *examples, "```"]) if examples else "",
    )


def _parameters(command: Any, parameters: Iterable[Any]) -> str:
    context = typer.Context(command)
    records = (each.get_help_record(context) for each in parameters)
    rows = [[code(record[0]), record[1]] for record in records if record is not None]
    return table(["Argument or option", "Meaning"], rows) if rows else ""
