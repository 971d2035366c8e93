"""The files that a recipe is built from, as far as they are known."""

from pathlib import Path

from contract.errors import ContractError
from contract.layout import Store
from contract.manifest import read_manifest
from generator.errors import RecipeError
from generator.fingerprint import named_files
from generator.recipe import load_recipe


def watched_files(recipe: Path, store: Path, *, triton: str | None = None) -> set[Path]:
    """The recipe, the files that it names, and the Python files that models were made from.

    Neighbours of those count too: a model that was never built may import them. Of a recipe that
    cannot be read, the recipe alone.
    """
    folder = recipe.resolve().parent
    try:
        models = load_recipe(recipe, triton=triton).models
    except RecipeError:
        return {recipe.resolve()}
    found = {recipe.resolve()}
    for model in models:
        found.update(folder / name for name in named_files(model, folder))
        for version in Store(store).versions(model.name)[-1:]:
            found.update(folder / name for name in _sources(store, model.name, version))
    places = {folder} | {path.parent for path in found if path.suffix == ".py"}
    return found.union(*(place.glob("*.py") for place in places))


def _sources(store: Path, model: str, version: int) -> list[str]:
    try:
        return list(read_manifest(Store(store).version(model, version).manifest).sources)
    except ContractError:
        return []
