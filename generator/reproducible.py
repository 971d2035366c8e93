"""Whether a version comes out the same, to the byte, when it is built again elsewhere."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from contract.errors import ContractError
from contract.layout import GOLDEN, TENSORRT_PLAN, Store
from contract.manifest import Manifest, ShapeCost, read_manifest, sha256_of
from generator import capacity, forks, pipeline
from generator.errors import GeneratorError
from generator.events import BuildEvent, Progress, Stage
from generator.fingerprint import named_files
from generator.pipeline import Exported, Task
from generator.publishing import sharing
from generator.recipe import ModelRecipe, Recipe, load_recipe
from generator.scratch import scratch_folder

# PyTorch's answers depend in their last bits on the number of threads, and TensorRT's choice of
# kernels on their timings.
_FREE_TO_DIFFER = (GOLDEN, TENSORRT_PLAN)


@dataclass(frozen=True, slots=True)
class Differs:
    """`reason` names the first file that came out otherwise, or why none came out."""

    model: str
    version: int
    reason: str


def verify_reproducible(
    recipe: Path,
    store: Path,
    current: Collection[tuple[str, int]],
    *,
    report: Callable[[BuildEvent], None],
    triton: str | None = None,
) -> tuple[Differs, ...]:
    """Build versions a second time, and compare.

    `current` are those, with their models, that the last build made or found unchanged. The second
    build has a folder of its own with nothing in it but the files that a build watches. What was
    measured is taken from the manifest; everything else follows from the recipe. Model files,
    configs, labels and warm-up data are compared. Ensembles are not built again.

    Raises:
        RecipeError: the recipe is impossible.
        InvalidArtifact: a manifest is missing or damaged.
    """
    loaded = load_recipe(recipe, triton=triton)
    folder = recipe.resolve().parent
    forks.renew()
    found = []
    for model in loaded.models:
        version = model.version or max(Store(store).versions(model.name), default=1)
        if (model.name, version) in current:
            manifest = read_manifest(Store(store).version(model.name, version).manifest)
            progress = Progress(model.name, version, report)
            with scratch_folder() as scratch:
                reason = _difference(
                    loaded, model, manifest, folder=folder, scratch=scratch, progress=progress
                )
            progress.enter(Stage.DIFFERS if reason else Stage.REPRODUCED)
            if reason:
                found.append(Differs(model.name, version, reason))
    return tuple(found)


def _difference(
    recipe: Recipe,
    model: ModelRecipe,
    manifest: Manifest,
    *,
    folder: Path,
    scratch: Path,
    progress: Progress,
) -> str | None:
    elsewhere = scratch / "recipe"
    _copy({*manifest.sources, *named_files(model, folder)}, folder, elsewhere)
    task = Task(
        model=model,
        version=manifest.version,
        recipe=recipe,
        recipe_folder=elsewhere,
        named={},
        scratch=scratch,
    )
    try:
        exported = pipeline.export(task, threads=capacity.usable_cores(), enter=progress.enter)
        pipeline.configure(exported, _measured(exported, manifest))
    except (GeneratorError, ContractError, OSError) as error:
        return f"it cannot be built from the files alone that a build watches: {error}"
    return next(_differing(manifest, task.files.path), None)


def _copy(names: Collection[str], source: Path, target: Path) -> None:
    for name in names:
        # What has an absolute path has no other place.
        if not Path(name).is_absolute():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            sharing.copy(source / name, target / name, twins=[source / name])


def _measured(exported: Exported, manifest: Manifest) -> list[ShapeCost]:
    """The costs of the samples, in their order."""
    dropped = manifest.warmup.dropped if manifest.warmup else ()
    known = {
        (cost.batch, frozenset(cost.dims.items())): cost
        for cost in (*manifest.cost.shapes, *dropped)
    }
    return [known[sample.batch, frozenset(sample.dims.items())] for sample in exported.samples]


def _differing(manifest: Manifest, folder: Path) -> Iterator[str]:
    for name, record in manifest.files.items():
        if name in _FREE_TO_DIFFER:
            continue
        path = folder / name
        if not path.is_file():
            yield f"{name} is not there the second time"
        elif sha256_of(path) != record.sha256:
            yield (
                f"{name} comes out otherwise, {path.stat().st_size} bytes against {record.bytes}; "
                "look for random numbers without a seed, times, paths and the order of sets"
            )
