"""What all models of a build have in common, and how one of them fails."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from contract.errors import ContractError
from contract.layout import Store, VersionFolder
from generator import capacity
from generator.errors import GeneratorError
from generator.events import Failed, Progress, Stage
from generator.hashes import Hashes
from generator.recipe import ModelRecipe, Recipe

DryRun = Callable[[str, int, VersionFolder, Store], None]
"""Has a real server serve a version before it is published; the models of an ensemble are in the
store. Raises a GeneratorError where it does not load, warm up and answer."""

# What can go wrong with one model without being a bug of ours; OSError: no room for scratch.
_EXPECTED = (GeneratorError, ContractError, OSError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`folder` is the recipe's; `room` is None where whoever builds said how many `jobs`."""

    recipe: Recipe
    folder: Path
    store: Store
    hashes: Hashes
    scratch: Path
    cores: int
    jobs: int
    room: capacity.Room | None
    packages: Path | None
    dry_run: DryRun | None


@dataclass(frozen=True, slots=True)
class Wanted:
    """A version to build."""

    model: ModelRecipe
    version: int
    progress: Progress


def attempt(progress: Progress, work: Callable[[], T]) -> T | Failed:
    """Do `work` for one model; what fails there leaves the others alone."""
    try:
        return work()
    except _EXPECTED as error:
        progress.enter(Stage.FAILED)
        return Failed(progress.model, progress.version, str(error))
