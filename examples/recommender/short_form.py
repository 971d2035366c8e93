"""Ranking of short videos: a DLRM, most of whose bytes are embedding tables."""

import torch
from torch import nn

TABLES = 6
ROWS = 125_000
WIDTH = 32
DENSE = 13


class Dlrm(nn.Module):
    """Dense features [B, 13] and one id per table [B, 6] to a probability [B, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(ROWS, WIDTH) for _ in range(TABLES))
        self.bottom = nn.Sequential(
            nn.Linear(DENSE, 128), nn.ReLU(), nn.Linear(128, WIDTH), nn.ReLU()
        )
        pairs = (TABLES + 1) * TABLES // 2
        self.top = nn.Sequential(nn.Linear(WIDTH + pairs, 128), nn.ReLU(), nn.Linear(128, 1))
        rows, columns = torch.tril_indices(TABLES + 1, TABLES + 1, offset=-1)
        self.register_buffer("rows", rows)
        self.register_buffer("columns", columns)

    def features(self, dense: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        bottom = self.bottom(dense)
        vectors = [bottom, *(table(ids[:, index]) for index, table in enumerate(self.tables))]
        stacked = torch.stack(vectors, dim=1)
        products = stacked @ stacked.transpose(1, 2)
        return torch.cat([bottom, products[:, self.rows, self.columns]], dim=1)

    def forward(self, dense: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.top(self.features(dense, ids)))


class DlrmWithAfterthoughts(Dlrm):
    """The same answer to a few digits, and a long detour that nobody profiled."""

    STEPS = 96
    HIDDEN = 512

    def __init__(self) -> None:
        super().__init__()
        self.widen = nn.Linear(self.top[0].in_features, self.HIDDEN)
        self.refine = nn.Linear(self.HIDDEN, self.HIDDEN)
        self.narrow = nn.Linear(self.HIDDEN, 1)

    def forward(self, dense: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        features = self.features(dense, ids)
        hidden = torch.tanh(self.widen(features))
        for _ in range(self.STEPS):
            hidden = torch.tanh(self.refine(hidden))
        return torch.sigmoid(self.top(features) + 1e-3 * self.narrow(hidden))


def create(*, retrained: bool = False, detour: bool = False) -> nn.Module:
    """`retrained`: the top layers were trained a little further; the tables are the same."""
    model = Dlrm()
    if retrained:
        torch.manual_seed(1)
        for layer in model.top:
            if isinstance(layer, nn.Linear):
                layer.weight.data += 0.02 * torch.randn_like(layer.weight)
    if detour:
        slow = DlrmWithAfterthoughts()
        slow.load_state_dict(model.state_dict(), strict=False)
        model = slow
    return model.eval()
