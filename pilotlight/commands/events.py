"""Commands that tell what happened."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Annotated

import typer
from rich.console import Group
from rich.text import Text

from pilotlight.admin import Admin, AdminError
from pilotlight.commands.arguments import OfModel
from pilotlight.commands.output import Output
from pilotlight.commands.running import command
from pilotlight.views.entries import event_line
from sidecar.core.events import EventName

RECONNECT_S = 1.0
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_time(text: str) -> str:
    """`90s`, `15m`, `2h` or `7d` ago, or a time such as `2026-11-21T08:00Z`; in RFC 3339."""
    if found := re.fullmatch(r"(\d{1,5})([smhd])", text, re.ASCII):
        past = timedelta(**{_UNITS[found[2]]: int(found[1])})
        return (datetime.now(UTC) - past).isoformat()
    try:
        return datetime.fromisoformat(text).astimezone(UTC).isoformat()
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no time; write for example '15m', '2h', '7d' or '2026-11-21T08:00Z'"
        ) from error


Time = typer.Option(parser=parse_time, metavar="TIME")


@command(
    "pilotlight events --since 15m",
    "pilotlight events -f --model ranker",
    "pilotlight events -f --json | jq -r .event",
)
def events_command(
    out: Output,
    admin: Admin,
    model: OfModel = None,
    *,
    since: Annotated[str, Time] = "1h",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
) -> None:
    """Tell what happened lately, and with --follow what happens."""
    past = list(admin.audit(model=model, since=since))
    if not follow:
        out.show(past, Group(*map(event_line, past)))
        return
    for entry in past:
        out.tell(entry, event_line(entry))
    with suppress(KeyboardInterrupt):
        _follow(out, admin, model, past[-1]["id"] if past else None)


@command(
    "pilotlight audit --since 7d --actor alice",
    "pilotlight audit --event version_rejected --json",
)
def audit_command(
    out: Output,
    admin: Admin,
    model: OfModel = None,
    *,
    actor: Annotated[str | None, typer.Option(help="Only what this token asked for.")] = None,
    event: Annotated[EventName | None, typer.Option(help="Only this kind of event.")] = None,
    since: Annotated[str | None, Time] = None,
    until: Annotated[str | None, Time] = None,
) -> None:
    """Tell everything that was ever done, oldest first."""
    entries = list(admin.audit(model=model, actor=actor, event=event, since=since, until=until))
    out.show(entries, Group(*map(event_line, entries)))


def _follow(out: Output, admin: Admin, model: str | None, newest: int | None) -> None:
    """Goes on behind the last entry when the sidecar stops and comes back."""
    away = False
    while True:
        try:
            for entry in admin.events(model=model, after=newest):
                out.tell(entry, event_line(entry))
                newest, away = entry["id"], False
        except AdminError as error:
            if not away:
                out.say(Text(str(error), "dim"))
            away = True
        sleep(RECONNECT_S)
