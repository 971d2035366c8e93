"""What PyTorch answers, and how far a right answer may be from it."""

import copy
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from contract.compare import scaled_error
from contract.samples import GoldenSample, Tensors
from generator.errors import StageRefused
from generator.recipe import ModelRecipe
from generator.shapes import verification_shapes
from generator.tensors import draw_batch
from generator.worker import shorten

# PyTorch adds up pairwise, ONNX Runtime one after the other: for a sum of 100,000 numbers an
# error of 1.4e-7 here and 1.5e-6 there was measured, and more where terms cancel. Another
# ONNX Runtime on another processor differs again. A wrong weight is far above this.
_SMALLEST_LIMIT = 1e-5
_NOISE_FACTOR = 8


def run_cases(model: ModelRecipe, module: torch.nn.Module) -> list[GoldenSample]:
    """The verification grid with the module's float32 answers."""
    shapes = verification_shapes(model)
    requests = [draw_batch(model, shape, draw=index) for index, shape in enumerate(shapes)]
    return [GoldenSample(inputs, _answer(model, module, inputs)) for inputs in requests]


def calibrate(
    model: ModelRecipe, module: torch.nn.Module, cases: Sequence[GoldenSample]
) -> dict[str, float]:
    """Limit of the scaled error per float output: 8 x the model's own rounding noise.

    The noise is the largest distance of the float32 answers from those of the same module in
    float64. ONNX Runtime was measured at 0.8 to 1.3 times that noise on tables, convolutions,
    transformers and LSTMs, and its releases 1.19 to 1.31 agreed at any number of threads, so 8
    leaves room for other kernels. One fixed limit would be too tight for a deep model.
    """
    floats = [name for name, array in cases[0].outputs.items() if array.dtype.kind == "f"]
    if model.tolerance:
        return dict.fromkeys(floats, model.tolerance)
    wide = copy.deepcopy(module).double()
    torch.set_default_dtype(torch.float64)
    try:
        exact = [_answer(model, wide, _widen(case.inputs)) for case in cases]
    except StageRefused as error:
        raise StageRefused(
            f"the model cannot run in float64, which calibrates its tolerance: {error}; "
            "create tensors in the dtype of the inputs, or set `tolerance` in the recipe"
        ) from error
    finally:
        torch.set_default_dtype(torch.float32)
    return {
        name: max(_SMALLEST_LIMIT, _NOISE_FACTOR * _noise(name, cases, exact)) for name in floats
    }


def _noise(name: str, cases: Sequence[GoldenSample], exact: Sequence[Tensors]) -> float:
    return max(
        scaled_error(case.outputs[name], reference[name])
        for case, reference in zip(cases, exact, strict=True)
    )


def _widen(inputs: Tensors) -> Tensors:
    return {
        name: array.astype(np.float64) if array.dtype.kind == "f" else array
        for name, array in inputs.items()
    }


def _answer(model: ModelRecipe, module: torch.nn.Module, inputs: Tensors) -> Tensors:
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
    try:
        with torch.no_grad():
            answer = module(*(torch.from_numpy(array) for array in inputs.values()))
    # The author's forward may raise anything; it is reported, never passed over.
    except Exception as error:
        raise StageRefused(
            f"PyTorch itself fails at {shapes}: {type(error).__name__}: {shorten(str(error))}"
        ) from error
    outputs = answer if isinstance(answer, tuple | list) else (answer,)
    if len(outputs) != len(model.outputs) or not all(map(torch.is_tensor, outputs)):
        raise StageRefused(
            f"the model returns {[type(item).__name__ for item in outputs]}, the recipe names "
            f"{len(model.outputs)} outputs ({', '.join(model.outputs)}); return as many tensors"
        )
    arrays = dict(zip(model.outputs, map(_to_numpy, outputs), strict=True))
    broken = [name for name, array in arrays.items() if not _is_finite(array)]
    if broken:
        raise StageRefused(f"PyTorch itself gives NaN or infinity in {broken[0]} at {shapes}")
    return arrays


def _to_numpy(tensor: torch.Tensor) -> NDArray[np.generic]:
    return np.ascontiguousarray(tensor.numpy())


def _is_finite(array: NDArray[np.generic]) -> bool:
    return array.dtype.kind != "f" or bool(np.isfinite(array).all())
