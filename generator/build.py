"""A recipe into a store: the generator's entry."""

import os
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, assert_never

from contract.errors import ContractError
from contract.layout import Store
from contract.manifest import read_manifest
from generator import pipeline, publish
from generator.errors import GeneratorError, VersionTaken
from generator.events import BuildEvent, BuildReport, Built, Failed, Progress, Stage, Unchanged
from generator.fingerprint import is_current
from generator.pipeline import Exported, Task
from generator.recipe import ModelRecipe, Recipe, load_recipe

# What can go wrong with one model without being a bug of ours; OSError: no room for scratch.
_EXPECTED = (GeneratorError, ContractError, OSError)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Site:
    """What all models of a build have in common."""

    recipe: Recipe
    folder: Path
    store: Store
    scratch: Path
    threads: int


def build(
    recipe: Path, store: Path, *, jobs: int, report: Callable[[BuildEvent], None]
) -> BuildReport:
    """Build what changed since the last time and publish it.

    Up to `jobs` models are exported and verified at once; then they are measured and
    published one after the other, because measuring beside an export measures the export.
    `report` is called by one thread at a time. A model that fails leaves the others and the
    store alone.

    Raises:
        RecipeError: the recipe is impossible; nothing was built.
    """
    loaded = load_recipe(recipe)
    announce = _one_at_a_time(report)
    lines = [(model, Progress(model.name, model.version, announce)) for model in loaded.models]
    with tempfile.TemporaryDirectory(prefix="pilotlight-") as scratch:
        site = _Site(
            recipe=loaded,
            folder=recipe.resolve().parent,
            store=Store(store),
            scratch=Path(scratch),
            threads=max(1, len(os.sched_getaffinity(0)) // jobs),
        )
        publish.remove_leftovers(site.store)
        with ThreadPoolExecutor(jobs) as pool:
            prepared = list(pool.map(lambda line: _prepare(site, *line), lines))
        outcomes = [
            _complete(site, outcome, *line) for outcome, line in zip(prepared, lines, strict=True)
        ]
    return BuildReport(
        built=tuple(outcome for outcome in outcomes if isinstance(outcome, Built)),
        unchanged=tuple(outcome for outcome in outcomes if isinstance(outcome, Unchanged)),
        failed=tuple(outcome for outcome in outcomes if isinstance(outcome, Failed)),
    )


def _prepare(site: _Site, model: ModelRecipe, progress: Progress) -> Exported | Unchanged | Failed:
    """Everything up to the measurements; runs beside other models."""

    def work() -> Exported | Unchanged:
        version, changed = _wanted_version(site, model)
        if not changed:
            return Unchanged(model.name, version)
        task = Task(
            model=model,
            version=version,
            recipe=site.recipe,
            recipe_folder=site.folder,
            scratch=site.scratch / f"{model.name}-{version}",
        )
        exported = pipeline.export(task, threads=site.threads, enter=progress.enter)
        progress.enter(Stage.WAIT)
        return exported

    return _attempt(progress, work)


def _complete(
    site: _Site, prepared: Exported | Unchanged | Failed, model: ModelRecipe, progress: Progress
) -> Built | Unchanged | Failed:
    """Whatever writes to the store or must not be disturbed; runs alone."""

    def work() -> Built | Unchanged | Failed:
        match prepared:
            case Exported(task=task):
                progress.enter(Stage.PROBE)
                pipeline.finish(prepared)
                progress.enter(Stage.PUBLISH)
                publish.publish(
                    site.store, model.name, task.version, task.files.path, intent=model.intent
                )
                progress.enter(Stage.BUILT)
                return Built(model.name, task.version, dict(progress.seconds))
            case Unchanged():
                publish.refresh(site.store, model.name, intent=model.intent)
                progress.enter(Stage.UNCHANGED)
                return prepared
            case Failed():
                return prepared
            case _:
                assert_never(prepared)

    return _attempt(progress, work)


def _attempt(progress: Progress, work: Callable[[], T]) -> T | Failed:
    try:
        return work()
    except _EXPECTED as error:
        progress.enter(Stage.FAILED)
        return Failed(progress.model, progress.version, str(error))


def _wanted_version(site: _Site, model: ModelRecipe) -> tuple[int, bool]:
    """The version that the recipe means, and whether it has to be built.

    Raises:
        VersionTaken: the recipe names an existing version that was built from something else.
    """
    existing = site.store.versions(model.name)
    version = model.version or max(existing, default=1)
    if version not in existing:
        return version, True
    manifest = read_manifest(site.store.version(model.name, version).manifest)
    if is_current(manifest, model, site.recipe, site.folder):
        return version, False
    if model.version:
        raise VersionTaken(
            f"{model.name} version {version} exists and was built from something else; a version "
            f"never changes: write version: {max(existing) + 1}, or leave `version` out"
        )
    return max(existing) + 1, True


def _one_at_a_time(report: Callable[[BuildEvent], None]) -> Callable[[BuildEvent], None]:
    lock = threading.Lock()

    def announce(event: BuildEvent) -> None:
        with lock:
            report(event)

    return announce
