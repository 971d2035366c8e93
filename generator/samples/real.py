"""Real inputs that the recipe names, in place of drawn ones."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contract.dtypes import datatype_of
from contract.errors import UnsupportedDatatype
from contract.samples import Tensors, read_arrays
from contract.strict import nearest
from generator.errors import StageRefused
from generator.recipe import Input, ModelRecipe


def read_real(model: ModelRecipe, folder: Path) -> Tensors:
    """The arrays of `samples` by input name, first axis samples; empty without `samples`.

    Raises:
        StageRefused: unreadable, or an array does not fit its input; says which and how.
    """
    if model.samples is None:
        return {}
    path = folder / model.samples
    try:
        with path.open("rb") as file:
            found = read_arrays(file)
    except (OSError, ValueError) as error:
        raise StageRefused(
            f"samples {path} cannot be read: {error}; write it with numpy.savez and plain dtypes"
        ) from error
    if wrong := next(_misfits(model, found), None):
        raise StageRefused(f"samples {path}: {wrong}")
    return {
        name: array.astype(np.object_) if array.dtype.kind == "S" else array
        for name, array in found.items()
    }


def _misfits(model: ModelRecipe, found: Tensors) -> Iterator[str]:
    specs = {spec.name: spec for spec in model.inputs}
    for name, array in found.items():
        if name not in specs:
            yield f"the model has no input {name!r}; {nearest(name, specs)}"
        elif wrong := _unfit(specs[name], array):
            yield f"{name} {wrong}"
    for spec in model.inputs:
        if spec.lacks_values and spec.name not in found:
            yield f"{spec.name} has neither range nor samples; add it to the file"
    if len({len(array) for array in found.values()}) > 1:
        counts = ", ".join(f"{name} {len(array)}" for name, array in found.items())
        yield f"not as many samples of each input: {counts}"


def misfit(spec: Input, array: NDArray[np.generic], *, first: str = "") -> str | None:
    """What of dtype and shape is not the input's; `first` says what axis comes before its own."""
    try:
        datatype = datatype_of(array)
    except UnsupportedDatatype as error:
        return f"cannot be sent: {error}"
    wanted = tuple(-1 if isinstance(size, str) else size for size in spec.shape)
    own = array.shape[1:] if first else array.shape
    agree = array.ndim == bool(first) + len(wanted) and all(
        size in (-1, there) for size, there in zip(wanted, own, strict=True)
    )
    if datatype is spec.dtype and agree:
        return None
    said = f"is {datatype}{list(array.shape)}, the recipe says {spec.dtype}{list(wanted)}"
    return f"{said} with a first axis of {first} before it" if first else said


def _unfit(spec: Input, array: NDArray[np.generic]) -> str | None:
    if wrong := misfit(spec, array, first="samples"):
        return wrong
    if not array.size:
        return "is empty; one sample at least"
    if spec.range and not (array.min() >= spec.range[0] and array.max() < spec.range[1]):
        return f"goes from {array.min()} to {array.max()}, its range is {list(spec.range)}"
    return None
