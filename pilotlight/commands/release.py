"""Commands about releases: begin one, watch it, and say how it goes on."""

import re
from collections.abc import Iterator
from time import sleep
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from contract.strict import nearest
from pilotlight.admin import Admin, Unreachable
from pilotlight.client import wire
from pilotlight.client.errors import NotFound
from pilotlight.commands.arguments import (
    ReleaseName,
    Timeout,
    offered_models,
    offered_versions,
    parse_duration,
)
from pilotlight.commands.output import CommandFailed, ExitCode, Output
from pilotlight.commands.progress import busy, live
from pilotlight.commands.running import command
from pilotlight.commands.train import AtOnce, run_train
from pilotlight.views import Body
from pilotlight.views.releases import (
    end_line,
    may_say,
    passed_line,
    progress_view,
    stall_line,
    step_view,
)
from pilotlight.views.words import moment
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


_STRATEGY = "Strategy"
Watch = Annotated[bool, typer.Option(help="Show each step, until it has ended or asks for you.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show the checks that passed, too.")]


@command(
    "pilotlight release ranker 2",
    "pilotlight release ranker 2 --shift 1,5,25 --bake 5m --soak 30m",
    "pilotlight release --all-pending --json",
    "pilotlight release --all-pending --unserved --at-once 2",
)
def release_command(
    out: Output,
    admin: Admin,
    model: Annotated[
        str | None, typer.Argument(help="The model's name.", autocompletion=offered_models)
    ] = None,
    version: Annotated[
        int | None,
        typer.Argument(
            help="The version that is to get the traffic.", autocompletion=offered_versions
        ),
    ] = None,
    *,
    manual: Annotated[
        bool,
        typer.Option("--manual", help="Ask before it gets traffic.", rich_help_panel=_STRATEGY),
    ] = False,
    shift: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT,...",
            help="Shares of the requests that it gets before all.",
            rich_help_panel=_STRATEGY,
        ),
    ] = None,
    sticky: Annotated[
        str | None,
        typer.Option(
            metavar="HEADER",
            help="Its value decides which version a request meets.",
            rich_help_panel=_STRATEGY,
        ),
    ] = None,
    bake: Annotated[
        float | None,
        typer.Option(
            parser=parse_duration,
            metavar="TIME",
            help="How long each share lasts.",
            rich_help_panel=_STRATEGY,
        ),
    ] = None,
    soak: Annotated[
        float | None,
        typer.Option(
            parser=parse_duration,
            metavar="TIME",
            help="How long both versions stay after that.",
            rich_help_panel=_STRATEGY,
        ),
    ] = None,
    one_copy: Annotated[
        bool,
        typer.Option(
            "--one-copy",
            help="Never hold both versions; requests wait for a load.",
            rich_help_panel=_STRATEGY,
        ),
    ] = False,
    outputs: Annotated[
        Outputs | None,
        typer.Option(
            help="As the old one's: alike when trained again, equal in another form, or any.",
            rich_help_panel=_STRATEGY,
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(
            help="How much slower it may be: 0.2 is by a fifth.", rich_help_panel=_STRATEGY
        ),
    ] = None,
    supersede: Annotated[
        bool, typer.Option("--supersede", help="Abort a release of the model that goes on.")
    ] = False,
    all_pending: Annotated[
        bool,
        typer.Option("--all-pending", help="Instead of one: all models with a newer version."),
    ] = False,
    unserved: Annotated[
        bool,
        typer.Option(
            "--unserved",
            help="With --all-pending: models that never served, too, ahead of a first request.",
        ),
    ] = False,
    at_once: AtOnce = 1,
    watch: Watch = True,
    verbose: Verbose = False,
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
    if all_pending:
        if model is not None or supersede:
            raise typer.BadParameter("--all-pending takes no model, and supersedes nothing")
        wanted = {"strategy": strategy, "at_once": at_once, "unserved": unserved}
        run_train(out, admin, wanted, watch=watch)
        return
    if unserved:
        raise typer.BadParameter("--unserved goes with --all-pending")
    if model is None or version is None:
        raise typer.BadParameter("say which version of which model, or --all-pending")
    body = {"version": version, "strategy": strategy, "supersede": supersede}
    begun = admin.ask(f"/v1/models/{model}/releases", body, timeout_s=SUPERSEDED_S)
    if watch:
        _watch_to_the_end(out, admin, begun["release"], verbose=verbose)
    else:
        out.show(begun, f"begun: {escape(begun['release'])}")


@command("pilotlight promote ranker", "pilotlight promote ranker.2.k3f9 --no-watch")
def promote_command(
    out: Output,
    admin: Admin,
    name: ReleaseName,
    *,
    watch: Watch = True,
    verbose: Verbose = False,
    timeout_s: Timeout = 600,
) -> None:
    """Let a release go on that waits for a person; skip the rest of a shift, or of a soak.

    Exit code: 0 done, 1 refused or rolled back, 3 waits for a person.
    """
    release = find_release(admin, name)
    with busy(out.console, f"promote of {release['model']}"):
        ended = admin.wait(admin.ask(f"{release['location']}:promote"), timeout_s)
    if watch:
        shown = len(release["steps"])
        _watch_to_the_end(out, admin, release["location"], shown=shown, verbose=verbose)
    else:
        out.show(ended, _done(ended))


@command("pilotlight watch ranker", "pilotlight watch ranker --json | jq -r .state")
def watch_command(
    out: Output, admin: Admin, name: ReleaseName, *, verbose: Verbose = False
) -> None:
    """Show each step of a release until it has ended, or waits for a person.

    Exit code: 0 done, 1 refused or rolled back, 3 waits for a person.
    """
    _watch_to_the_end(out, admin, find_release(admin, name)["location"], verbose=verbose)


@command("pilotlight abort ranker")
def abort_command(out: Output, admin: Admin, name: ReleaseName, timeout_s: Timeout = 600) -> None:
    """End a release with the version before; one that goes back, with the new version."""
    ask_of_release(out, admin, "abort", name, timeout_s)


@command("pilotlight rollback ranker", "pilotlight rollback ranker.2.k3f9")
def rollback_command(
    out: Output, admin: Admin, name: ReleaseName, timeout_s: Timeout = 600
) -> None:
    """Move the traffic back to the version before.

    Of a release: from the version that it brought, where that serves; others may have followed.
    """
    release = find_release(admin, name)
    model = wire.path("/v1/models/{model}", model=release["model"])
    path = release["location"] if name == release["id"] else model
    _carry_out(out, admin, f"{path}:rollback", timeout_s)


def find_release(admin: Admin, name: str) -> dict[str, Any]:
    """The newest release of the model of this name, or else the release itself."""
    try:
        return admin.find_release(name)
    except NotFound as error:
        models = [model["name"] for model in admin.models()]
        if name in models:
            remedy = f"{name} was never released; begin with `pilotlight release {name} VERSION`"
        else:
            remedy = nearest(name, models)
        raise CommandFailed(str(error), code=error.code, remedy=remedy) from error


def ask_of_release(out: Output, admin: Admin, verb: str, name: str, timeout_s: float) -> None:
    """Ask, and show each step that is taken then."""
    _carry_out(out, admin, f"{find_release(admin, name)['location']}:{verb}", timeout_s)


def _carry_out(out: Output, admin: Admin, action: str, timeout_s: float) -> None:
    """Of a model or a release; the answer says which release moves."""
    asked = admin.ask(action)
    release = admin.release(asked["release"])
    before = (each for each in release["steps"] if moment(each["at"]) < moment(asked["created_at"]))
    steps = _Steps(out, len(list(before)))

    def look(_operation: dict[str, Any]) -> None:
        steps.further(admin.release(asked["release"]))

    with busy(out.console, f"{asked['kind']} of {asked['model']}"):
        ended = admin.wait(asked, timeout_s, look)
    out.show(ended, _done(ended))


def _done(operation: Body) -> str:
    return f"[green]done[/]: {operation['kind']} of {escape(operation['model'])}"


class _Steps:
    """Says each step once, and when it cannot go on."""

    def __init__(self, out: Output, shown: int, *, verbose: bool = False) -> None:
        self._out = out
        self._shown = shown
        self._verbose = verbose
        self._stalled = False

    def further(self, release: Body) -> None:
        steps = release["steps"]
        for step in steps[self._shown :]:
            self._out.say(step_view(release, step, verbose=self._verbose))
        self._shown = len(steps)
        stalled = release["waits_for"] is not None and not may_say(release)
        if stalled and not self._stalled:
            self._out.say(stall_line(release))
        self._stalled = stalled


def _watch_to_the_end(
    out: Output, admin: Admin, release: str, *, shown: int = 0, verbose: bool
) -> None:
    """Leaves the command with the exit code of how the release ended."""
    try:
        ended = _watch(out, admin, release, _Steps(out, shown, verbose=verbose))
    except KeyboardInterrupt:
        out.say(f"the release goes on; look at {escape(release)}")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    passed = passed_line(ended)
    if passed is not None and not verbose:
        out.say(passed)
    out.say(end_line(ended))
    if may_say(ended):
        raise typer.Exit(ExitCode.WAITS_FOR_A_PERSON)
    if ended["state"] != ReleaseState.DONE:
        raise typer.Exit(ExitCode.FAILED)


def _watch(out: Output, admin: Admin, release: str, steps: _Steps) -> Body:
    """The release when it has ended, or waits for a person."""
    with live(out.console) as show:
        for seen in _changes(out, admin, release):
            steps.further(seen)
            out.tell(seen, None)
            if not seen["active"] or may_say(seen):
                return seen
            show(progress_view(seen))
    raise AssertionError("changes come until the release has ended")


def _changes(out: Output, admin: Admin, release: str) -> Iterator[Body]:
    """Goes on when the sidecar stops and comes back."""
    away = False
    while True:
        try:
            for seen in admin.follow(release):
                away = False
                yield seen
        except Unreachable as error:
            if not away:
                out.say(Text(str(error), "dim"))
            away = True
        sleep(RECONNECT_S)
