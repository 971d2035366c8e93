"""Values for inputs: the same for the same input and shape, on every machine."""

import math
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.dtypes import Datatype
from contract.samples import Tensors
from generator.recipe import Input, ModelRecipe
from generator.samples.shapes import Shape, concrete

_NO_SAMPLES: Tensors = {}


def draw_batch(
    model: ModelRecipe, shape: Shape, *, draw: int, real: Tensors = _NO_SAMPLES
) -> Tensors:
    """Inputs of one request, with the batch dimension unless the model has none.

    Inputs in `real` (`samples.real`) are taken from there. Every second draw leaves optional
    inputs out. Of a model that keeps state, some rows are a whole sequence, as which servers are
    asked: the first of several, and one alone every second time.
    """
    lead = (shape.batch,) if model.max_batch_size else ()
    drawn = {
        spec.name: _take(real[spec.name], lead, concrete(spec, shape), draw=draw)
        if spec.name in real
        else _draw(spec, lead + concrete(spec, shape), draw=draw)
        for spec in model.inputs
        if not (spec.optional and draw % 2)
    }
    if model.sequence and (shape.batch > 1 or draw % 2 == 0):
        for name, value in _whole_sequence(model).items():
            first = drawn[name][:1] if model.max_batch_size else drawn[name]
            first[...] = value
    return drawn


def draw_element(spec: Input, shape: Shape, *, real: Tensors = _NO_SAMPLES) -> NDArray[np.generic]:
    """One element for warm-up, without batch dimension; drawn masks are all ones."""
    if spec.name in real:
        return _take(real[spec.name], (), concrete(spec, shape), draw=0)
    return _draw(spec, concrete(spec, shape), draw=0)


def complete(model: ModelRecipe, inputs: Tensors) -> Tensors:
    """All inputs in the order of the recipe; those left out are what the graph fills them with."""
    return {
        spec.name: inputs[spec.name] if spec.name in inputs else default_of(spec)
        for spec in model.inputs
    }


def default_of(spec: Input) -> NDArray[np.generic]:
    """What an optional input is filled with; its dynamic dimensions are 1."""
    sizes = tuple(1 if isinstance(size, str) else size for size in spec.shape)
    return np.full(sizes, spec.default, spec.dtype.numpy)


def _whole_sequence(model: ModelRecipe) -> dict[str, int | bytes]:
    """What Triton's sequence batcher writes for a request that is first and last, per input."""
    flags = {spec.name: 1 for spec in model.inputs if spec.control and spec.control != "corrid"}
    states = model.sequence.states if model.sequence else {}
    zeros = {
        spec.name: b"" if spec.dtype is Datatype.BYTES else 0
        for spec in model.inputs
        if spec.name in states
    }
    return flags | zeros


def _take(
    samples: NDArray[np.generic], lead: tuple[int, ...], sizes: tuple[int, ...], *, draw: int
) -> NDArray[np.generic]:
    """Samples cut to `sizes`, begun again where they end: as many as `lead` says, or one."""
    count = math.prod(lead)
    taken = samples[np.arange(draw * count, (draw + 1) * count) % len(samples)]
    for axis, size in enumerate(sizes, start=1):
        taken = taken.take(np.arange(size) % taken.shape[axis], axis=axis)
    return taken.reshape(lead + sizes)


def _draw(spec: Input, sizes: tuple[int, ...], *, draw: int) -> NDArray[np.generic]:
    # The name and not the model's seed: two versions of a model get the same warm-up data.
    chance = np.random.default_rng([zlib.crc32(spec.name.encode()), draw])
    values: NDArray[Any]
    if spec.values:
        values = chance.choice(np.array([text.encode() for text in spec.values], np.object_), sizes)
    elif spec.fill == "mask":
        values = _mask(chance, sizes, full=draw == 0)
    elif spec.range and spec.dtype.is_float:
        values = chance.uniform(spec.range[0], spec.range[1], sizes)
    elif spec.range:
        low, high = map(int, spec.range)
        values = _ids(chance, sizes, low, high)
    elif spec.control or spec.dtype is Datatype.BOOL:
        values = chance.integers(0, 2, sizes)
    else:
        values = chance.standard_normal(sizes)
    return values.astype(spec.dtype.numpy)


def _ids(
    chance: np.random.Generator, sizes: tuple[int, ...], low: int, high: int
) -> NDArray[np.generic]:
    """Uniform in [low, high); the first is `low` and the last `high - 1`: tables end there."""
    ids = chance.integers(low, high, sizes)
    ids.flat[0] = low
    ids.flat[-1] = high - 1
    return ids


def _mask(
    chance: np.random.Generator, sizes: tuple[int, ...], *, full: bool
) -> NDArray[np.generic]:
    """Ones, then zeros along the last dimension; no row is empty, the first one is full."""
    lengths = chance.integers(1, sizes[-1] + 1, (*sizes[:-1], 1))
    lengths.flat[0] = sizes[-1]
    if full:
        lengths[...] = sizes[-1]
    return np.asarray(np.arange(sizes[-1]) < lengths)
