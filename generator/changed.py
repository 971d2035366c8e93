"""Models that changed: exported beside each other, then measured and published one by one."""

import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path

from contract.errors import InvalidArtifact
from contract.manifest import read_manifest
from generator import capacity, pipeline
from generator.errors import GeneratorError, OutOfMemory, RecipeError
from generator.events import Built, Failed, Stage
from generator.fingerprint import hash_named
from generator.hashes import ABSENT
from generator.loaded import loaded_bytes
from generator.pipeline import Exported, Task
from generator.plans import see_builder
from generator.publishing import publish
from generator.recipe.formats import TensorRT
from generator.recipe.source import module_files
from generator.site import Site, Wanted, attempt

# Exported models lie in scratch until they are measured, and a build that is killed loses them.
_EXPORTS_AHEAD = 4


def build_changed(site: Site, wanted: Sequence[Wanted]) -> list[Built | Failed]:
    """Each one's outcome, in order."""
    missing_for_plans = cache(lambda: _missing_for_plans(site.scratch))
    # All before the first export, which may take long: what a file holds now is what is built.
    tasks = [_task(site, each, missing_for_plans) for each in wanted]
    outcomes = []
    ahead = site.jobs * _EXPORTS_AHEAD
    for start in range(0, len(wanted), ahead):
        wave = wanted[start : start + ahead]
        with ThreadPoolExecutor(site.jobs) as pool:
            exports = list(pool.map(lambda *each: _export(site, *each), wave, tasks[start:]))
        for each, exported in zip(wave, exports, strict=True):
            outcomes.append(_complete(site, each, exported))
            shutil.rmtree(_scratch(site, each), ignore_errors=True)
    return outcomes


def _task(
    site: Site, wanted: Wanted, missing_for_plans: Callable[[], GeneratorError | None]
) -> Task | Failed:
    def work() -> Task:
        if isinstance(wanted.model.format, TensorRT) and (missing := missing_for_plans()):
            raise missing
        named = hash_named(wanted.model, site.folder, site.hashes)
        # Found here, nobody waits for PyTorch to be imported first.
        if absent := [name for name, digest in named.items() if digest == ABSENT]:
            raise RecipeError(
                f"{wanted.model.name} names {', '.join(absent)}, which is not in {site.folder}; "
                "put it there, or mend the recipe"
            )
        if wanted.model.source:
            module_files(wanted.model.source, site.folder)
        return Task(
            model=wanted.model,
            version=wanted.version,
            recipe=site.recipe,
            recipe_folder=site.folder,
            named=named,
            scratch=_scratch(site, wanted),
            packages=site.packages,
        )

    return attempt(wanted.progress, work)


def _export(site: Site, wanted: Wanted, task: Task | Failed) -> Exported | Task | Failed:
    """Everything up to the measurements; runs beside other models.

    The task itself comes back where memory was short beside others: it is tried again alone.
    """
    if isinstance(task, Failed):
        return task
    enter = wanted.progress.enter

    def work() -> Exported | Task:
        threads = max(1, site.cores // site.jobs)
        try:
            with site.room.taken(_needed_bytes(site, task)) if site.room else nullcontext():
                exported: Exported | Task = pipeline.export(task, threads=threads, enter=enter)
        except OutOfMemory:
            if site.jobs == 1:
                raise
            shutil.rmtree(task.scratch)
            exported = task
        enter(Stage.WAIT)
        return exported

    return attempt(wanted.progress, work)


def _complete(site: Site, wanted: Wanted, exported: Exported | Task | Failed) -> Built | Failed:
    """Whatever writes to the store or must not be disturbed; runs alone."""
    if isinstance(exported, Failed):
        return exported
    name, version, enter = wanted.model.name, wanted.version, wanted.progress.enter

    def work() -> Built:
        ready = (
            pipeline.export(exported, threads=site.cores, enter=enter)
            if isinstance(exported, Task)
            else exported
        )
        enter(Stage.PROBE)
        notes = pipeline.finish(ready)
        files = ready.task.files
        if site.dry_run:
            enter(Stage.DRY_RUN)
            site.dry_run(name, version, files, site.store)
        enter(Stage.PUBLISH)
        publish.publish(site.store, name, version, files.path, intent=wanted.model.intent)
        enter(Stage.BUILT)
        return Built(name, version, dict(wanted.progress.seconds), notes)

    return attempt(wanted.progress, work)


def _scratch(site: Site, wanted: Wanted) -> Path:
    return site.scratch / f"{wanted.model.name}-{wanted.version}"


def _missing_for_plans(scratch: Path) -> GeneratorError | None:
    """Why no TensorRT plan can be built here; None where one can."""
    try:
        see_builder(scratch)
    except GeneratorError as error:
        return error
    return None


def _needed_bytes(site: Site, task: Task) -> int:
    """Of memory, for the export: known from the files named, or from the version before."""
    files = (site.folder / name for name in task.named)
    weights_bytes = sum(loaded_bytes(path) for path in files if path.is_file())
    for version in site.store.versions(task.model.name)[-1:]:
        with suppress(InvalidArtifact):
            before = read_manifest(site.store.version(task.model.name, version).manifest)
            weights_bytes = max(weights_bytes, before.cost.disk_bytes)
    return capacity.needed_bytes(weights_bytes)
