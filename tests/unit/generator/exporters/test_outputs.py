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


def test_sparse_tensors_are_refused() -> None:
    with pytest.raises(StageRefused, match=r"output score is sparse .* return x.to_dense\(\)"):
        named(torch.eye(2).to_sparse(), "score")
