"""`pilotlight train`: release all that is pending, and stop at the first failure."""

from collections import Counter
from contextlib import suppress
from time import sleep
from typing import Annotated, Any

import typer
from rich.console import Group
from rich.text import Text

from pilotlight.admin import Admin, Unreachable
from pilotlight.commands.arguments import Active, Limit, offered_models, offered_trains
from pilotlight.commands.output import CommandFailed, ExitCode, Output
from pilotlight.commands.progress import live
from pilotlight.commands.running import command
from pilotlight.views import Body
from pilotlight.views.releases import end_line, may_say
from pilotlight.views.trains import counted, train_bar, train_table
from sidecar.core.train import CarState

LOOK_EVERY_S = 0.5

AtOnce = Annotated[int, typer.Option(help="Releases that may go on at a time.", min=1)]
Watch = Annotated[bool, typer.Option(help="Show each step until the train has ended.")]


@command(
    "pilotlight train",
    "pilotlight train ranker encoder --at-once 2",
    "pilotlight train --stop t-01J9",
)
def train_command(
    out: Output,
    admin: Admin,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="Only these; without any, all with a newer version.",
            autocompletion=offered_models,
        ),
    ] = None,
    *,
    unserved: Annotated[
        bool,
        typer.Option("--unserved", help="Models that never served, too, ahead of a first request."),
    ] = False,
    at_once: AtOnce = 1,
    watch: Watch = True,
    stop: Annotated[
        str | None,
        typer.Option(
            metavar="TRAIN", help="Stop this train instead.", autocompletion=offered_trains
        ),
    ] = None,
) -> None:
    """Release the newest version of many models, one after the other, until one fails.

    Exit code: 0 done, 1 stopped or some failed, 3 waits for a person.
    """
    if stop is not None:
        train = admin.ask(f"/v1/trains/{stop}:stop")
        out.show(train, f"stopped: {counted(train)}")
    else:
        wanted = {"models": models or None, "at_once": at_once, "unserved": unserved}
        run_train(out, admin, wanted, watch=watch)


@command("pilotlight trains --active")
def trains_command(
    out: Output,
    admin: Admin,
    train: Annotated[
        str | None,
        typer.Argument(help="Only the one with this id.", autocompletion=offered_trains),
    ] = None,
    *,
    active: Active = False,
    limit: Limit = 20,
) -> None:
    """Show trains of releases, the newest first, and how far each is."""
    if train is not None:
        found = admin.get(f"/v1/trains/{train}")
        out.show(found, train_table([found]))
        return
    trains = admin.get(f"/v1/trains?page_size={limit}{'&done=false' if active else ''}")["trains"]
    out.show(trains, train_table(trains))


def run_train(out: Output, admin: Admin, wanted: dict[str, Any], *, watch: bool) -> None:
    """Begin a train as `POST /v1/trains` takes it. One that stops ends the command badly.

    So does one whose every release that goes on waits for a person.
    """
    train = admin.ask("/v1/trains", wanted)
    begun = Text(f"train {train['id']}: {len(train['cars'])} to release")
    if not watch:
        out.show(train, begun)
        return
    out.tell(train, begun)
    try:
        train = _watch(out, admin, train)
    except KeyboardInterrupt:
        out.say(f"it goes on; stop it with `pilotlight train --stop {train['id']}`")
        raise typer.Exit(ExitCode.INTERRUPTED) from None
    if train["stopped"] is not None:
        raise CommandFailed(f"stopped: {train['stopped']}; {counted(train)}", code="stopped")
    out.say(f"[green]done[/]: {counted(train)}")
    if any(car["state"] == CarState.FAILED for car in train["cars"]):
        raise typer.Exit(ExitCode.FAILED)


def _watch(out: Output, admin: Admin, train: dict[str, Any]) -> dict[str, Any]:
    """The train when it has ended. Leaves the command where it waits for a person."""
    teller = _Teller(out, admin)
    with live(out.console) as show:
        while not train["done"]:
            show(train_bar(train))
            sleep(LOOK_EVERY_S)
            # A sidecar that goes away comes back, and goes on with the train.
            with suppress(Unreachable):
                seen = admin.get(train["location"])
                teller.tell(seen)
                if seen != train:
                    out.tell(seen, None)
                train = seen
                if asking := teller.asking(train):
                    out.say(Group(*map(end_line, asking)))
                    raise typer.Exit(ExitCode.WAITS_FOR_A_PERSON)
    return train


class _Teller:
    """Prints each step of each model once."""

    def __init__(self, out: Output, admin: Admin) -> None:
        self._out = out
        self._admin = admin
        self._releases: dict[str, Body] = {}
        self._told: Counter[str] = Counter()
        self._over: set[str] = set()

    def tell(self, train: Body) -> None:
        for car in train["cars"]:
            model = car["model"]
            if model in self._over:
                continue
            lines = self._lines(car)
            for state, note in lines[self._told[model] :]:
                self._out.say(Text(f"  {model}  {state:<15} {note}"))
            self._told[model] = len(lines)
            if car["state"] not in (CarState.WAITING, CarState.GOING):
                self._over.add(model)

    def asking(self, train: Body) -> list[Body]:
        """The releases that go on, if each of them waits for a person."""
        going = [car["model"] for car in train["cars"] if car["state"] == CarState.GOING]
        found = [self._releases[model] for model in going if model in self._releases]
        return found if all(map(may_say, found)) else []

    def _lines(self, car: Body) -> list[tuple[str, str]]:
        if car["release"] is not None:
            release = self._releases[car["model"]] = self._admin.release(car["release"])
            return [(step["state"], step["note"]) for step in release["steps"]]
        return [(car["state"], car["note"])] if car["note"] else []
