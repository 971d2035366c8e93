"""TensorRT plans, as the parent process sees them: whether they can be built here, and building."""

from collections.abc import Mapping
from pathlib import Path

from generator import worker
from generator.accelerators import profiles
from generator.cache import cache_folder
from generator.recipe import ModelRecipe
from generator.recipe.formats import TensorRT
from generator.reports.convert import BuilderJob, BuilderReport, ConvertJob, ConvertReport


def see_builder(scratch: Path) -> BuilderReport:
    """TensorRT and GPU of this machine, which take a second to ask.

    Raises:
        StageRefused: one is missing; says which, and what to do.
    """
    return worker.run(
        "generator.exporters.tensorrt",
        BuilderJob(),
        BuilderReport,
        scratch=scratch,
        cwd=scratch,
    )


def convert(
    model: ModelRecipe,
    asked: TensorRT,
    folder: Path,
    *,
    tolerances: Mapping[str, float],
    top_k: Mapping[str, int],
    scratch: Path,
) -> ConvertReport:
    """Put a plan in the place of `folder`'s ONNX files.

    Raises:
        GeneratorError: it cannot be built, or answers wrongly.
    """
    job = ConvertJob(
        folder=folder,
        cache=cache_folder() / "tensorrt",
        format=asked,
        profiles=profiles(model),
        tolerances=dict(tolerances),
        top_k=dict(top_k),
    )
    return worker.run(
        "generator.exporters.convert", job, ConvertReport, scratch=scratch, cwd=scratch
    )
