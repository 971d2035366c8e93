"""One ensemble, from its models' manifests to a folder that is ready to be published."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from contract.layout import Store, VersionFolder
from contract.manifest import Cost, Manifest, Signature, record_files
from generator import worker
from generator.ensembles.config import ensemble_config
from generator.ensembles.models import Models, fingerprint
from generator.ensembles.wiring import wire
from generator.fingerprint import tool_versions
from generator.recipe import EnsembleRecipe, Recipe
from generator.reports.chain import ChainJob, ChainReport, Link


def assemble(
    ensemble: EnsembleRecipe,
    *,
    version: int,
    recipe: Recipe,
    store: Store,
    models: Models,
    scratch: Path,
    threads: int,
) -> VersionFolder:
    """Write config, golden samples and manifest into a folder below `scratch`.

    Raises:
        GeneratorError: the steps do not fit together, or a model fails on what it is given.
    """
    files = VersionFolder(scratch / "version")
    files.path.mkdir(parents=True)
    signature = wire(ensemble, {name: manifest.signature for name, manifest in models.items()})
    files.config.write_text(ensemble_config(ensemble, signature))
    links = tuple(
        Link(
            label=ensemble.label(step),
            folder=store.version(step.model, models[step.model].version).path.absolute(),
            inputs=step.inputs,
            outputs=step.outputs,
        )
        for step in ensemble.run_order()
    )
    worker.run(
        "generator.ensembles.chain",
        ChainJob(
            links=links,
            inputs=ensemble.inputs,
            outputs=ensemble.outputs,
            max_batch_size=signature.max_batch_size,
            threads=threads,
            golden=files.golden,
        ),
        ChainReport,
        scratch=scratch,
        cwd=scratch,
    )
    manifest = Manifest(
        model=ensemble.name,
        version=version,
        fingerprint=fingerprint(ensemble, recipe, models),
        built_at=datetime.now(UTC),
        triton=recipe.triton,
        target=recipe.target,
        tools=tool_versions(),
        sources={},
        files=record_files(files.path),
        signature=signature,
        serving_sha256=hashlib.sha256(files.config.read_bytes()).hexdigest(),
        tolerances=_tolerances(signature, models),
        cost=_cost(files),
        composing={name: manifest.version for name, manifest in models.items()},
    )
    files.manifest.write_text(manifest.model_dump_json(indent=2) + "\n")
    return files


def _tolerances(signature: Signature, models: Models) -> dict[str, float]:
    """The largest of any model's on the way: what is uncertain there is uncertain at the end."""
    limits = [limit for manifest in models.values() for limit in manifest.tolerances.values()]
    largest = max(limits, default=0.0)
    return {spec.name: largest for spec in signature.outputs if spec.datatype.is_float}


def _cost(files: VersionFolder) -> Cost:
    """An ensemble holds nothing but its files: what it costs, its models cost."""
    disk_bytes = sum(path.stat().st_size for path in files.path.rglob("*") if path.is_file())
    return Cost(
        disk_bytes=disk_bytes,
        private_bytes=0,
        shared_bytes=0,
        peak_bytes=0,
        load_s=0.0,
        load_cold_s=0.0,
        shapes=(),
    )
