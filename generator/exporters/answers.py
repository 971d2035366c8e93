"""What answers have to be like, whether PyTorch gives them or an adopted file."""

from collections.abc import Mapping

import numpy as np

from contract.compare import compare
from contract.samples import Tensors
from generator.errors import StageRefused
from generator.recipe import ModelRecipe


def refuse_wrong_batch(model: ModelRecipe, inputs: Tensors, outputs: Tensors) -> None:
    """Triton takes answers apart along the first dimension.

    Raises:
        StageRefused: an output's first dimension is not the size of the batch.
    """
    if model.max_batch_size == 0:
        return
    batch = len(next(iter(inputs.values())))
    for name, array in outputs.items():
        if array.shape[:1] != (batch,):
            raise StageRefused(
                f"output {name} has shape {list(array.shape)} for a batch of {batch}: its first "
                "dimension must be the batch; keep it, or write max_batch_size: 0"
            )


def refuse_nan(outputs: Tensors, *, who: str, where: str) -> None:
    """`who` answered, and `where` says what was asked.

    Raises:
        StageRefused: NaN, which equals nothing, can be held to no limit.
    """
    for name, array in outputs.items():
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise StageRefused(
                f"{who} gives NaN in {name} at {where}; give a range or samples that the model "
                "is for"
            )


def refuse_chance(
    first: Tensors, again: Tensors, limits: Mapping[str, float], *, who: str, remedy: str
) -> None:
    """`who` answered the same request `first` and `again`; `limits` as in `contract.compare`.

    Raises:
        StageRefused: the answers differ by more than a limit.
    """
    differences = [found.reason for found in compare(again, first, limits) if found.reason]
    if differences:
        raise StageRefused(
            f"{who} answers the same request twice differently: {'; '.join(differences)}; {remedy}"
        )
