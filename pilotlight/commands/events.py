"""Commands that tell what happened."""

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from pilotlight.admin import Admin, AdminError
from pilotlight.commands.connection import DEFAULT_URL, TokenFile, Url, connected
from pilotlight.commands.output import open_console
from pilotlight.views import Body
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
OfModel = Annotated[str | None, typer.Option(help="Only this model.")]


def events_command(
    model: OfModel = None,
    *,
    since: Annotated[str, Time] = "1h",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Tell what happened lately, and with --follow what happens."""
    console = open_console()
    newest = None
    with connected(console, url, token_file) as admin:
        for entry in admin.audit(model=model, since=since):
            newest = _tell(console, entry)
        if follow:
            with suppress(KeyboardInterrupt):
                _follow(console, admin, model, newest)


def audit_command(
    model: OfModel = None,
    *,
    actor: Annotated[str | None, typer.Option(help="Only what this token asked for.")] = None,
    event: Annotated[EventName | None, typer.Option(help="Only this kind of event.")] = None,
    since: Annotated[str | None, Time] = None,
    until: Annotated[str | None, Time] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Tell everything that was ever done, oldest first."""
    console = open_console()
    with connected(console, url, token_file) as admin:
        for entry in admin.audit(
            model=model,
            actor=actor,
            event=event,
            since=since,
            until=until,
        ):
            _tell(console, entry)


def _tell(console: Console, entry: Body) -> int:
    """Returns the entry's id."""
    console.print(event_line(entry), soft_wrap=True)
    shown: int = entry["id"]
    return shown


def _follow(console: Console, admin: Admin, model: str | None, newest: int | None) -> None:
    """Goes on behind the last entry when the sidecar stops and comes back."""
    away = False
    while True:
        try:
            for entry in admin.events(model=model, after=newest):
                newest, away = _tell(console, entry), False
        except AdminError as error:
            if not away:
                console.print(f"[dim]{escape(str(error))}[/]", soft_wrap=True)
            away = True
        sleep(RECONNECT_S)
