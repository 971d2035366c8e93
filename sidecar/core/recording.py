"""Requests of clients that are kept, so that two versions can be asked them again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from contract.dtypes import datatype_of
from contract.manifest import Signature, TensorSpec
from contract.samples import Tensors
from contract.strict import Strict

MOST_BYTES = 64 * 2**20
"""Of one model."""


class Recording(Strict):
    """What operators say of it; until then only what is handed over by REST is kept.

    `percent` is the share of the model's requests that the gateway copies to us, `most` how many
    are kept: the newest. Of inputs in `redact` only the shape is kept, never a value.
    """

    percent: Annotated[int, Field(ge=0, le=100)] = 0
    most: Annotated[int, Field(ge=1, le=10_000)] = 200
    redact: tuple[str, ...] = ()

    def reveals_less_than(self, before: "Recording") -> bool:
        """Whether it redacts what was stored before."""
        return not set(self.redact) <= set(before.redact)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """How much is kept of a model's requests."""

    requests: int = 0
    bytes: int = 0


class Dropped(StrEnum):
    """Why a copy of a request is not kept."""

    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    UNREADABLE = "unreadable"
    NOT_WRITTEN = "not_written"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drops:
    """Of one model's requests. `reason` is that of the last one for which there is more to say."""

    counts: Mapping[Dropped, int] = field(default_factory=dict)
    reason: str | None = None

    def with_(self, why: Dropped, reason: str | None = None) -> "Drops":
        counts = {**self.counts, why: self.counts.get(why, 0) + 1}
        return replace(self, counts=counts, reason=reason or self.reason)


def surplus(sizes: Sequence[int], most: int) -> int:
    """How many of the oldest are to go; `sizes` are in bytes, the oldest request first."""
    kept = kept_bytes = 0
    for size in reversed(sizes):
        kept_bytes += size
        if kept == most or kept_bytes > MOST_BYTES:
            break
        kept += 1
    return len(sizes) - kept


def redacted(inputs: Tensors, names: Sequence[str]) -> Tensors:
    """With zeros, or empty strings, for these inputs."""
    return {name: _blank(array) if name in names else array for name, array in inputs.items()}


def _blank(array: NDArray[np.generic]) -> NDArray[np.generic]:
    return np.full_like(array, b"" if array.dtype == np.object_ else 0)


def misfits(inputs: Tensors, signature: Signature) -> list[str]:
    """Why a model does not take a request; empty when it does."""
    most = signature.max_batch_size
    batch = (-1,) if most else ()
    wanted = {spec.name: replace(spec, shape=(*batch, *spec.shape)) for spec in signature.inputs}
    found = [f"input {spec} is missing" for name, spec in wanted.items() if name not in inputs]
    for name, array in inputs.items():
        given = TensorSpec(name=name, datatype=datatype_of(array), shape=array.shape)
        if name not in wanted:
            found.append(f"there is no input {name}")
        elif not _fits(given, wanted[name]):
            found.append(f"input {given} is to be {wanted[name]}")
    sizes = {array.shape[0] for array in inputs.values() if most and array.ndim}
    if len(sizes) > 1:
        found.append(f"the inputs have batches of {' and '.join(map(str, sorted(sizes)))}")
    elif sizes and max(sizes) > most:
        found.append(f"a batch of {max(sizes)} is larger than {most}")
    return found


def _fits(given: TensorSpec, wanted: TensorSpec) -> bool:
    """-1 is any size."""
    return (
        given.datatype is wanted.datatype
        and len(given.shape) == len(wanted.shape)
        and all(there in (-1, size) for size, there in zip(given.shape, wanted.shape, strict=True))
    )
