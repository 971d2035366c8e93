"""Every decision about `config.pbtxt`, so that the template only prints. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from contract.dtypes import Datatype
from contract.layout import ONNX_MODEL, TENSORRT_PLAN
from contract.manifest import ShapeCost
from generator.accelerators import Accelerator
from generator.config.labels import label_file
from generator.config.preferred import cheapest
from generator.config.triton import (
    Control,
    Instances,
    SequenceBatching,
    State,
    Tensor,
    TritonConfig,
    Warmup,
    WarmupTensor,
)
from generator.errors import ConfigRefused
from generator.recipe import Batching, Input, InstanceGroup, ModelRecipe, Target
from generator.recipe.formats import TensorRT
from generator.reports import GraphTensor, WarmupSample

_KINDS = {"cpu": "KIND_CPU", "gpu": "KIND_GPU", "auto": "KIND_AUTO", "model": "KIND_MODEL"}
_CONTROLS = {
    "start": "CONTROL_SEQUENCE_START",
    "end": "CONTROL_SEQUENCE_END",
    "ready": "CONTROL_SEQUENCE_READY",
    "corrid": "CONTROL_SEQUENCE_CORRID",
}
_FALSE_TRUE = {
    Datatype.BOOL: "bool_false_true: [false, true]",
    Datatype.INT32: "int32_false_true: [0, 1]",
    Datatype.FP32: "fp32_false_true: [0, 1]",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What export and measurements found out; nothing yet, where the recipe alone is looked at.

    `outputs` are the graph's, with batch dimension. `counts` holds the runs until steady by
    sample name; a sample without one runs once. `costs` are what sizes of batches are chosen by;
    before anything was measured, all that come into question are preferred. `graph_level` 0 leaves
    it to ONNX Runtime.
    """

    outputs: Sequence[GraphTensor] = ()
    samples: Sequence[WarmupSample] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    costs: Sequence[ShapeCost] = ()
    graph_level: int = 0


def derive(
    model: ModelRecipe,
    found: Findings,
    *,
    target: Target,
    accelerator: Accelerator | None = None,
) -> TritonConfig:
    """The complete config: with a tensor missing, Triton would load the model twice to guess.

    Raises:
        ConfigRefused: batch sizes are to be measured for something else than the CPU.
    """
    states = model.sequence.states if model.sequence else {}
    is_plan = isinstance(model.format, TensorRT)
    labelled = [output.name for output in model.outputs if output.labels]
    return TritonConfig(
        name=model.name,
        backend="tensorrt" if is_plan else "onnxruntime",
        model_filename=TENSORRT_PLAN if is_plan else ONNX_MODEL,
        max_batch_size=model.max_batch_size,
        inputs=tuple(
            _tensor(spec.name, spec.dtype, _dims(spec), model, is_optional=spec.optional)
            for spec in model.inputs
            if spec.name not in states and not spec.control
        ),
        outputs=tuple(
            _tensor(
                tensor.name,
                tensor.datatype,
                tensor.shape[1 if model.max_batch_size else 0 :],
                model,
                label_filename=label_file(tensor.name) if tensor.name in labelled else None,
            )
            for tensor in found.outputs
            if tensor.name not in states.values()
        ),
        versions=_versions(model),
        instances=_instances(model, target),
        batching=_batching(model, target, found.costs),
        sequence=_sequence(model),
        graph_level=found.graph_level,
        accelerator=accelerator,
        response_cache=model.response_cache,
        # Warm-up goes past the batcher, and with it past the states.
        warmups=()
        if states
        else tuple(_warmup(sample, found.counts.get(sample.name, 1)) for sample in found.samples),
        passthrough=model.config,
    )


def _tensor(
    name: str,
    datatype: Datatype,
    dims: tuple[int, ...],
    model: ModelRecipe,
    *,
    is_optional: bool = False,
    label_filename: str | None = None,
) -> Tensor:
    return Tensor(
        name=name,
        data_type=datatype.config_name,
        dims=dims or (1,),
        # Without a batch dimension the backend takes [1] for a scalar, and a reshape is refused.
        is_scalar=not dims and model.max_batch_size > 0,
        is_optional=is_optional,
        label_filename=label_filename,
    )


def _dims(spec: Input) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) else -1 for size in spec.shape)


def _versions(model: ModelRecipe) -> int | Literal["all"] | None:
    if model.version_policy is None and "version_policy" in model.config:
        return None
    return model.version_policy or 1


def _instances(model: ModelRecipe, target: Target) -> tuple[Instances, ...]:
    groups = model.instances
    if isinstance(groups, int):
        groups = (InstanceGroup(kind=target, count=groups),)
    return tuple(
        Instances(
            kind=_KINDS[group.kind],
            count=group.count,
            gpus=group.gpus,
            resources=group.resources,
            priority=group.priority,
        )
        for group in groups
    )


def _batching(model: ModelRecipe, target: Target, costs: Sequence[ShapeCost]) -> Batching | None:
    if model.batching is None or not model.batching.measured:
        return model.batching
    if target != "cpu":
        raise ConfigRefused(
            f"{model.name}: batch sizes are measured on the CPU, which says nothing of target "
            f"{target}; write the sizes to prefer, or leave them to Triton: preferred: []"
        )
    batching = model.batching.within(model.max_batch_size)
    sizes = cheapest(costs, batching.preferred) if costs else batching.preferred
    return batching.model_copy(update={"preferred": sizes})


def _sequence(model: ModelRecipe) -> SequenceBatching | None:
    if model.sequence is None:
        return None
    specs = {spec.name: spec for spec in model.inputs}
    return SequenceBatching(
        max_idle_us=model.sequence.max_idle_us,
        max_queue_delay_us=model.sequence.max_queue_delay_us,
        max_candidates=model.sequence.max_candidates,
        preferred=model.sequence.preferred,
        controls=tuple(_control(spec, spec.control) for spec in model.inputs if spec.control),
        states=tuple(
            State(
                input=given,
                output=taken,
                data_type=specs[given].dtype.config_name,
                dims=_dims(specs[given]),
                initial_dims=tuple(max(1, size) for size in _dims(specs[given])),
            )
            for given, taken in model.sequence.states.items()
        ),
    )


def _control(spec: Input, control: str) -> Control:
    return Control(
        name=spec.name,
        kind=_CONTROLS[control],
        setting=f"data_type: {spec.dtype.config_name}"
        if control == "corrid"
        else _FALSE_TRUE[spec.dtype],
    )


def _warmup(sample: WarmupSample, count: int) -> Warmup:
    return Warmup(
        name=sample.name,
        batch_size=sample.batch,
        count=count,
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
