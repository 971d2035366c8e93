from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from torch import nn

from generator.exporters.outputs import named_outputs
from generator.exporters.precision import half_by_default, halved, widened
from tests.unit.generator.entries import entry


class Normed(nn.Module):
    """Ids to an embedding, a norm and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 8)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(self.table(ids).sum(1)))  # type: ignore[no-any-return]


class Convolved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.ReLU())

    def forward(self, signal: torch.Tensor) -> torch.Tensor:
        return self.layers(signal)  # type: ignore[no-any-return]


class MakingTensors(nn.Module):
    """Its forward makes a tensor without saying of which dtype."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 4)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.out(values + torch.ones(4))  # type: ignore[no-any-return]


class AnsweringInHalf(MakingTensors):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.out(values).half()  # type: ignore[no-any-return]


class InFloat32(MakingTensors):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return self.out(values.float())  # type: ignore[no-any-return]


class OfTwoKinds(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(4, 3)

    def forward(self, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        scores = self.out(values)
        return scores, scores.argmax(1)


class Named(OfTwoKinds):
    def forward(self, values: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        scores, best = super().forward(values)
        return {"best": best, "scores": scores}


def built(create: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return create().eval()


def values(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def answers(
    module: nn.Module, *inputs: torch.Tensor, outputs: Sequence[str] = ("scores",)
) -> tuple[torch.Tensor, ...]:
    model = entry(outputs=outputs)
    with torch.no_grad():
        whole = named_outputs(model, module(*inputs))
        like = {name: each.numpy() for name, each in zip(outputs, whole, strict=True)}
        with half_by_default():
            return halved(module, model, like)(*inputs)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("create", "given"),
    [
        (Normed, torch.tensor([[1, 2, 3], [4, 5, 9]])),
        (Convolved, values(2, 3, 8)),
        (MakingTensors, values(2, 4)),
    ],
)
def test_answers_nearly_as_the_whole_and_in_float32(
    create: Callable[[], nn.Module], given: torch.Tensor
) -> None:
    module = built(create)

    whole, (half,) = module(given).detach(), answers(module, given)

    assert half.dtype is torch.float32
    assert 0 < (half - whole).abs().max() < 2e-3 * whole.abs().max()


def test_the_module_itself_stays_as_it_is() -> None:
    module = built(Normed)

    half = halved(module, entry(outputs=["scores"]), {"scores": np.zeros(1, np.float32)})

    assert {each.dtype for each in module.parameters()} == {torch.float32}
    assert {each.dtype for each in half.parameters()} == {torch.float16}
    assert not any(part.training for part in half.modules())


def test_complex_numbers_keep_their_imaginary_part_in_either() -> None:
    turns = torch.polar(torch.ones(3), torch.arange(3.0))
    module = nn.Module()
    module.register_buffer("turns", turns)

    half = halved(module, entry(outputs=["scores"]), {"scores": np.zeros(1, np.float32)})
    (in_half,), (in_float64,) = (each.state_dict().values() for each in (half, widened(module)))

    assert torch.equal(in_half, turns)
    assert torch.equal(in_float64, turns.to(torch.complex128))


def test_outputs_that_are_no_floats_keep_their_dtype() -> None:
    scores, best = answers(built(OfTwoKinds), values(2, 4), outputs=["scores", "best"])

    assert (scores.dtype, best.dtype) == (torch.float32, torch.int64)


def test_an_output_that_is_in_half_precision_anyway_stays_so() -> None:
    (half,) = answers(built(AnsweringInHalf), values(2, 4))

    assert half.dtype is torch.float16


def test_outputs_by_name_come_in_the_order_of_the_recipe() -> None:
    scores, best = answers(built(Named), values(2, 4), outputs=["scores", "best"])

    assert (scores.dtype, best.dtype) == (torch.float32, torch.int64)


def test_a_forward_that_insists_on_float32_fails_instead_of_mixing() -> None:
    """Its author may mean it: a sum of squares overflows in half precision."""
    with pytest.raises(RuntimeError, match="dtype"):
        answers(built(InFloat32), values(2, 4))


def test_the_default_dtype_is_float32_again_afterwards() -> None:
    with pytest.raises(RuntimeError):
        answers(built(InFloat32), values(2, 4))

    assert torch.get_default_dtype() is torch.float32
