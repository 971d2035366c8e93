"""What PyTorch answers, and the limits that follow from its own rounding."""

import sys
import threading
from typing import Any

import numpy as np
import pytest
import torch

from generator.errors import StageRefused
from generator.exporters.reference import calibrate, run_cases
from generator.recipe import ModelRecipe
from tests.unit.generator.entries import DENSE, IDS, entry


class Doing(torch.nn.Module):
    """`forward` is any function of the dense features."""

    def __init__(self, forward: Any) -> None:
        super().__init__()
        self.does = forward
        self.weights = torch.nn.Parameter(torch.linspace(-1, 1, 13))

    def forward(self, dense: torch.Tensor) -> Any:
        return self.does(dense * self.weights.to(dense.dtype))


class Keeping(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weights = torch.nn.Parameter(torch.linspace(-1, 1, 13))
        self.kept = [torch.diag(self.weights)]

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        return dense @ self.kept[0]


class Writing(torch.nn.Module):
    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        return dense.clamp_(0, 1)


def limits(forward: Any, **changes: Any) -> dict[str, float]:
    model = entry(inputs=[DENSE], **changes)
    module = Doing(forward).eval().requires_grad_(requires_grad=False)
    return calibrate(model, module, run_cases(model, module, {}))


def refusal(forward: Any, **changes: Any) -> str:
    with pytest.raises(StageRefused) as caught:
        limits(forward, **changes)
    return str(caught.value)


def test_a_model_that_hardly_rounds_gets_the_smallest_limit() -> None:
    assert limits(lambda x: x * 2) == {"score": 1e-5}


def test_a_model_that_loses_digits_gets_eight_times_what_it_loses() -> None:
    """Subtracting what is a thousand times larger leaves three digits less."""
    (limit,) = limits(lambda x: (x + 1e3) - 1e3).values()

    assert 8e-5 < limit < 8e-4


def test_only_floats_have_a_limit() -> None:
    assert limits(lambda x: (x, x > 0), outputs=["score", "sign"]).keys() == {"score"}


def test_the_recipes_tolerance_replaces_what_is_measured() -> None:
    assert limits(lambda x: (x + 1e3) - 1e3, tolerance=0.25) == {"score": 0.25}


def test_half_precision_is_measured_in_half_precision() -> None:
    (little,) = limits(lambda x: x * 2, format="onnx-fp16").values()
    (much,) = limits(lambda x: (x + 16) - 16, format="onnx-fp16").values()

    assert 2e-3 <= little < 4e-3 < much < 4e-2


def test_noise_that_hides_every_mistake_is_refused() -> None:
    said = refusal(lambda x: (x + 1e6) - 1e6)

    assert "output score: PyTorch's own answers are off by" in said
    assert "set `tolerance` in the recipe" in said


def test_an_overflow_of_half_precision_is_told_from_noise() -> None:
    said = refusal(lambda x: x * 1e6, format="onnx-fp16")

    assert "output score is infinite in half precision and finite in float64" in said


def test_an_overflow_of_float32_is_refused() -> None:
    assert "infinite in float32" in refusal(lambda x: x * 1e30 * 1e30)


def masked(x: torch.Tensor) -> torch.Tensor:
    return x.masked_fill(torch.arange(13) > 10, -torch.inf)


def test_infinity_that_the_model_means_is_no_overflow() -> None:
    assert limits(masked) == {"score": 1e-5}


def test_nan_is_refused() -> None:
    assert "PyTorch itself gives NaN in score at dense [1, 13]" in refusal(torch.sqrt)


@pytest.mark.parametrize(
    "forward",
    [
        lambda x: x.float() @ torch.ones(13, 2, dtype=torch.float32),
        lambda x: x.to(torch.float32) @ torch.eye(13),
        lambda x: torch.fft.fft(x).to(torch.complex64).real @ torch.eye(13),
    ],
)
def test_a_model_that_names_float32_computes_in_float64_all_the_same(forward: Any) -> None:
    assert limits(forward) == {"score": 1e-5}


def test_rounding_that_the_model_asks_for_counts_as_noise() -> None:
    (limit,) = limits(lambda x: x.half().float()).values()

    assert 8e-4 < limit < 8e-3


def test_a_model_that_keeps_a_tensor_in_float32_says_what_to_do() -> None:
    kept = torch.ones(13, 2)

    said = refusal(lambda x: x @ kept)

    assert "the model cannot run in float64, which calibrates its tolerance" in said
    assert "register what it keeps (ModuleList, register_buffer)" in said


@pytest.mark.parametrize(
    "lookup",
    [
        lambda ids: torch.nn.functional.embedding(ids, torch.zeros(9, 2)),
        lambda ids: torch.zeros(9)[ids],
        lambda ids: torch.zeros(64, 9).gather(1, ids),
    ],
)
def test_ids_beyond_a_table_are_a_reason_to_check_their_range(lookup: Any) -> None:
    module = torch.nn.Identity()
    module.forward = lookup

    with pytest.raises(StageRefused) as caught:
        run_cases(entry(inputs=[IDS]), module, {})

    assert "Error: index" in str(caught.value)
    assert str(caught.value).endswith("; check `range` of ids, now [0, 100]")


def test_what_forward_raises_is_told_with_its_line() -> None:
    said = refusal(lambda x: x @ torch.ones(7))

    assert "PyTorch itself fails at dense [1, 13]: RuntimeError: size mismatch, got" in said
    assert f'(File "{__file__}", line ' in said
    assert said.endswith(", in <lambda>: said = refusal(lambda x: x @ torch.ones(7)))")


def test_a_forward_that_ends_the_process_is_refused() -> None:
    assert "SystemExit: 0" in refusal(lambda _: sys.exit(0))


def test_a_forward_that_writes_into_its_input_leaves_the_case_as_it_was() -> None:
    model = entry(inputs=[DENSE])

    cases = [run_cases(model, module, {}) for module in (Writing(), Doing(lambda x: x).eval())]

    assert all(
        np.array_equal(writing.inputs["dense"], reading.inputs["dense"])
        for writing, reading in zip(*cases, strict=True)
    )


def test_the_default_dtype_is_what_it_was() -> None:
    """What is exported next makes its tensors in it."""
    limits(lambda x: x)
    assert torch.get_default_dtype() is torch.float32

    limits(lambda x: x, format="onnx-fp16")
    assert torch.get_default_dtype() is torch.float32


def test_cases_carry_the_modules_own_answers() -> None:
    model: ModelRecipe = entry(inputs=[DENSE])
    module = Doing(lambda x: x.sum(1)).eval().requires_grad_(requires_grad=False)

    cases = run_cases(model, module, {})

    assert [case.inputs["dense"].shape[0] for case in cases] == [1, 2, 3, 64]
    assert all(len(case.outputs["score"]) == len(case.inputs["dense"]) for case in cases)


@pytest.mark.parametrize("form", ["onnx", "onnx-fp16"])
def test_tensors_that_are_no_parameters_are_taken_along(form: str) -> None:
    """Computed from weights, PyTorch would not copy them; in a list, it would not convert them."""
    model = entry(inputs=[DENSE], format=form)
    module = Keeping().eval().requires_grad_(requires_grad=False)

    (limit,) = calibrate(model, module, run_cases(model, module, {})).values()

    assert limit < 1e-2


def test_a_module_that_cannot_be_copied_says_why() -> None:
    module = Doing(lambda x: x).eval()
    module.lock = threading.Lock()
    model = entry(inputs=[DENSE])

    with pytest.raises(StageRefused, match=r"cannot be copied, TypeError: .*lock.* object; keep"):
        calibrate(model, module, run_cases(model, module, {}))
