"""When two outputs count as equal.

The error is scaled by the reference's largest magnitude: plain relative error explodes at
values near zero, and one absolute tolerance fits no two models.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Difference:
    """How one output differs from its reference; `reason` is None while it is within `limit`.

    `scaled_error` of what is no float is the share of unequal elements. It is infinite where the
    two cannot be compared: another shape or type, NaN or infinity.
    """

    output: str
    scaled_error: float
    limit: float
    reason: str | None


def scaled_error(got: NDArray[np.generic], reference: NDArray[np.generic]) -> float:
    """max|got - reference| / max|reference|; plain max|got| where the reference is all zero.

    Both arrays are finite floats of one shape. 0.0 for empty arrays.
    """
    if got.size == 0:
        return 0.0
    wide, wide_reference = got.astype(np.float64), reference.astype(np.float64)
    return float(np.max(np.abs(wide - wide_reference))) / _scale(wide_reference)


def farthest(got: NDArray[np.generic], reference: NDArray[np.generic]) -> str:
    """The element that is farthest off: its index, its value and the reference's.

    NaN or infinity where the reference has none is farther than any number. Both arrays are of
    one shape and not empty.
    """
    unequal = (got != reference) & ~((got != got) & (reference != reference))  # noqa: PLR0124  (NaN)
    distance = unequal.astype(np.float64)
    if reference.dtype.kind == "f":
        finite = np.isfinite(got) & np.isfinite(reference)
        distance[finite] = np.abs(got[finite].astype(np.float64) - reference[finite])
        distance[~finite & unequal] = np.inf
    index = np.unravel_index(int(np.argmax(distance)), distance.shape)
    place = [int(axis) for axis in index]
    return f"{place} is {got[index]!s}, expected {reference[index]!s}"


def same_top(
    got: NDArray[np.generic], reference: NDArray[np.generic], k: int, *, limit: float
) -> float:
    """Share of the rows along the last dimension that have the same `k` largest elements.

    A tie is no disagreement: an element may be among the largest that the reference has below
    its own `k` largest by a scaled `limit`. Both arrays are floats of one shape, without NaN.
    """
    if reference.size == 0:
        return 1.0
    rows = np.atleast_1d(reference).astype(np.float64)
    rows = rows.reshape(-1, rows.shape[-1])
    chosen = np.argsort(got.reshape(rows.shape), axis=-1)[:, -k:]
    least = np.sort(rows, axis=-1)[:, -k:].min(axis=-1, keepdims=True)
    tie = limit * _scale(rows[np.isfinite(rows)])
    agree = np.take_along_axis(rows, chosen, axis=-1) >= least - tie
    return float(agree.all(axis=-1).mean())


def _scale(reference: NDArray[np.float64]) -> float:
    return float(np.max(np.abs(reference), initial=0.0)) or 1.0


def compare(
    got: Mapping[str, NDArray[np.generic]],
    reference: Mapping[str, NDArray[np.generic]],
    limits: Mapping[str, float],
) -> list[Difference]:
    """Compare every output of the reference; outputs that are no floats must be equal.

    `limits` are scaled errors per output; an output without one has the limit 0.
    """
    return [
        _compare_one(name, got.get(name), expected, limits.get(name, 0.0))
        for name, expected in reference.items()
    ]


def _compare_one(
    name: str, got: NDArray[np.generic] | None, expected: NDArray[np.generic], limit: float
) -> Difference:
    error = float("inf")
    # Triton knows no scalars: where a model gives one number per element, it answers lists of one.
    if got is not None and got.shape == (*expected.shape, 1):
        got = got.reshape(expected.shape)
    if got is None:
        reason: str | None = "missing in the answer"
    elif got.shape != expected.shape:
        reason = f"shape {list(got.shape)}, expected {list(expected.shape)}"
    elif got.dtype != expected.dtype:
        reason = f"dtype {got.dtype}, expected {expected.dtype}"
    elif expected.dtype.kind != "f":
        unequal = int(np.sum(got != expected))
        reason = f"{unequal} of {expected.size} elements are not equal" if unequal else None
        error = unequal / expected.size if unequal else 0.0
    else:
        return _compare_floats(name, got, expected, limit)
    return Difference(
        output=name,
        scaled_error=error,
        limit=limit,
        reason=reason and f"output {name}: {reason}",
    )


def _compare_floats(
    name: str, got: NDArray[np.generic], expected: NDArray[np.generic], limit: float
) -> Difference:
    finite = np.isfinite(expected)
    if not np.array_equal(np.isfinite(got), finite) or not np.array_equal(
        got[~finite], expected[~finite], equal_nan=True
    ):
        reason = f"output {name}: NaN or infinity where the reference has none, or the reverse"
        return Difference(name, float("inf"), limit, reason)
    error = scaled_error(got[finite], expected[finite])
    too_far = f"output {name}: scaled error {error:.2e} is above {limit:.2e}"
    return Difference(name, error, limit, too_far if error > limit else None)
