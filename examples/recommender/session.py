"""What somebody is up to in this session: an LSTM over the last 50 clicks."""

import torch
from torch import nn

ITEMS = 5_000
WIDTH = 128
HIDDEN = 384


class SessionEncoder(nn.Module):
    """Clicked items [B, seq] to an intent [B, 64]."""

    def __init__(self) -> None:
        super().__init__()
        self.items = nn.Embedding(ITEMS, WIDTH)
        self.memory = nn.LSTM(WIDTH, HIDDEN, num_layers=2, batch_first=True)
        self.intent = nn.Linear(HIDDEN, 64)

    def forward(self, items: torch.Tensor) -> torch.Tensor:
        states, _ = self.memory(self.items(items))
        return self.intent(states[:, -1])


def create() -> nn.Module:
    return SessionEncoder().eval()
