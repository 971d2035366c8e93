"""Would a paying user like a title: two towers with their own tables."""

import torch
from torch import nn

ROWS = 150_000
WIDTH = 48
FEATURES = 24


class TwoTower(nn.Module):
    """User and title ids [B, 2] and context features [B, 24] to an affinity [B, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.users = nn.Embedding(ROWS, WIDTH)
        self.titles = nn.Embedding(ROWS, WIDTH)
        self.user_tower = nn.Sequential(
            nn.Linear(WIDTH + FEATURES, 256), nn.ReLU(), nn.Linear(256, 64)
        )
        self.title_tower = nn.Sequential(nn.Linear(WIDTH, 256), nn.ReLU(), nn.Linear(256, 64))

    def forward(self, ids: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
        user = self.user_tower(torch.cat([self.users(ids[:, 0]), features], dim=1))
        title = self.title_tower(self.titles(ids[:, 1]))
        return (user * title).sum(1, keepdim=True)


def create() -> nn.Module:
    return TwoTower().eval()
