"""What PyTorch answers, and how far a right answer may be from it."""

import re
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from contract.compare import compare
from contract.samples import GoldenSample, Tensors
from generator.errors import StageRefused
from generator.exporters.answers import refuse_chance, refuse_nan, refuse_wrong_batch
from generator.exporters.failures import FAULTS, blame
from generator.exporters.outputs import named_outputs
from generator.exporters.precision import (
    float64_by_default,
    half_by_default,
    halved,
    widened,
)
from generator.recipe import ModelRecipe
from generator.samples.shapes import verification_shapes
from generator.samples.tensors import complete, draw_batch

# PyTorch adds up pairwise, ONNX Runtime one after the other: for a sum of 100,000 numbers an
# error of 1.4e-7 here and 1.5e-6 there was measured, and more where terms cancel. Another
# ONNX Runtime on another processor differs again. A wrong weight is far above this.
_SMALLEST_LIMIT = 1e-5
_NOISE_FACTOR = 8
# Rounding to half precision outweighs whatever kernels do differently: ONNX Runtime's distance
# was 1.5e-4 to 4.5e-4 on tables, convolutions and LSTMs.
_SMALLEST_HALF_LIMIT = 2e-3
_HALF_NOISE_FACTOR = 4
# Above it a limit tells nothing, and the model's answers are hardly numbers.
_LARGEST_LIMIT = 0.1
# What PyTorch's operators say of an index beyond a table.
_BEYOND = re.compile("out of (range|bounds)|not in the valid range")


def run_cases(model: ModelRecipe, module: torch.nn.Module, real: Tensors) -> list[GoldenSample]:
    """The verification grid with the module's float32 answers; `real` holds given inputs.

    Raises:
        StageRefused: the module fails, gives NaN, or answers the same request twice differently.
    """
    shapes = verification_shapes(model)
    requests = [
        draw_batch(model, shape, draw=index, real=real) for index, shape in enumerate(shapes)
    ]
    cases = [GoldenSample(inputs, _answer(model, module, inputs)) for inputs in requests]
    refuse_chance(
        cases[0].outputs,
        _answer(model, module, cases[0].inputs),
        dict.fromkeys(model.output_names, _SMALLEST_LIMIT),
        who="PyTorch",
        remedy="take chance out of forward: dropout, torch.rand, what it keeps from call to call",
    )
    return cases


def calibrate(
    model: ModelRecipe, module: torch.nn.Module, cases: Sequence[GoldenSample]
) -> dict[str, float]:
    """Limit of the scaled error per float output: 8 x the model's own rounding noise.

    The noise is the largest distance of the float32 answers from those of the same module in
    float64. ONNX Runtime was measured at 0.8 to 1.3 times that noise on tables, convolutions,
    transformers and LSTMs, and its releases 1.19 to 1.31 agreed at any number of threads, so 8
    leaves room for other kernels. One fixed limit would be too tight for a deep model.

    What is compared with the limit is the distance from the float32 answers, here and wherever
    golden samples are asked again. It is at most the sum of both distances from float64.

    A model that is served in half precision gets 4 x the noise of its halved module.

    Raises:
        StageRefused: the module does not run in float64 or in half precision, overflows, or its
            noise is too large for a limit to tell anything.
    """
    floats = [name for name, array in cases[0].outputs.items() if array.dtype.kind == "f"]
    if model.tolerance:
        return dict.fromkeys(floats, model.tolerance)
    requests = [case.inputs for case in cases]
    exact = _answers_in_float64(model, module, requests)
    answers = [case.outputs for case in cases]
    if not model.format.is_half:
        noise = _noise_of(floats, answers, exact, precision="float32")
        return _limits(noise, _NOISE_FACTOR, _SMALLEST_LIMIT)
    in_half = _answers_in_half(model, module, cases)
    noise = _noise_of(floats, in_half, exact, precision="half precision")
    return _limits(noise, _HALF_NOISE_FACTOR, _SMALLEST_HALF_LIMIT)


def _limits(noise: Mapping[str, float], factor: float, smallest: float) -> dict[str, float]:
    limits = {name: max(smallest, factor * found) for name, found in noise.items()}
    for name, limit in limits.items():
        if limit > _LARGEST_LIMIT:
            raise StageRefused(
                f"output {name}: PyTorch's own answers are off by {noise[name]:.1e} of the largest "
                f"value, which no check can tell from a wrong model; see where digits are lost, or "
                "set `tolerance` in the recipe"
            )
    return limits


def _noise_of(
    outputs: Sequence[str], answers: Sequence[Tensors], exact: Sequence[Tensors], *, precision: str
) -> dict[str, float]:
    """Largest scaled error per output."""
    noise = dict.fromkeys(outputs, 0.0)
    for answer, reference in zip(answers, exact, strict=True):
        wide = _widen({name: reference[name] for name in outputs})
        for found in compare(_widen(answer), wide, {}):
            if not np.isfinite(found.scaled_error):
                raise StageRefused(
                    f"output {found.output} is infinite in {precision} and finite in float64; "
                    "keep the values that lead to it in range, or set `tolerance` in the recipe"
                )
            noise[found.output] = max(noise[found.output], found.scaled_error)
    return noise


def _answers_in_float64(
    model: ModelRecipe, module: torch.nn.Module, requests: Sequence[Tensors]
) -> list[Tensors]:
    wide = widened(module)
    try:
        with float64_by_default():
            return [_answer(model, wide, _widen(complete(model, inputs))) for inputs in requests]
    except StageRefused as error:
        raise StageRefused(
            f"the model cannot run in float64, which calibrates its tolerance: {error}; let it "
            "register what it keeps (ModuleList, register_buffer), or set `tolerance` in the recipe"
        ) from error


def _answers_in_half(
    model: ModelRecipe, module: torch.nn.Module, cases: Sequence[GoldenSample]
) -> list[Tensors]:
    half = halved(module, model, cases[0].outputs)
    try:
        with half_by_default():
            return [_answer(model, half, case.inputs) for case in cases]
    except StageRefused as error:
        raise StageRefused(
            f"the model cannot run in half precision: {error}; write `format: onnx`, or set "
            "`tolerance` in the recipe to leave it to ONNX Runtime"
        ) from error


def _widen(inputs: Tensors) -> Tensors:
    return {
        name: array.astype(np.float64) if array.dtype.kind == "f" else array
        for name, array in inputs.items()
    }


def _answer(model: ModelRecipe, module: torch.nn.Module, inputs: Tensors) -> Tensors:
    shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
    try:
        with torch.no_grad():
            # Copies, because a forward may write into its inputs.
            answer = module(*map(torch.tensor, complete(model, inputs).values()))
    except FAULTS as error:
        remedy = _range_to_check(model, str(error))
        raise StageRefused(f"PyTorch itself fails at {shapes}: {blame(error)}{remedy}") from error
    outputs = named_outputs(model, answer)
    arrays = dict(zip(model.output_names, map(_to_numpy, outputs), strict=True))
    refuse_wrong_batch(model, inputs, arrays)
    refuse_nan(arrays, who="PyTorch itself", where=shapes)
    return arrays


def _range_to_check(model: ModelRecipe, said: str) -> str:
    """To be added to what a module says that failed; empty where drawn ids are not the cause."""
    ranges = [
        f"`range` of {spec.name}, now {list(spec.range)}"
        for spec in model.inputs
        if spec.range and not spec.dtype.is_float and not spec.control
    ]
    return f"; check {' and '.join(ranges)}" if ranges and _BEYOND.search(said) else ""


def _to_numpy(tensor: torch.Tensor) -> NDArray[np.generic]:
    # Not `ascontiguousarray`, which makes one dimension of none.
    return tensor.contiguous().numpy()
