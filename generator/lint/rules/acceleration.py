"""What a config tells ONNX Runtime about TensorRT and CUDA."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from generator.accelerators import CUDA_KEYS_OF_PARAMETERS, GPU_ACCELERATORS, TENSORRT_KEYS
from generator.lint.finding import Problem, Severity, rule
from generator.lint.lines import Step
from generator.lint.repository import Config, Place, Repository

_WAY: tuple[Step, ...] = ("optimization", "execution_accelerators", "gpu_execution_accelerator")
_TRUE = ("1", "true")


@rule(
    "PL501",
    Severity.ERROR,
    why="Triton's ONNX Runtime backend refuses accelerators that it does not know.",
    remedy=f"use one of {', '.join(sorted(GPU_ACCELERATORS))}",
)
def accelerator_unknown(repository: Repository) -> Iterator[Problem]:
    for config, index, said in _accelerators(repository):
        if said.name not in GPU_ACCELERATORS:
            yield Problem(config.at(*_WAY, index, "name"), f"there is no accelerator {said.name!r}")


@rule(
    "PL502",
    Severity.ERROR,
    why=(
        "The backend has a closed list of keys for TensorRT, shorter than ONNX Runtime's own, and "
        "refuses all others."
    ),
    remedy="remove it; the keys are listed in the backend's README",
)
def tensorrt_key_unknown(repository: Repository) -> Iterator[Problem]:
    for config, index, said in _accelerators(repository, "tensorrt"):
        for key in sorted(set(said.parameters) - TENSORRT_KEYS):
            yield Problem(
                config.at(*_WAY, index, "parameters", key), f"{key} is no key of tensorrt"
            )


@rule(
    "PL503",
    Severity.WARNING,
    why="Without a cache TensorRT builds its engines anew at each start, for minutes each.",
    remedy="set trt_engine_cache_enable and trt_engine_cache_path",
)
def engine_not_kept(repository: Repository) -> Iterator[Problem]:
    for config, index, said in _accelerators(repository, "tensorrt"):
        if said.parameters.get("trt_engine_cache_enable", "").lower() not in _TRUE:
            yield Problem(config.at(*_WAY, index), "trt_engine_cache_enable is not set")


@rule(
    "PL504",
    Severity.ERROR,
    why=(
        "ONNX Runtime names an engine by the structure of its graph: of two models that differ in "
        "their weights alone, one answers with the other's engine (onnxruntime#6455)."
    ),
    remedy="give each model a trt_engine_cache_path of its own",
)
def engine_cache_shared(repository: Repository) -> Iterator[Problem]:
    users: dict[str, list[tuple[Config, Place]]] = defaultdict(list)
    for config, index, said in _accelerators(repository, "tensorrt"):
        if said.parameters.get("trt_engine_cache_enable", "").lower() in _TRUE:
            path = said.parameters.get("trt_engine_cache_path", "")
            place = config.at(*_WAY, index, "parameters", "trt_engine_cache_path")
            users[path.rstrip("/")].append((config, place))
    for path, found in users.items():
        names = sorted({config.model.name for config, _ in found})
        for _, place in found if len(names) > 1 else ():
            where = path or "the server's working directory"
            yield Problem(place, f"{', '.join(names)} all keep their engines in {where}")


@rule(
    "PL505",
    Severity.WARNING,
    why=(
        "The backend looks for these among the model's `parameters`, and overwrites what the "
        "accelerator says with their defaults."
    ),
    remedy="move it to the config's `parameters`",
)
def cuda_key_overwritten(repository: Repository) -> Iterator[Problem]:
    for config, index, said in _accelerators(repository, "cuda"):
        for key in sorted(set(said.parameters) & CUDA_KEYS_OF_PARAMETERS):
            yield Problem(
                config.at(*_WAY, index, "parameters", key),
                f"{key} {said.parameters[key]} has no effect here",
            )


def _accelerators(
    repository: Repository, name: str | None = None
) -> Iterator[tuple[Config, int, Any]]:
    for config in repository.configs:
        # Other backends have accelerators of their own.
        if config.backend == "onnxruntime":
            optimization = config.message.optimization
            found = optimization.execution_accelerators.gpu_execution_accelerator
            for index, said in enumerate(found):
                if name in (None, said.name):
                    yield config, index, said
