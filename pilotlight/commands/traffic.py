"""Commands for the gateway: what it does, and where a model's requests go."""

import re
from typing import Annotated

import typer

from pilotlight.admin import Admin
from pilotlight.commands.arguments import Model
from pilotlight.commands.output import Output
from pilotlight.commands.running import command
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


@command(
    "pilotlight traffic ranker",
    "pilotlight traffic ranker --weights 1=95,2=5 --sticky x-user-id",
    "pilotlight traffic ranker --off",
)
def traffic_command(
    out: Output,
    admin: Admin,
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
) -> None:
    """Show where a model's requests go; with an option, replace all that was said of it."""
    given = {"weights": weights, "sticky_header": sticky, "mirror": mirror, "sample": sample}
    steering = {name: value for name, value in given.items() if value is not None}
    if off and steering:
        raise typer.BadParameter("--off ends all of it; leave the other options out")
    if off:
        admin.end_steering(model)
    elif steering:
        admin.steer(model, steering)
    traffic = admin.traffic(model)
    out.show(traffic, traffic_view(traffic))


@command("pilotlight gateway")
def gateway_command(out: Output, admin: Admin) -> None:
    """Show where clients connect, what is routed, and what waits."""
    gateway = admin.gateway()
    out.show({"gateway": gateway}, gateway_view(gateway))
