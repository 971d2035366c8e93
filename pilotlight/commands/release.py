"""Commands about releases: begin one, watch it, and say how it goes on."""

import re
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.markup import escape

from contract.durations import parse_duration_s
from pilotlight.admin import Admin, Unreachable
from pilotlight.commands.connection import DEFAULT_URL, TokenFile, Url, connected
from pilotlight.commands.output import INTERRUPTED, WAITS_FOR_A_PERSON, fail, open_console
from pilotlight.commands.train import AtOnce, run_train
from pilotlight.views import Body
from pilotlight.views.releases import end_line, may_say, progress_view, stall_line, step_view
from sidecar.core.release import ReleaseState
from sidecar.core.strategy import Approval, Copies, Outputs

RECONNECT_S = 1.0
SUPERSEDED_S = 30.0
"""What the answer may take while a release that goes on is aborted first."""


def parse_shares(text: str) -> tuple[int, ...]:
    """`1,5,25`: percentages of the requests, one after the other."""
    if not re.fullmatch(r"\d{1,3}(,\d{1,3})*", text, re.ASCII):
        raise typer.BadParameter(f"{text!r} are no shares; write percentages such as '1,5,25'")
    return tuple(map(int, text.split(",")))


def parse_duration(text: str) -> float:
    """Seconds, from `30s` or `2m`."""
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


Name = Annotated[str, typer.Argument(metavar="MODEL|RELEASE", help="A model's newest, or its id.")]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the end.", min=0)]
Watch = Annotated[bool, typer.Option(help="Show each step, until it has ended or asks for you.")]


def release_command(
    model: Annotated[str | None, typer.Argument(help="The model's name.")] = None,
    version: Annotated[
        int | None, typer.Argument(help="The version that is to get the traffic.")
    ] = None,
    *,
    manual: Annotated[bool, typer.Option("--manual", help="Ask before it gets traffic.")] = False,
    shift: Annotated[
        str | None,
        typer.Option(metavar="PERCENT,...", help="Shares of the requests that it gets before all."),
    ] = None,
    sticky: Annotated[
        str | None,
        typer.Option(metavar="HEADER", help="Its value decides which version a request meets."),
    ] = None,
    bake: Annotated[
        float | None,
        typer.Option(parser=parse_duration, metavar="TIME", help="How long each share lasts."),
    ] = None,
    soak: Annotated[
        float | None,
        typer.Option(
            parser=parse_duration, metavar="TIME", help="How long both versions stay after that."
        ),
    ] = None,
    one_copy: Annotated[
        bool, typer.Option("--one-copy", help="Never hold both versions; requests wait for a load.")
    ] = False,
    outputs: Annotated[
        Outputs | None,
        typer.Option(
            help="To the old one's: alike when trained again, equal in another form, or any."
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="How much slower it may be, as a share: 0.2 is a fifth."),
    ] = None,
    supersede: Annotated[
        bool, typer.Option("--supersede", help="Abort a release of the model that goes on.")
    ] = False,
    all_pending: Annotated[
        bool,
        typer.Option("--all-pending", help="Instead of one: all models with a newer version."),
    ] = False,
    at_once: AtOnce = 1,
    watch: Watch = True,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Prove a version beside the one that serves, promote it, and watch until it serves alone.

    Exit code: 0 done, 1 refused or rolled back, 3 waits for a person.
    """
    given = {
        "approval": Approval.MANUAL if manual else None,
        "shift": None if shift is None else parse_shares(shift),
        "bake_s": bake,
        "soak_s": soak,
        "copies": Copies.ONE_AT_A_TIME if one_copy else None,
        "sticky_header": sticky,
        "outputs": outputs,
        "latency_margin": margin,
    }
    strategy = {name: value for name, value in given.items() if value is not None}
    console = open_console()
    if all_pending:
        if model is not None or supersede:
            fail(console, "--all-pending takes no model, and supersedes nothing")
        with connected(console, url, token_file) as admin:
            run_train(console, admin, {"strategy": strategy, "at_once": at_once}, watch=watch)
        return
    if model is None or version is None:
        fail(console, "say which version of which model, or --all-pending")
    body = {"version": version, "strategy": strategy, "supersede": supersede}
    with connected(console, url, token_file) as admin:
        begun = admin.ask(f"/v1/models/{model}/releases", body, timeout_s=SUPERSEDED_S)
        if not watch:
            console.print(f"begun: {escape(begun['release'])}")
            return
        _watch_to_the_end(console, admin, begun["release"])


def promote_command(
    name: Name,
    *,
    watch: Watch = True,
    timeout_s: Timeout = 600,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Let a release go on that waits for a person; skip the rest of a shift, or of a soak.

    Exit code: 0 done, 1 refused or rolled back, 3 waits for a person.
    """
    console = open_console()
    with connected(console, url, token_file) as admin:
        release = admin.find_release(name)
        admin.wait(admin.ask(f"{release['location']}:promote"), timeout_s)
        if watch:
            _watch_to_the_end(console, admin, release["location"], shown=len(release["steps"]))


def watch_command(name: Name, url: Url = DEFAULT_URL, token_file: TokenFile = None) -> None:
    """Show each step of a release until it has ended, or waits for a person.

    Exit code: 0 done, 1 refused or rolled back, 3 waits for a person.
    """
    console = open_console()
    with connected(console, url, token_file) as admin:
        _watch_to_the_end(console, admin, admin.find_release(name)["location"])


def abort_command(
    name: Name,
    timeout_s: Timeout = 600,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """End a release with the version before; one that goes back, with the new version."""
    ask_of_release("abort", name, timeout_s, url, token_file)


def rollback_command(
    name: Name,
    timeout_s: Timeout = 600,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Move the traffic back to the version before."""
    ask_of_release("rollback", name, timeout_s, url, token_file)


def ask_of_release(
    verb: str, name: str, timeout_s: float, url: str, token_file: Path | None
) -> None:
    """Ask, and show each step that is taken then."""
    console = open_console()
    with connected(console, url, token_file) as admin:
        release = admin.find_release(name)
        show = _Steps(console, len(release["steps"]))

        def look(_operation: dict[str, Any]) -> None:
            show.further(admin.release(release["location"]))

        ended = admin.wait(admin.ask(f"{release['location']}:{verb}"), timeout_s, look)
    console.print(f"[green]done[/]: {ended['kind']} of {escape(ended['model'])}")


class _Steps:
    """Prints each step once, and when it cannot go on."""

    def __init__(self, console: Console, shown: int) -> None:
        self._console = console
        self._shown = shown
        self._stalled = False

    def further(self, release: Body) -> None:
        steps = release["steps"]
        for step in steps[self._shown :]:
            self._console.print(step_view(release, step), soft_wrap=True)
        self._shown = len(steps)
        stalled = release["waits_for"] is not None and not may_say(release)
        if stalled and not self._stalled:
            self._console.print(stall_line(release), soft_wrap=True)
        self._stalled = stalled


def _watch_to_the_end(console: Console, admin: Admin, release: str, *, shown: int = 0) -> None:
    """Leaves the command with the exit code of how the release ended."""
    try:
        ended = _watch(console, admin, release, _Steps(console, shown))
    except KeyboardInterrupt:
        console.print(f"the release goes on; look at {escape(release)}")
        raise typer.Exit(INTERRUPTED) from None
    console.print(end_line(ended), soft_wrap=True)
    if may_say(ended):
        raise typer.Exit(WAITS_FOR_A_PERSON)
    if ended["state"] != ReleaseState.DONE:
        raise typer.Exit(1)


def _watch(console: Console, admin: Admin, release: str, steps: _Steps) -> Body:
    """The release when it has ended, or waits for a person."""
    with Live(console=console, transient=True) as live:
        for seen in _changes(console, admin, release):
            steps.further(seen)
            if not seen["active"] or may_say(seen):
                return seen
            live.update(progress_view(seen))
    raise AssertionError("changes come until the release has ended")


def _changes(console: Console, admin: Admin, release: str) -> Iterator[Body]:
    """Goes on when the sidecar stops and comes back."""
    away = False
    while True:
        try:
            for seen in admin.follow(release):
                away = False
                yield seen
        except Unreachable as error:
            if not away:
                console.print(f"[dim]{escape(str(error))}[/]", soft_wrap=True)
            away = True
        sleep(RECONNECT_S)
