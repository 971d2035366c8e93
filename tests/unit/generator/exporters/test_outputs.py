"""Whatever a module returns, as the tensors that the recipe names."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import torch

from generator.errors import StageRefused
from generator.exporters.outputs import named_outputs
from tests.unit.generator.entries import entry

SCORE, TASTE = torch.tensor([1.0]), torch.tensor([2.0])


class Tuple(NamedTuple):
    taste: torch.Tensor
    score: torch.Tensor


@dataclass(slots=True)
class Data:
    taste: torch.Tensor
    score: torch.Tensor


def named(answer: Any, *names: str) -> list[torch.Tensor]:
    return list(named_outputs(entry(outputs=names), answer))


@pytest.mark.parametrize(
    "answer",
    [Tuple(TASTE, SCORE), Data(TASTE, SCORE), {"taste": TASTE, "score": SCORE}],
    ids=["namedtuple", "dataclass", "dict"],
)
def test_names_decide_where_there_are_some(answer: Any) -> None:
    """By position, a named tuple in another order than the recipe would be served swapped."""
    assert named(answer, "score", "taste") == [SCORE, TASTE]
    assert named(answer, "taste") == [TASTE]
    with pytest.raises(StageRefused, match=r"no output 'tast'; did you mean 'taste'\?"):
        named(answer, "tast")


@pytest.mark.parametrize("answer", [(SCORE, TASTE), [SCORE, TASTE]])
def test_the_order_decides_where_there_are_no_names(answer: Any) -> None:
    assert named(answer, "score", "taste") == [SCORE, TASTE]


@pytest.mark.parametrize("answer", [SCORE, (SCORE, (TASTE,)), (SCORE, None), 3])
def test_other_tensors_than_the_recipe_names_are_refused(answer: Any) -> None:
    with pytest.raises(StageRefused, match=r"the recipe names 2 outputs \(score, taste\); return"):
        named(answer, "score", "taste")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            torch.zeros(1, dtype=torch.complex64),
            "output score is torch.complex64, which Triton's clients cannot receive; return "
            "torch.view_as_real(x); what they can receive is bool, float16, float32, float64, "
            "int16, int32, int64, int8, uint16, uint32, uint64, uint8",
        ),
        (SCORE.bfloat16(), "return x.float(), and compute it outside of torch.autocast; what "),
        (SCORE.to(torch.float8_e5m2), "score is torch.float8_e5m2, .* return x.float(); what "),
    ],
)
def test_what_no_client_receives_is_refused_with_what_they_do(
    answer: torch.Tensor, said: str
) -> None:
    with pytest.raises(StageRefused, match=said.replace("(", r"\(").replace(")", r"\)")):
        named(answer, "score")


def test_sparse_tensors_are_refused() -> None:
    with pytest.raises(StageRefused, match=r"output score is sparse .* return x.to_dense\(\)"):
        named(torch.eye(2).to_sparse(), "score")
