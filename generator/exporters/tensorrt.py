"""ONNX to a TensorRT plan, by what the Python APIs of TensorRT 10 and 11 have in common.

Run as a worker, it says which TensorRT and which GPU are here. `tests/unit/generator/exporters`
holds the names that are called to those found in the bindings of both.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from generator import worker
from generator.accelerators import Profile
from generator.checks.cuda import Driver
from generator.checks.engine import REMEDY, import_tensorrt
from generator.errors import StageRefused
from generator.recipe.formats import Hardware, TensorRT
from generator.reports.convert import BuilderJob, BuilderReport

_HARDWARE: dict[Hardware, str] = {
    "none": "NONE",
    "same-compute-capability": "SAME_COMPUTE_CAPABILITY",
    "ampere-plus": "AMPERE_PLUS",
}


def builder_here(_: BuilderJob) -> BuilderReport:
    """What plans built here are bound to.

    Raises:
        StageRefused: TensorRT or a GPU is missing; says which, and what to do.
    """
    trt = import_tensorrt()
    try:
        gpu = Driver().gpu()
        _builder(trt, _logger(trt))
    except StageRefused as error:
        raise StageRefused(f"{error}; {REMEDY}") from error
    return BuilderReport(
        tensorrt=trt.__version__, gpu=gpu.name, compute_capability=gpu.compute_capability
    )


def build_plan(
    onnx: Path, asked: TensorRT, profiles: Sequence[Profile], *, timings: bytes
) -> tuple[bytes, bytes]:
    """The plan of an ONNX file, and the kernel timings for the next build.

    `timings` are those of an earlier build with the same TensorRT on the same GPU, or empty. The
    precision is the graph's; TF32 is off, because its error is a thousand times that of float32.

    Raises:
        StageRefused: TensorRT does not take the graph, or finds no kernels for it.
    """
    trt = import_tensorrt()
    logger = _logger(trt)
    builder = _builder(trt, logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    # By path, so that the weights beside it are found.
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        raise StageRefused(
            f"TensorRT {trt.__version__} does not take the graph: {parser.get_error(0).desc()}; "
            "write format: onnx-tensorrt, which leaves to ONNX Runtime what TensorRT cannot do"
        )
    config = _configure(trt, builder, asked, profiles)
    # Held until the plan is built: the config does not keep it alive.
    known = config.create_timing_cache(timings)
    config.set_timing_cache(known, ignore_mismatch=False)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise StageRefused(
            f"TensorRT {trt.__version__} cannot build a plan; raise workspace_bytes, lower the "
            "largest dims or max_batch_size, or write format: onnx-tensorrt"
        )
    return bytes(plan), bytes(config.get_timing_cache().serialize())


def _configure(trt: Any, builder: Any, asked: TensorRT, profiles: Sequence[Profile]) -> Any:
    config = builder.create_builder_config()
    config.builder_optimization_level = asked.optimization_level
    config.hardware_compatibility_level = getattr(
        trt.HardwareCompatibilityLevel, _HARDWARE[asked.hardware]
    )
    config.clear_flag(trt.BuilderFlag.TF32)
    if asked.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if asked.workspace_bytes:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, asked.workspace_bytes)
    if profiles:
        ranges = builder.create_optimization_profile()
        for profile in profiles:
            ranges.set_shape(profile.input, profile.min, profile.opt, profile.max)
        config.add_optimization_profile(ranges)
    return config


def _logger(trt: Any) -> Any:
    return trt.Logger(trt.Logger.WARNING)


def _builder(trt: Any, logger: Any) -> Any:
    try:
        return trt.Builder(logger)
    # What its bindings make of a null pointer: CUDA cannot be initialised.
    except TypeError as error:
        raise StageRefused(f"TensorRT {trt.__version__} finds no GPU: {error}") from error


if __name__ == "__main__":
    worker.main(builder_here, BuilderJob)
