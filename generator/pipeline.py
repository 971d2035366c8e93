"""One model's way from recipe to a folder that is ready to be published."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contract.config import parse_config, read_config
from contract.layout import CONFIG, ONNX_DATA, ONNX_MODEL, VersionFolder
from contract.manifest import (
    Cost,
    Manifest,
    Proof,
    Reference,
    ShapeCost,
    Signature,
    TensorSpec,
    Verification,
    WarmupPlan,
    record_files,
    sha256_of,
)
from contract.samples import read_golden, write_golden
from contract.warmup import datatype_from_config
from generator import plans, worker
from generator.accelerators import GRAPH_LEVELS, served_limits
from generator.checks.measurements import quietest
from generator.config.configs import configs
from generator.config.derive import Findings
from generator.config.labels import check_labels, write_labels
from generator.errors import WorkerDied
from generator.events import Stage
from generator.fingerprint import fingerprint, tool_versions
from generator.lint import config as lint
from generator.proving import prove
from generator.recipe import ModelRecipe, Recipe
from generator.recipe.formats import TensorRT
from generator.reports import (
    CASES,
    ColdLoadJob,
    ColdLoadReport,
    GraphFacts,
    ProbeJob,
    ProbeReport,
    VerifyJob,
    VerifyReport,
    WarmupSample,
)
from generator.reports.export import ExportJob, ExportReport
from generator.samples import warmup
from generator.samples.golden import select
from generator.samples.real import read_real

# Two fresh processes: one alone is too easily disturbed by whatever else the machine does.
_PROBES = 2
# In the current folder, where everything lies that can be deleted.
FAILURES = Path(".pilotlight/failures")


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A version to build; `scratch` is a folder of its own.

    The input that the ONNX model answers wrongly goes into the folder `failures`. `packages` has
    the release's own ONNX Runtime, where the version is to be proven in it. `named` are the files
    that the recipe names, with the hashes that they had when the build began.
    """

    model: ModelRecipe
    version: int
    recipe: Recipe
    recipe_folder: Path
    named: Mapping[str, str]
    scratch: Path
    failures: Path = FAILURES
    packages: Path | None = None

    @property
    def files(self) -> VersionFolder:
        """The version's files, before they are published."""
        return VersionFolder(self.scratch / "version")

    @property
    def has_pytorch(self) -> bool:
        """Whether PyTorch is imported for it in any case; an ONNX file is adopted without."""
        return self.model.onnx is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A task whose model files are written and verified.

    `tools` are those of a plan, which is bound to them; `notes` are what whoever builds should
    know.
    """

    task: Task
    sources: dict[str, str]
    tolerances: dict[str, float]
    reference: Reference
    graph: VerifyReport
    graph_level: int
    tools: dict[str, str]
    samples: tuple[WarmupSample, ...]
    notes: tuple[str, ...]


def export(task: Task, *, threads: int, enter: Callable[[Stage], None]) -> Exported:
    """Write and verify the ONNX files, golden samples and warm-up data.

    `enter` is called with each stage as it begins.

    Raises:
        GeneratorError: the model cannot be built; says why.
    """
    # Before minutes of exporting: what the recipe alone gets wrong.
    samples = warmup.plan(task.model, target=task.recipe.target)
    for text in _configs(task, Findings(samples=samples)).values():
        lint.check_message(text, task.model.name, triton=task.recipe.triton)
    folder = task.files.path
    folder.mkdir(parents=True)
    write_labels(task.model, task.recipe_folder, folder)
    enter(Stage.EXPORT)
    report = _export(task, threads=threads)
    enter(Stage.VERIFY)
    graph, graph_level = _verify(task, report, threads=threads)
    check_labels(task.model, graph.outputs, folder)
    tools: dict[str, str] = {}
    if isinstance(task.model.format, TensorRT):
        enter(Stage.CONVERT)
        converted = plans.convert(
            task.model,
            task.model.format,
            folder,
            tolerances=report.tolerances,
            top_k=task.model.top_k,
            scratch=task.scratch,
        )
        # ONNX Runtime has done its part.
        graph, graph_level = graph.model_copy(update={"evidence": converted.evidence}), 0
        tools = converted.tools
    samples = warmup.plan(
        task.model,
        target=task.recipe.target,
        has_convolutions=report.facts.has_convolutions,
    )
    _write_samples(task, report.facts, samples)
    return Exported(
        task=task,
        sources=report.sources,
        tolerances=report.tolerances,
        reference=report.reference,
        graph=graph,
        graph_level=graph_level,
        tools=tools,
        samples=samples,
        notes=report.notes,
    )


def _export(task: Task, *, threads: int) -> ExportReport:
    job = ExportJob(
        model=task.model,
        recipe_folder=task.recipe_folder,
        folder=task.files.path,
        threads=threads,
    )
    return worker.run(
        "generator.exporters.onnx" if task.has_pytorch else "generator.exporters.adopt",
        job,
        ExportReport,
        scratch=task.scratch,
        cwd=task.recipe_folder,
        forked=task.has_pytorch,
    )


def _verify(task: Task, report: ExportReport, *, threads: int) -> tuple[VerifyReport, int]:
    """The verified graph, with the highest graph level that does not kill ONNX Runtime.

    1.23.2 to 1.31.1 die of a pre-norm transformer in half precision when they optimize all they
    can; 1.22.0 does not.
    """
    for graph_level in GRAPH_LEVELS[:-1]:
        with suppress(WorkerDied):
            return _verify_at(graph_level, task, report, threads=threads), graph_level
    return _verify_at(GRAPH_LEVELS[-1], task, report, threads=threads), GRAPH_LEVELS[-1]


def _verify_at(graph_level: int, task: Task, report: ExportReport, *, threads: int) -> VerifyReport:
    job = VerifyJob(
        folder=task.files.path,
        tolerances=report.tolerances,
        top_k=task.model.top_k,
        graph_level=graph_level,
        triton=task.recipe.triton,
        reference=report.reference,
        threads=threads,
        failure=(task.failures / f"{task.model.name}.npz").absolute(),
    )
    return worker.run(
        "generator.checks.verify",
        job,
        VerifyReport,
        scratch=task.scratch,
        cwd=task.scratch,
        forked=task.has_pytorch,
    )


def finish(exported: Exported) -> tuple[str, ...]:
    """Measure, then write config and manifest: the folder is complete afterwards.

    Returns what whoever builds should know.

    Raises:
        GeneratorError: a warm-up sample fails, or Triton would refuse the config.
    """
    task = exported.task
    probed = quietest([_probe(exported) for _ in range(_PROBES)])
    fitted = configure(exported, probed.shapes)
    measured = {**dict(probed), "shapes": fitted.costs, "load_cold_s": _load_cold_s(exported)}
    plan = WarmupPlan(
        budget_s=task.model.warmup_budget_s, seconds=fitted.seconds, dropped=fitted.dropped
    )
    manifest = _manifest(exported, measured, plan, _proof(exported))
    task.files.manifest.write_text(manifest.model_dump_json(indent=2) + "\n")
    return tuple(filter(None, [*exported.notes, plan.note]))


def configure(exported: Exported, costs: Sequence[ShapeCost]) -> warmup.Fitted:
    """Write the configs that follow from the graph and from what each sample was measured to cost.

    Warm-up data that does not ship is removed.

    Raises:
        GeneratorError: Triton would refuse the config.
    """
    task = exported.task
    fitted = warmup.fit(
        exported.samples,
        costs,
        target=task.recipe.target,
        budget_s=task.model.warmup_budget_s,
    )
    for path in task.files.warmup.iterdir():
        if path.name not in fitted.files:
            path.unlink()
    found = Findings(
        outputs=exported.graph.outputs,
        samples=fitted.samples,
        counts=fitted.counts,
        costs=tuple(costs),
        graph_level=exported.graph_level,
    )
    sizes = {path.name: path.stat().st_size for path in task.files.warmup.iterdir()}
    for name, text in _configs(task, found).items():
        lint.check(
            text,
            task.model.name,
            graph=exported.graph,
            warmup=sizes,
            triton=task.recipe.triton,
        )
        (task.files.path / name).parent.mkdir(exist_ok=True)
        (task.files.path / name).write_text(text)
    return fitted


def _proof(exported: Exported) -> Proof | None:
    task = exported.task
    if task.packages is None:
        return None
    return prove(
        task.model,
        task.files,
        task.recipe.release,
        task.packages,
        tolerances=exported.tolerances,
        scratch=task.scratch,
    )


def _probe(exported: Exported) -> ProbeReport:
    task = exported.task
    job = ProbeJob(
        folder=task.files.path,
        samples=exported.samples,
        has_batch_dimension=task.model.max_batch_size > 0,
        graph_level=exported.graph_level,
    )
    # In a fresh interpreter: free memory that a fork finds would be filled before any is measured.
    return worker.run(
        "generator.checks.probe", job, ProbeReport, scratch=task.scratch, cwd=task.scratch
    )


def _load_cold_s(exported: Exported) -> float | None:
    task = exported.task
    job = ColdLoadJob(folder=task.files.path, graph_level=exported.graph_level)
    return worker.run(
        "generator.checks.cold",
        job,
        ColdLoadReport,
        scratch=task.scratch,
        cwd=task.scratch,
        forked=task.has_pytorch,
    ).load_s


def _write_samples(task: Task, facts: GraphFacts, samples: tuple[WarmupSample, ...]) -> None:
    cases = task.files.path / CASES
    write_golden(task.files.golden, select(read_golden(cases)))
    cases.unlink()
    task.files.warmup.mkdir()
    model = warmup.with_ranges(task.model, facts)
    real = read_real(model, task.recipe_folder)
    for name, content in warmup.data_files(model, samples, real=real).items():
        (task.files.warmup / name).write_bytes(content)


def _configs(task: Task, found: Findings) -> dict[str, str]:
    files = [task.files.path / name for name in (ONNX_MODEL, ONNX_DATA)]
    return configs(
        task.model,
        found,
        target=task.recipe.target,
        release=task.recipe.triton,
        # Before the export there are none: the config is checked then, not served.
        hash_graph=lambda: "".join(sha256_of(path) for path in files if path.is_file()),
    )


def _manifest(
    exported: Exported, measured: dict[str, Any], plan: WarmupPlan, proof: Proof | None
) -> Manifest:
    """`measured` is a Cost but for the bytes on disk, which are known now."""
    task = exported.task
    files = record_files(task.files.path)
    disk_bytes = sum(record.bytes for record in files.values())
    return Manifest(
        model=task.model.name,
        version=task.version,
        fingerprint=fingerprint(task.model, task.recipe, {**exported.sources, **task.named}),
        built_at=datetime.now(UTC),
        triton=task.recipe.triton,
        target=task.recipe.target,
        tools=tool_versions() | exported.tools,
        sources=exported.sources,
        files=files,
        signature=_signature(task),
        serving_sha256=_serving_hash(task.files),
        tolerances=served_limits(task.model, task.recipe.target, exported.tolerances),
        verification=Verification(
            reference=exported.reference,
            cases=exported.graph.cases,
            outputs=exported.graph.evidence,
        ),
        proof=proof,
        cost=Cost(disk_bytes=disk_bytes, **measured),
        warmup=plan,
    )


def _signature(task: Task) -> Signature:
    """Of the config: what Triton itself fills in, no client knows of."""
    config = parse_config(read_config(task.files.config), CONFIG)
    inputs, outputs = (
        tuple(
            TensorSpec(
                name=tensor.name,
                datatype=datatype_from_config(tensor.data_type),
                shape=tuple(tensor.dims),
            )
            for tensor in tensors
        )
        for tensors in (config.input, config.output)
    )
    return Signature(inputs=inputs, outputs=outputs, max_batch_size=config.max_batch_size)


def _serving_hash(files: VersionFolder) -> str:
    """Over what Triton sees besides the weights: configs, labels, warm-up data."""
    digest = hashlib.sha256()
    folders = (files.configs, files.labels, files.warmup)
    beside = [path for folder in folders for path in sorted(folder.glob("*"))]
    for path in (files.config, *beside):
        digest.update(f"{path.name}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()
