"""Commands for the gateway: what it does, and where a model's requests go."""

import re
from typing import Annotated

import typer

from pilotlight.commands.connection import DEFAULT_URL, Model, TokenFile, Url, connected
from pilotlight.commands.output import fail, open_console
from pilotlight.views.traffic import gateway_view, traffic_view

Weights = dict[str, int]


def parse_weights(text: str) -> Weights:
    """`1=95,2=5`: the weight of each version."""
    found = [re.fullmatch(r"(\d{1,19})=(\d{1,9})", part, re.ASCII) for part in text.split(",")]
    weights = {each[1]: int(each[2]) for each in found if each}
    if len(weights) < len(found):
        raise typer.BadParameter(
            f"{text!r} are no weights; give each version one, for example '1=95,2=5'"
        )
    return weights


def traffic_command(
    model: Model,
    *,
    weights: Annotated[
        Weights | None,
        typer.Option(
            parser=parse_weights,
            metavar="VERSION=WEIGHT,...",
            help="Share requests that name no version.",
        ),
    ] = None,
    sticky: Annotated[
        str | None,
        typer.Option(help="With weights: the same value of this header, the same version."),
    ] = None,
    mirror: Annotated[
        int | None, typer.Option(help="Percentage of requests that canary gets a copy of.")
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(help="Percentage of requests with which canary and serving are compared."),
    ] = None,
    off: Annotated[bool, typer.Option("--off", help="End what was said.")] = False,
    url: Url = DEFAULT_URL,
    token_file: TokenFile = None,
) -> None:
    """Show where a model's requests go; with an option, replace all that was said of it."""
    console = open_console()
    given = {"weights": weights, "sticky_header": sticky, "mirror": mirror, "sample": sample}
    steering = {name: value for name, value in given.items() if value is not None}
    if off and steering:
        fail(console, "--off ends all of it; leave the other options out")
    with connected(console, url, token_file) as admin:
        if off:
            admin.end_steering(model)
        elif steering:
            admin.steer(model, steering)
        console.print(traffic_view(admin.traffic(model)))


def gateway_command(url: Url = DEFAULT_URL, token_file: TokenFile = None) -> None:
    """Show where clients connect, what is routed, and what waits."""
    console = open_console()
    with connected(console, url, token_file) as admin:
        console.print(gateway_view(admin.gateway()))
