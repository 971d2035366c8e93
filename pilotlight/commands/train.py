"""`pilotlight train`: release all that is pending, and stop at the first failure."""

from collections import Counter
from contextlib import suppress
from time import sleep
from typing import Annotated, Any

import typer
from rich.console import Console

from pilotlight.admin import Admin, Unreachable
from pilotlight.commands.connection import DEFAULT_URL, TokenFile, Url, connected
from pilotlight.commands.output import INTERRUPTED, WAITS_FOR_A_PERSON, fail, open_console
from pilotlight.views import Body
from pilotlight.views.releases import end_line, may_say
from sidecar.core.train import CarState

LOOK_EVERY_S = 0.5

AtOnce = Annotated[int, typer.Option(help="Releases that may go on at a time.", min=1)]
Watch = Annotated[bool, typer.Option(help="Show each step until the train has ended.")]


def train_command(
    models: Annotated[
        list[str] | None,
        typer.Argument(help="Only these; without any, all with a newer version."),
    ] = None,
    *,
    at_once: AtOnce = 1,
    watch: Watch = True,
    stop: Annotated[
        str | None, typer.Option(metavar="TRAIN", help="Stop this train instead.")
    ] = None,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Release the newest version of many models, one after the other, until one fails.

    Exit code: 0 done, 1 stopped, 3 waits for a person.
    """
    console = open_console()
    with connected(console, url, token_file) as admin:
        if stop is not None:
            train = admin.ask(f"/v1/trains/{stop}:stop")
            console.print(f"stopped: {_counted(train)}")
        else:
            wanted = {"models": models, "at_once": at_once} if models else {"at_once": at_once}
            run_train(console, admin, wanted, watch=watch)


def run_train(console: Console, admin: Admin, wanted: dict[str, Any], *, watch: bool) -> None:
    """Begin a train as `POST /v1/trains` takes it. One that stops ends the command badly.

    So does one whose every release that goes on waits for a person.
    """
    train = admin.ask("/v1/trains", wanted)
    console.print(f"train {train['id']}: {len(train['cars'])} to release")
    if not watch:
        return
    teller = _Teller(console, admin)
    try:
        while not train["done"]:
            sleep(LOOK_EVERY_S)
            # A sidecar that goes away comes back, and goes on with the train.
            with suppress(Unreachable):
                train = admin.get(train["location"])
                teller.tell(train)
                if asking := teller.asking(train):
                    console.print(*map(end_line, asking), sep="\n", soft_wrap=True)
                    raise typer.Exit(WAITS_FOR_A_PERSON)
    except KeyboardInterrupt:
        console.print(f"it goes on; stop it with `pilotlight train --stop {train['id']}`")
        raise typer.Exit(INTERRUPTED) from None
    if train["stopped"] is not None:
        fail(console, f"stopped: {train['stopped']}; {_counted(train)}")
    console.print(f"[green]done[/]: {_counted(train)}")


class _Teller:
    """Prints each step of each model once."""

    def __init__(self, console: Console, admin: Admin) -> None:
        self._console = console
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
                self._console.print(f"  {model}  {state:<15} {note}", markup=False, soft_wrap=True)
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


def _counted(train: Body) -> str:
    """How many cars are in which state: `2 done, 1 waiting`."""
    counts = Counter(CarState(car["state"]) for car in train["cars"])
    return ", ".join(f"{counts[state]} {state}" for state in CarState if counts[state])
