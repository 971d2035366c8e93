"""A recipe into a store: the generator's entry.

What a build without changes does not need is imported where it is: libraries that take longer to
import than two hundred models take to be found unchanged.
"""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from contract.errors import ArtifactUnreadable, InvalidArtifact
from contract.layout import Store, VersionFolder
from contract.manifest import Manifest, read_manifest
from generator import capacity
from generator.ensembles.models import fingerprint, read_models
from generator.errors import VersionTaken
from generator.events import BuildEvent, BuildReport, Built, Failed, Progress, Stage, Unchanged
from generator.fingerprint import is_current
from generator.hashes import Hashes
from generator.publishing import publish
from generator.publishing.lock import locked
from generator.publishing.staging import remove_leftovers
from generator.recipe import EnsembleRecipe, ModelRecipe, load_recipe
from generator.scratch import scratch_folder
from generator.site import DryRun, Site, Wanted, attempt


def build(
    recipe: Path,
    store: Path,
    *,
    jobs: int | None,
    report: Callable[[BuildEvent], None],
    triton: str | None = None,
    wait: bool = False,
    packages: Path | None = None,
    dry_run: DryRun | None = None,
) -> BuildReport:
    """Build what changed since the last time and publish it.

    Up to `jobs` models are exported and verified at once; without a number, as many as cores and
    memory allow. Then they are measured and published one after the other, because measuring
    beside an export measures the export. `report` is called by one thread at a time. A model that
    fails leaves the others and the store alone. `triton` is the release to build for where the
    recipe names none; `packages` has that release's own ONNX Runtime, where models are to be
    proven in it. `wait` waits for another builder in the same store.

    Raises:
        RecipeError: the recipe is impossible, or names another release; nothing was built.
        StoreBusy: another builder is at work in the store.
        PublishFailed: the store cannot be written at all.
    """
    loaded = load_recipe(recipe, triton=triton)
    folder = recipe.resolve().parent
    announce = _one_at_a_time(report)
    with locked(store, wait=wait), scratch_folder() as scratch:
        cores = capacity.usable_cores()
        site = Site(
            recipe=loaded,
            folder=folder,
            store=Store(store),
            hashes=Hashes.beside(folder),
            scratch=scratch,
            cores=cores,
            jobs=jobs or cores,
            room=None if jobs else capacity.Room(capacity.usable_bytes()),
            packages=packages,
            dry_run=dry_run,
        )
        remove_leftovers(site.store)
        outcomes = [
            *_build_models(site, announce),
            # Last: they are made of the models' newest versions.
            *(_chain(site, ensemble, announce) for ensemble in loaded.ensembles),
        ]
        site.hashes.keep()
    return BuildReport(
        built=tuple(outcome for outcome in outcomes if isinstance(outcome, Built)),
        unchanged=tuple(outcome for outcome in outcomes if isinstance(outcome, Unchanged)),
        failed=tuple(outcome for outcome in outcomes if isinstance(outcome, Failed)),
        warnings=tuple(filter(None, [loaded.release.warning])),
    )


def _build_models(
    site: Site, announce: Callable[[BuildEvent], None]
) -> list[Built | Unchanged | Failed]:
    """Every model's outcome, in order."""
    models = site.recipe.models
    progress = [Progress(model.name, model.version, announce) for model in models]
    planned = [_plan(site, *each) for each in zip(models, progress, strict=True)]
    wanted = [each for each in planned if isinstance(each, Wanted)]
    built: Iterator[Built | Failed] = iter(())
    if wanted:
        from generator.changed import build_changed  # noqa: PLC0415  (see the top)

        built = iter(build_changed(site, wanted))
    return [next(built) if isinstance(each, Wanted) else each for each in planned]


def _plan(site: Site, model: ModelRecipe, progress: Progress) -> Wanted | Unchanged | Failed:
    """What has to be done; an unchanged model is finished here."""

    def work() -> Wanted | Unchanged:
        version, changed = _wanted_version(
            site.store,
            model.name,
            model.version,
            lambda manifest: is_current(manifest, model, site.recipe, site.folder, site.hashes),
        )
        if changed:
            return Wanted(model, version, progress)
        if site.packages:
            from generator.proving import prove_published  # noqa: PLC0415  (see the top)

            files = site.store.version(model.name, version)
            prove_published(model, files, site.recipe.release, site.packages, scratch=site.scratch)
        publish.refresh(site.store, model.name, intent=model.intent)
        progress.enter(Stage.UNCHANGED)
        return Unchanged(model.name, version)

    return attempt(progress, work)


def _chain(
    site: Site, ensemble: EnsembleRecipe, announce: Callable[[BuildEvent], None]
) -> Built | Unchanged | Failed:
    progress = Progress(ensemble.name, ensemble.version, announce)

    def work() -> Built | Unchanged:
        models = read_models(ensemble, site.store)
        wanted = fingerprint(ensemble, site.recipe, models)
        version, changed = _wanted_version(
            site.store,
            ensemble.name,
            ensemble.version,
            lambda manifest: manifest.fingerprint == wanted,
        )
        if not changed:
            publish.refresh(site.store, ensemble.name, intent=None)
            progress.enter(Stage.UNCHANGED)
            return Unchanged(ensemble.name, version)
        from generator.ensembles.build import assemble  # noqa: PLC0415  (see the top)

        progress.enter(Stage.VERIFY)
        files = assemble(
            ensemble,
            version=version,
            recipe=site.recipe,
            store=site.store,
            models=models,
            scratch=site.scratch / f"{ensemble.name}-{version}",
            threads=site.cores,
        )
        if site.dry_run:
            progress.enter(Stage.DRY_RUN)
            site.dry_run(ensemble.name, version, files, site.store)
        progress.enter(Stage.PUBLISH)
        publish.publish(site.store, ensemble.name, version, files.path, intent=None)
        progress.enter(Stage.BUILT)
        return Built(ensemble.name, version, dict(progress.seconds))

    return attempt(progress, work)


def _wanted_version(
    store: Store, name: str, asked: int | None, is_current: Callable[[Manifest], bool]
) -> tuple[int, bool]:
    """The version that the recipe means, and whether it has to be built.

    Raises:
        VersionTaken: the recipe names an existing version that was built from something else.
    """
    existing = store.versions(name)
    version = asked or max(existing, default=1)
    if version not in existing:
        return version, True
    manifest = _manifest_unless_damaged(store.version(name, version))
    if manifest is not None and is_current(manifest):
        return version, False
    if asked:
        raise VersionTaken(
            f"{name} version {version} exists and was built from something else; a version "
            f"never changes: write version: {max(existing) + 1}, or leave `version` out"
        )
    return max(existing) + 1, True


def _manifest_unless_damaged(version: VersionFolder) -> Manifest | None:
    """A damaged version is built again, under the next number.

    Raises:
        ArtifactUnreadable: nothing is known of it while the disk does not let it be read.
    """
    try:
        return read_manifest(version.manifest)
    except ArtifactUnreadable:
        raise
    except InvalidArtifact:
        return None


def _one_at_a_time(report: Callable[[BuildEvent], None]) -> Callable[[BuildEvent], None]:
    lock = threading.Lock()

    def announce(event: BuildEvent) -> None:
        with lock:
            report(event)

    return announce
