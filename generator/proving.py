"""A version in the ONNX Runtime of the release that will serve it, on request.

`packages` is always a folder with that release's `onnxruntime`, as `pip --target` makes it.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from contract.layout import VersionFolder
from contract.manifest import Proof, read_manifest
from generator import worker
from generator.errors import NotProven, StageRefused, WorkerDied
from generator.recipe import ModelRecipe
from generator.recipe.formats import TensorRT
from generator.releases import Release
from generator.reports import ProofJob, ProofReport


def prove(
    model: ModelRecipe,
    files: VersionFolder,
    release: Release,
    packages: Path,
    *,
    tolerances: Mapping[str, float],
    scratch: Path,
) -> Proof | None:
    """Load the model and ask its golden samples in a process of its own.

    None for a TensorRT plan, which ONNX Runtime does not serve.

    Raises:
        NotProven: it does not load there, answers wrongly, or ONNX Runtime dies of it.
        WorkerCrashed: as `worker.run`, but for that death.
    """
    if isinstance(model.format, TensorRT):
        return None
    job = ProofJob(
        folder=files.path.absolute(),
        tolerances=dict(tolerances),
        top_k=model.top_k,
        onnxruntime=release.onnxruntime,
    )
    path = [str(packages.absolute()), os.environ.get("PYTHONPATH")]
    try:
        report = worker.run(
            "generator.checks.proof",
            job,
            ProofReport,
            scratch=scratch,
            cwd=scratch,
            environment={"PYTHONPATH": os.pathsep.join(filter(None, path))},
        )
    except WorkerDied as death:
        raise NotProven(
            f"ONNX Runtime {release.onnxruntime} of Triton {release.name} dies of it: {death}; "
            "try less optimization (config: {optimization: {graph: {level: 1}}}) or another release"
        ) from death
    except StageRefused as refusal:
        raise NotProven(
            f"not proven in ONNX Runtime {release.onnxruntime} of Triton {release.name}: {refusal}"
        ) from refusal
    return report.proof


def prove_published(
    model: ModelRecipe, files: VersionFolder, release: Release, packages: Path, *, scratch: Path
) -> None:
    """Prove a version of the store, unless its manifest says that it was.

    Raises:
        NotProven: as `prove`.
    """
    manifest = read_manifest(files.manifest)
    if manifest.proof is None or manifest.proof.onnxruntime != release.onnxruntime:
        tolerances = manifest.tolerances
        prove(model, files, release, packages, tolerances=tolerances, scratch=scratch)
