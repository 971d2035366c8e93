"""Arguments that several commands take, and what a shell offers for them."""

import os
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from contract.durations import parse_duration_s
from pilotlight.client import Client
from pilotlight.client.errors import ClientError
from pilotlight.commands.connection import DEFAULT_URL

PATIENCE_S = 1.0
"""A shell waits for what it is to offer; a sidecar that is away has nothing."""
LONGEST_PAGE = 1000
"""Of a list; the sidecar sends no more at once."""

Names = Callable[[Client, typer.Context], Iterable[object]]
Offered = Callable[[typer.Context, str], list[str]]


def budget_parts(text: str) -> tuple[str, str]:
    """Device and size, from `gpu:0=40GiB`; the device is empty where a size stands alone."""
    device, _, size = text.rpartition("=")
    return device, size


def parse_duration(text: str) -> float:
    """Seconds, from `30s` or `2m`."""
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _offered(names: Names) -> Offered:
    """Of these names those that begin as typed; none where the sidecar does not answer at once."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        url = ctx.params.get("url") or os.environ.get("PILOTLIGHT_URL") or DEFAULT_URL
        token_file = ctx.params.get("token_file") or os.environ.get("PILOTLIGHT_TOKEN_FILE")
        try:
            with Client(
                url, token_file=Path(token_file) if token_file else None, timeout_s=PATIENCE_S
            ) as sidecar:
                found = map(str, islice(names(sidecar, ctx), LONGEST_PAGE))
                return [name for name in found if name.startswith(incomplete)]
        except (ClientError, OSError, ValueError):
            return []

    return complete


def _releases(sidecar: Client, _ctx: typer.Context) -> list[str]:
    """Models that had a release lately, and its id."""
    newest = list(islice(sidecar.releases.list(page_size=LONGEST_PAGE), LONGEST_PAGE))
    return [*dict.fromkeys(each.model for each in newest), *(each.id for each in newest)]


offered_models = _offered(
    lambda sidecar, _: (each.name for each in sidecar.models.list(page_size=LONGEST_PAGE))
)
offered_versions = _offered(
    lambda sidecar, ctx: reversed(sidecar.models.get(ctx.params["model"]).versions)
)
offered_releases = _offered(_releases)
offered_trains = _offered(
    lambda sidecar, _: (each.id for each in sidecar.trains.list(page_size=LONGEST_PAGE))
)
offered_operations = _offered(
    lambda sidecar, _: (each.id for each in sidecar.operations.list(page_size=LONGEST_PAGE))
)

Model = Annotated[str, typer.Argument(help="The model's name.", autocompletion=offered_models)]
OfModel = Annotated[
    str | None, typer.Option(help="Only this model.", autocompletion=offered_models)
]
ReleaseName = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|RELEASE",
        help="A model's newest release, or its id.",
        autocompletion=offered_releases,
    ),
]
Active = Annotated[bool, typer.Option("--active", help="Only what goes on.")]
Limit = Annotated[int, typer.Option(help="The most to show.", min=1, max=LONGEST_PAGE)]
Timeout = Annotated[float, typer.Option(help="Seconds to wait for the end.", min=0)]
