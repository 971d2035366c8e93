"""Warm-up samples: which shapes, with which data, how often.

Always real data in files: random bytes read as ids point far outside of a table, and a
model that fails in warm-up can take the whole server down.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contract.manifest import ShapeCost
from contract.samples import Tensors, warmup_bytes
from generator.recipe import Dim, Input, ModelRecipe, Target
from generator.recipe.formats import OnnxTensorRT, TensorRT
from generator.reports import GraphFacts, WarmupInput, WarmupSample
from generator.samples.shapes import Shape, concrete, spread
from generator.samples.tensors import draw_element

# On a CPU a new shape costs below 10 % more, once (DLRM, CNN, LSTM, encoder; ONNX Runtime 1.31):
# more shapes are not worth the seconds of each load.
_MAX_SHAPES_ON_CPU = 8
# With convolutions, cuDNN looks for an algorithm at each new shape; up to here, all are made.
_EVERY_BATCH_UP_TO = 16
# Every model measured on a CPU was steady after at most three.
_MAX_COUNT = 5
# The first search, the second captures: what is measured here on a CPU says nothing of a GPU.
_COUNT_ON_GPU = 2
_BOTH_ENDS = 2

_Level = Callable[[Dim], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """The samples that ship, with `count` of each by name, and the measured seconds of them all.

    `seconds` is None where they could not be measured. `dropped` are costs of shapes that were
    left out for the budget's sake.
    """

    samples: tuple[WarmupSample, ...]
    costs: tuple[ShapeCost, ...]
    counts: dict[str, int]
    seconds: float | None
    dropped: tuple[ShapeCost, ...]

    @property
    def files(self) -> frozenset[str]:
        """Names of the data files that ship."""
        return frozenset(tensor.file for sample in self.samples for tensor in sample.inputs)


def with_ranges(model: ModelRecipe, facts: GraphFacts) -> ModelRecipe:
    """The model with a range for each id whose recipe has none: all rows of its table."""
    inputs = tuple(
        spec.model_copy(update={"range": (0, facts.table_rows[spec.name])})
        if spec.lacks_values and spec.name in facts.table_rows
        else spec
        for spec in model.inputs
    )
    return model.model_copy(update={"inputs": inputs})


def plan(
    model: ModelRecipe, *, target: Target, has_convolutions: bool = False
) -> tuple[WarmupSample, ...]:
    """The samples in the order in which Triton runs them, largest first. Pure."""
    return tuple(
        _sample(model, shape)
        for shape in warmup_shapes(model, target=target, has_convolutions=has_convolutions)
    )


def warmup_shapes(
    model: ModelRecipe, *, target: Target, has_convolutions: bool = False
) -> list[Shape]:
    """What a runtime has to meet before traffic does, largest first.

    Largest first, because memory then runs out at load and not later, and the arena grows once.
    Several dynamic dimensions move together. `auto` may come to run on a GPU.

    - ONNX Runtime on a CPU: batch {max, preferred, 1} x length {max, opt, min}; at most eight,
      those in between thinned out evenly.
    - On a GPU: the same batches x {max, min}; with convolutions every batch size up to 16, above
      that the powers of two, x {max, opt, min}.
    - TensorRT inside ONNX Runtime: the two corners of the profile, within which nothing is rebuilt.
    - A TensorRT plan: batch {max, preferred, 1} x {max, min}.

    Where the batch sizes to prefer are to be found out, the powers of two at the usual length are
    among them.
    """
    most = max(1, model.max_batch_size)
    batching = model.batching.within(most) if model.batching else None
    preferred = set(batching.preferred) if batching else set()
    if isinstance(model.format, OnnxTensorRT):
        return _largest_first([_shape(model, most, _max), _shape(model, 1, _min)])
    if target == "cpu":
        searched = preferred if batching and batching.measured else set()
        usual = _grid(model, {most, 1} | preferred - searched, (_max, _opt, _min))
        return _largest_first(
            [*spread(usual, _MAX_SHAPES_ON_CPU), *_grid(model, searched, (_opt,))]
        )
    if has_convolutions and not isinstance(model.format, TensorRT):
        every = range(1, most + 1) if most <= _EVERY_BATCH_UP_TO else _powers_of_two(most)
        return _grid(model, {most, 1, *preferred, *every}, (_max, _opt, _min))
    return _grid(model, {most, 1} | preferred, (_max, _min))


def fit(
    samples: Sequence[WarmupSample],
    costs: Sequence[ShapeCost],
    *,
    target: Target,
    budget_s: float,
) -> Fitted:
    """What of the plan ships, and how often each sample runs. Pure.

    On a CPU each runs until it is steady, at most five times, and what takes longer than the
    budget in all is thinned out evenly; the largest and the smallest stay, if need be at one run
    each. `costs` are the samples' own, measured on a CPU; for a GPU they decide nothing.
    """
    if target != "cpu":
        counts = dict.fromkeys((sample.name for sample in samples), _COUNT_ON_GPU)
        return Fitted(
            samples=tuple(samples), costs=tuple(costs), counts=counts, seconds=None, dropped=()
        )
    planned = [
        (sample, cost, min(_MAX_COUNT, cost.runs_until_steady))
        for sample, cost in zip(samples, costs, strict=True)
    ]
    kept = planned
    while len(kept) > _BOTH_ENDS and _seconds(kept) > budget_s:
        kept = spread(planned, len(kept) - 1)
    if _seconds(kept) > budget_s:
        kept = [(sample, cost, 1) for sample, cost, _ in kept]
    shipped = {sample.name for sample, _, _ in kept}
    return Fitted(
        samples=tuple(sample for sample, _, _ in kept),
        costs=tuple(cost for _, cost, _ in kept),
        counts={sample.name: count for sample, _, count in kept},
        seconds=round(_seconds(kept), 3),
        dropped=tuple(cost for sample, cost, _ in planned if sample.name not in shipped),
    )


def data_files(
    model: ModelRecipe, samples: Sequence[WarmupSample], *, real: Tensors
) -> dict[str, bytes]:
    """Contents of every file that `samples` name: one element each, without batch dimension.

    Inputs in `real` (`samples.real`) are taken from there.
    """
    specs = {spec.name: spec for spec in model.inputs}
    return {
        tensor.file: warmup_bytes(
            _element(specs[tensor.name], Shape(1, tuple(sample.dims.items())), real)
        )
        for sample in samples
        for tensor in sample.inputs
    }


def _element(spec: Input, shape: Shape, real: Tensors) -> NDArray[np.generic]:
    # First, last and in use at once: each request is a whole sequence, however often it runs.
    if spec.control and spec.control != "corrid":
        return np.ones(concrete(spec, shape), spec.dtype.numpy)
    return draw_element(spec, shape, real=real)


def _seconds(planned: Iterable[tuple[WarmupSample, ShapeCost, int]]) -> float:
    return sum(cost.first_ms + (count - 1) * cost.steady_ms for _, cost, count in planned) / 1e3


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


def _grid(model: ModelRecipe, batches: Iterable[int], levels: Iterable[_Level]) -> list[Shape]:
    return _largest_first([_shape(model, batch, level) for batch in batches for level in levels])


def _shape(model: ModelRecipe, batch: int, level: _Level) -> Shape:
    return Shape(batch, tuple((name, level(dim)) for name, dim in model.dims.items()))


def _largest_first(shapes: Iterable[Shape]) -> list[Shape]:
    return sorted(
        dict.fromkeys(shapes), key=lambda shape: (shape.elements, shape.batch), reverse=True
    )


def _powers_of_two(most: int) -> Iterable[int]:
    return (1 << exponent for exponent in range(most.bit_length()))


def _max(dim: Dim) -> int:
    return dim.max


def _opt(dim: Dim) -> int:
    return dim.opt


def _min(dim: Dim) -> int:
    return dim.min
