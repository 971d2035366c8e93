"""Every decision about `config.pbtxt`, so that the template only prints. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from contract.layout import ONNX_MODEL
from generator.recipe import Batching, ModelRecipe, Target
from generator.reports import GraphTensor, WarmupSample

_KINDS = {"cpu": "KIND_CPU", "gpu": "KIND_GPU", "auto": "KIND_AUTO"}

# Every measured model was steady after at most three; a model must not spend minutes here.
_MAX_WARMUP_COUNT = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output as the config lists it: without batch dimension, -1 where it varies."""

    name: str
    data_type: str
    dims: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupTensor:
    name: str
    data_type: str
    dims: tuple[int, ...]
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    name: str
    batch_size: int
    count: int
    inputs: tuple[WarmupTensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonConfig:
    name: str
    backend: str
    model_filename: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    instance_kind: str
    instance_count: int
    batching: Batching | None
    warmups: tuple[Warmup, ...]


def derive(
    model: ModelRecipe,
    *,
    target: Target,
    outputs: Sequence[GraphTensor],
    samples: Sequence[WarmupSample],
    counts: Mapping[str, int],
) -> TritonConfig:
    """The complete config: with a tensor missing, Triton would load the model twice to guess.

    `outputs` are the graph's, with batch dimension. `counts` holds the runs until steady by
    sample name; a sample without one runs once.
    """
    lead = 1 if model.max_batch_size else 0
    return TritonConfig(
        name=model.name,
        backend="onnxruntime",
        model_filename=ONNX_MODEL,
        max_batch_size=model.max_batch_size,
        inputs=tuple(
            Tensor(
                name=spec.name,
                data_type=spec.dtype.config_name,
                dims=tuple(size if isinstance(size, int) else -1 for size in spec.shape),
            )
            for spec in model.inputs
        ),
        outputs=tuple(
            Tensor(
                name=tensor.name,
                data_type=tensor.datatype.config_name,
                dims=tensor.shape[lead:],
            )
            for tensor in outputs
        ),
        instance_kind=_KINDS[target],
        instance_count=model.instances,
        batching=model.batching,
        warmups=tuple(_warmup(sample, counts.get(sample.name, 1)) for sample in samples),
    )


def _warmup(sample: WarmupSample, count: int) -> Warmup:
    return Warmup(
        name=sample.name,
        batch_size=sample.batch,
        count=min(count, _MAX_WARMUP_COUNT),
        inputs=tuple(
            WarmupTensor(
                name=spec.name,
                data_type=spec.datatype.config_name,
                dims=spec.dims,
                file=spec.file,
            )
            for spec in sample.inputs
        ),
    )
