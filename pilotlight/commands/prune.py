"""`pilotlight prune`: old versions out of a model repository, none that is in use."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from contract.layout import Store
from pilotlight.admin import Admin, Unreachable
from pilotlight.commands.init import RECIPE
from pilotlight.commands.output import CommandFailed, ExitCode, Output
from pilotlight.commands.running import command
from pilotlight.paths import MODEL_REPOSITORY
from pilotlight.views.words import counted

if TYPE_CHECKING:
    from generator.publishing.retention import Pruned
    from generator.recipe import Recipe


@command(
    "pilotlight prune models.yaml",
    "pilotlight prune models.yaml --store /srv/models --url http://sidecar:8080",
    "pilotlight prune models.yaml --unserved --json",
    extra="generator",
)
def prune_command(
    out: Output,
    admin: Admin,
    *,
    recipe: Annotated[Path, typer.Argument(help="Says how many to `keep`.")] = Path(RECIPE),
    store: Annotated[
        Path, typer.Option(help="Where they are published.", file_okay=False)
    ] = MODEL_REPOSITORY,
    triton: Annotated[
        str | None, typer.Option(metavar="YY.MM", help="As `pilotlight build` was told.")
    ] = None,
    unserved: Annotated[
        bool, typer.Option("--unserved", help="Nobody serves the store; ask no sidecar.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait for a builder in the same store.")
    ] = False,
) -> None:
    """Remove old versions, but for the newest of each model and those that the sidecar uses.

    Nothing is removed where no sidecar answers, nor of a model that it does not know.
    """
    from generator.errors import GeneratorError  # noqa: PLC0415  (an extra)
    from generator.publishing.lock import locked  # noqa: PLC0415  (an extra)
    from generator.recipe import load_recipe  # noqa: PLC0415  (an extra)

    if not store.is_dir():
        raise CommandFailed(f"there is no store {store}; name it with --store")
    try:
        loaded = load_recipe(recipe, triton=triton)
        with locked(store, wait=wait):
            in_use = None if unserved else _in_use(admin)
            pruned = list(_prune(loaded, Store(store), in_use))
    except GeneratorError as error:
        raise CommandFailed(str(error)) from error
    except Unreachable as error:
        raise CommandFailed(
            f"nothing was removed: {error}",
            code="unreachable",
            remedy="where nobody serves the store, add --unserved",
            exit_code=ExitCode.UNREACHABLE,
        ) from error
    for each in pruned:
        used = f"; in use: {_listed(each.in_use)}" if each.in_use else ""
        gone = _listed(each.removed) or "nothing"
        out.say(f"{escape(each.model)}: removed {gone}{used}")
    removed = sum(len(each.removed) for each in pruned)
    out.tell(
        {"models": [asdict(each) for each in pruned]},
        f"{escape(str(store))}: {counted(removed, 'version')} removed",
    )


def _prune(
    recipe: "Recipe", store: Store, in_use: Mapping[str, set[int]] | None
) -> "Iterator[Pruned]":
    """Of each model that has too many versions, or one in use among those."""
    from generator.publishing.retention import prune  # noqa: PLC0415  (an extra)

    keep = {entry.name: recipe.keep for entry in recipe.ensembles}
    keep |= {model.name: model.keep or recipe.keep for model in recipe.models}
    for name in keep:
        if in_use is None or name in in_use:
            wanted = {one.version for one in recipe.models if one.name == name and one.version}
            used = in_use[name] if in_use else set()
            pruned = prune(store, name, keep=keep[name], in_use=wanted | used)
            if pruned.removed or pruned.in_use:
                yield pruned


def _in_use(admin: Admin) -> dict[str, set[int]]:
    """By model, what serves or is on its way to it, whether loaded now or not."""
    found = {
        model["name"]: {*model["ready_versions"], model["serving_version"]} - {None}
        for model in admin.models()
    }
    on_the_way = [
        *admin.releases(active="true"),
        *(car for train in admin.get("/v1/trains?done=false")["trains"] for car in train["cars"]),
    ]
    for each in on_the_way:
        found.setdefault(each["model"], set()).update({each["version"], each["base"]} - {None})
    return found


def _listed(versions: tuple[int, ...]) -> str:
    return ", ".join(map(str, versions))
