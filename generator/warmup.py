"""Warm-up samples: which shapes, with which data.

Always real data in files: random bytes read as ids point far outside of a table, and a
model that fails in warm-up can take the whole server down.
"""

from contract.samples import warmup_bytes
from generator.recipe import Input, ModelRecipe
from generator.reports import WarmupInput, WarmupSample
from generator.shapes import Shape, concrete, warmup_shapes
from generator.tensors import draw_element


def plan(model: ModelRecipe) -> tuple[WarmupSample, ...]:
    """The samples in the order in which Triton runs them, largest first. Pure."""
    return tuple(_sample(model, shape) for shape in warmup_shapes(model))


def data_files(model: ModelRecipe) -> dict[str, bytes]:
    """Contents of every file that the plan names: one element each, without batch dimension."""
    return {
        _file(spec, shape): warmup_bytes(draw_element(spec, shape))
        for shape in warmup_shapes(model)
        for spec in model.inputs
    }


def _sample(model: ModelRecipe, shape: Shape) -> WarmupSample:
    inputs = tuple(
        WarmupInput(
            name=spec.name,
            datatype=spec.dtype,
            dims=concrete(spec, shape),
            file=_file(spec, shape),
        )
        for spec in model.inputs
    )
    return WarmupSample(name=str(shape), batch=shape.batch, dims=dict(shape.dims), inputs=inputs)


def _file(spec: Input, shape: Shape) -> str:
    """One file per input and size of its own dimensions: batches share it."""
    sizes = [f"{name}{size}" for name, size in shape.dims if name in spec.dynamic_dims]
    return "-".join([spec.name, *sizes]) + ".bin"
