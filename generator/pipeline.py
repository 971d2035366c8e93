"""One model's way from recipe to a folder that is ready to be published."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from contract.layout import VersionFolder
from contract.manifest import Cost, Manifest, Signature, TensorSpec, record_files
from contract.samples import read_golden, write_golden
from generator import lint, warmup, worker
from generator.events import Stage
from generator.fingerprint import fingerprint, tool_versions
from generator.golden import select
from generator.measurements import quietest
from generator.recipe import ModelRecipe, Recipe
from generator.render import render
from generator.reports import (
    CASES,
    ExportJob,
    ExportReport,
    GraphTensor,
    ProbeJob,
    ProbeReport,
    VerifyJob,
    VerifyReport,
    WarmupSample,
)
from generator.triton_config import derive

# Two fresh processes: one alone is too easily disturbed by whatever else the machine does.
_PROBES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A version to build; `scratch` is a folder of its own."""

    model: ModelRecipe
    version: int
    recipe: Recipe
    recipe_folder: Path
    scratch: Path

    @property
    def files(self) -> VersionFolder:
        """The version's files, before they are published."""
        return VersionFolder(self.scratch / "version")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A task whose ONNX files are written and verified."""

    task: Task
    sources: dict[str, str]
    tolerances: dict[str, float]
    graph: VerifyReport


def export(task: Task, *, threads: int, enter: Callable[[Stage], None]) -> Exported:
    """Write and verify the ONNX files, golden samples and warm-up data.

    `enter` is called with each stage as it begins.

    Raises:
        GeneratorError: the model cannot be built; says why.
    """
    # Before minutes of exporting: what the recipe alone gets wrong.
    lint.check_message(_config(task, (), {}), task.model.name)
    folder = task.files.path
    folder.mkdir(parents=True)
    enter(Stage.EXPORT)
    report = worker.run(
        "generator.exporters.onnx",
        ExportJob(
            model=task.model, recipe_folder=task.recipe_folder, folder=folder, threads=threads
        ),
        ExportReport,
        scratch=task.scratch,
        cwd=task.recipe_folder,
    )
    enter(Stage.VERIFY)
    graph = worker.run(
        "generator.verify",
        VerifyJob(folder=folder, tolerances=report.tolerances, threads=threads),
        VerifyReport,
        scratch=task.scratch,
        cwd=task.scratch,
    )
    _write_samples(task)
    return Exported(task=task, sources=report.sources, tolerances=report.tolerances, graph=graph)


def finish(exported: Exported) -> None:
    """Measure, then write config and manifest: the folder is complete afterwards.

    Raises:
        GeneratorError: a warm-up sample fails, or Triton would refuse the config.
    """
    task = exported.task
    samples = warmup.plan(task.model)
    probed = quietest([_probe(task, samples) for _ in range(_PROBES)])
    counts = {
        sample.name: cost.runs_until_steady
        for sample, cost in zip(samples, probed.shapes, strict=True)
    }
    text = _config(task, exported.graph.outputs, counts)
    sizes = {path.name: path.stat().st_size for path in task.files.warmup.iterdir()}
    lint.check(text, task.model.name, graph=exported.graph, warmup=sizes)
    task.files.config.write_text(text)
    manifest = _manifest(exported, probed)
    task.files.manifest.write_text(manifest.model_dump_json(indent=2) + "\n")


def _probe(task: Task, samples: tuple[WarmupSample, ...]) -> ProbeReport:
    job = ProbeJob(
        folder=task.files.path,
        samples=samples,
        has_batch_dimension=task.model.max_batch_size > 0,
    )
    return worker.run("generator.probe", job, ProbeReport, scratch=task.scratch, cwd=task.scratch)


def _write_samples(task: Task) -> None:
    cases = task.files.path / CASES
    write_golden(task.files.golden, select(read_golden(cases)))
    cases.unlink()
    task.files.warmup.mkdir()
    for name, content in warmup.data_files(task.model).items():
        (task.files.warmup / name).write_bytes(content)


def _config(task: Task, outputs: tuple[GraphTensor, ...], counts: dict[str, int]) -> str:
    config = derive(
        task.model,
        target=task.recipe.target,
        outputs=outputs,
        samples=warmup.plan(task.model),
        counts=counts,
    )
    return render(config)


def _manifest(exported: Exported, probed: ProbeReport) -> Manifest:
    task = exported.task
    files = record_files(task.files.path)
    disk_bytes = sum(record.bytes for record in files.values())
    return Manifest(
        model=task.model.name,
        version=task.version,
        fingerprint=fingerprint(task.model, task.recipe, task.recipe_folder, exported.sources),
        built_at=datetime.now(UTC),
        triton=task.recipe.triton,
        target=task.recipe.target,
        tools=tool_versions(),
        sources=exported.sources,
        files=files,
        signature=_signature(task.model, exported.graph),
        serving_sha256=_serving_hash(task.files),
        tolerances=exported.tolerances,
        cost=Cost(disk_bytes=disk_bytes, **dict(probed)),
    )


def _signature(model: ModelRecipe, graph: VerifyReport) -> Signature:
    lead = 1 if model.max_batch_size else 0
    inputs, outputs = (
        tuple(
            TensorSpec(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape[lead:])
            for tensor in tensors
        )
        for tensors in (graph.inputs, graph.outputs)
    )
    return Signature(inputs=inputs, outputs=outputs, max_batch_size=model.max_batch_size)


def _serving_hash(files: VersionFolder) -> str:
    """Over what Triton sees besides the weights: config and warm-up data."""
    digest = hashlib.sha256()
    for path in (files.config, *sorted(files.warmup.iterdir())):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()
