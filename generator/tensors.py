"""Values for inputs: the same for the same input and shape, on every machine."""

import zlib

import numpy as np
from numpy.typing import NDArray

from contract.dtypes import Datatype
from contract.samples import Tensors
from generator.recipe import Input, ModelRecipe
from generator.shapes import Shape, concrete


def draw_batch(model: ModelRecipe, shape: Shape, *, draw: int) -> Tensors:
    """Inputs of one request, with the batch dimension unless the model has none."""
    lead = (shape.batch,) if model.max_batch_size else ()
    return {
        spec.name: _draw(spec, lead + concrete(spec, shape), draw=draw) for spec in model.inputs
    }


def draw_element(spec: Input, shape: Shape) -> NDArray[np.generic]:
    """One element for warm-up, without batch dimension; masks are all ones."""
    return _draw(spec, concrete(spec, shape), draw=0)


def _draw(spec: Input, sizes: tuple[int, ...], *, draw: int) -> NDArray[np.generic]:
    # The name and not the model's seed: two versions of a model get the same warm-up data.
    chance = np.random.default_rng([zlib.crc32(spec.name.encode()), draw])
    if spec.fill == "mask":
        values = _mask(chance, sizes, full=draw == 0)
    elif spec.range:
        values = _ids(chance, sizes, *spec.range)
    elif spec.dtype is Datatype.BOOL:
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
