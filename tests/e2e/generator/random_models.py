"""A module for any list of inputs and outputs; it is copied beside a recipe, and asked here."""

from collections.abc import Sequence

import torch
from torch import nn

IDS = 10


class Mixed(nn.Module):
    """Every output depends on every input; `lead` is 1 with a batch dimension."""

    def __init__(self, kinds: Sequence[str], outputs: Sequence[str], lead: int) -> None:
        super().__init__()
        self.outputs, self.lead = outputs, lead
        self.tables = nn.ModuleList(
            nn.Embedding(IDS, 3) if kind == "ids" else nn.Identity() for kind in kinds
        )
        self.mix = nn.Linear(len(kinds), 4)

    def answer(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        wide = [
            table(x).to(self.mix.weight.dtype) for table, x in zip(self.tables, inputs, strict=True)
        ]
        features = torch.stack([x.flatten(self.lead).mean(-1) for x in wide], -1)
        mixed = torch.tanh(self.mix(features))
        first = inputs[0]
        level = mixed.mean(-1).reshape(mixed.shape[: self.lead] + (1,) * (first.dim() - self.lead))
        found = {
            "mixed": mixed,
            "mirror": first.to(mixed.dtype) * 0.5 + level,
            "count": (first > 0).flatten(self.lead).sum(-1, keepdim=True),
            "any": (first > 0).flatten(self.lead).any(-1, keepdim=True),
            "level": mixed.mean(-1),
        }
        return tuple(found[output] for output in self.outputs)


class OfOne(Mixed):
    def forward(self, a: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.answer([a])


class OfTwo(Mixed):
    def forward(self, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.answer([a, b])


class OfThree(Mixed):
    def forward(
        self, a: torch.Tensor, b: torch.Tensor, c: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        return self.answer([a, b, c])


def create(kinds: Sequence[str], outputs: Sequence[str], lead: int) -> nn.Module:
    return (OfOne, OfTwo, OfThree)[len(kinds) - 1](kinds, outputs, lead).eval()
