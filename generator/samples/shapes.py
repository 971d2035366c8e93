"""Which concrete shapes a model is verified and warmed with. Pure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from generator.recipe import Dim, Input, ModelRecipe

T = TypeVar("T")

# A defect that shows only between two dynamic dimensions needs few shapes to show; the full
# product of three dimensions would be 192 of them.
_MIN_CASES = 4


@dataclass(frozen=True, slots=True)
class Shape:
    """A batch size with a value for each dynamic dimension, in the order of the recipe.

    `batch` is 1 for a model without batch dimension.
    """

    batch: int
    dims: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        return "-".join([f"b{self.batch}", *(f"{name}{size}" for name, size in self.dims)])

    @property
    def elements(self) -> int:
        return self.batch * math.prod(size for _, size in self.dims)


def concrete(spec: Input, shape: Shape) -> tuple[int, ...]:
    """Dimensions of one input, without batch."""
    sizes = dict(shape.dims)
    return tuple(sizes[size] if isinstance(size, str) else size for size in spec.shape)


def verification_shapes(model: ModelRecipe) -> list[Shape]:
    """Batch {1, 3, max} x every dynamic dimension {min, odd, opt, max}; four at least.

    Several dimensions move together, each shifted against the one before, so that a graph
    which mixes two of them up cannot hide; the corners all-min and all-max are included.
    A model with too few distinct shapes gets the same ones again, for other values.
    """
    levels = [_levels(dim) for dim in model.dims.values()]
    rows = [[sizes[(step + shift) % 4] for shift, sizes in enumerate(levels)] for step in range(4)]
    rows += [[sizes[level] for sizes in levels] for level in (0, 3)]
    wanted = {1, 3, model.max_batch_size} if model.dims else {1, 2, 3, model.max_batch_size}
    batches = sorted(size for size in wanted if 1 <= size <= max(1, model.max_batch_size))
    shapes = _unique(_shape(model, batch, row) for batch in batches for row in rows)
    return shapes * math.ceil(_MIN_CASES / len(shapes))


def spread(ordered: list[T], limit: int) -> list[T]:
    """At most `limit` items, evenly over the list, both ends included."""
    if len(ordered) <= limit:
        return ordered
    return [ordered[index * (len(ordered) - 1) // (limit - 1)] for index in range(limit)]


def _levels(dim: Dim) -> tuple[int, int, int, int]:
    """Min, an odd number of steps in the middle, opt, max."""
    odd = ((dim.min + dim.max) // (2 * dim.multiple_of) | 1) * dim.multiple_of
    return dim.min, min(odd, dim.max), dim.opt, dim.max


def _shape(model: ModelRecipe, batch: int, sizes: list[int]) -> Shape:
    return Shape(batch, tuple(zip(model.dims, sizes, strict=True)))


def _unique(shapes: Iterable[Shape]) -> list[Shape]:
    return list(dict.fromkeys(shapes))
