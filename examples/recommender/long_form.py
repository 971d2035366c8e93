"""What to watch next, from a history of up to 128 titles: a transformer encoder."""

import torch
from torch import nn
from torch.nn import functional

TITLES = 10_000
WIDTH = 384
HEADS = 6
LAYERS = 6
LONGEST = 128


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH)
        self.to_attend = nn.Linear(WIDTH, 3 * WIDTH)
        self.attended = nn.Linear(WIDTH, WIDTH)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 4 * WIDTH),
            nn.GELU(),
            nn.Linear(4 * WIDTH, WIDTH),
        )

    def forward(self, states: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
        heads = self.to_attend(self.before_attention(states))
        query, key, value = (
            part.unflatten(-1, (HEADS, WIDTH // HEADS)).transpose(1, 2)
            for part in heads.chunk(3, dim=-1)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=visible)
        states = states + self.attended(mixed.transpose(1, 2).flatten(2))
        return states + self.feed_forward(states)


class HistoryEncoder(nn.Module):
    """Titles [B, seq] and their mask [B, seq] (1: watched, 0: padding) to a taste [B, 128]."""

    def __init__(self) -> None:
        super().__init__()
        self.titles = nn.Embedding(TITLES, WIDTH)
        self.positions = nn.Embedding(LONGEST, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.taste = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 128))

    def forward(self, titles: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        watched = mask.bool()
        places = torch.arange(titles.shape[1], device=titles.device)
        states = self.titles(titles) + self.positions(places)
        for block in self.blocks:
            states = block(states, watched[:, None, None, :])
        weights = watched.to(states.dtype)[:, :, None]
        return self.taste((states * weights).sum(1) / weights.sum(1))


def create() -> nn.Module:
    return HistoryEncoder().eval()
