"""How good a still frame is as a thumbnail: a small residual CNN."""

import torch
from torch import nn

CHANNELS = (64, 128, 256, 512)
QUALITIES = 10


def _convolution(before: int, after: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(after)
    )


class Residual(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = _convolution(before, after, stride)
        self.second = _convolution(after, after, 1)
        self.shortcut = (
            nn.Identity()
            if before == after
            else nn.Conv2d(before, after, 1, stride=stride, bias=False)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        inner = self.second(torch.relu(self.first(image)))
        return torch.relu(inner + self.shortcut(image))


class ThumbnailScorer(nn.Module):
    """Images [B, 3, 96, 96] to a score for each quality [B, 10]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, CHANNELS[0], 2), nn.ReLU())
        before = (CHANNELS[0], *CHANNELS[:-1])
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(Residual(old, new, 1 if old == new else 2), Residual(new, new, 1))
                for old, new in zip(before, CHANNELS, strict=True)
            )
        )
        self.head = nn.Linear(CHANNELS[-1], QUALITIES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.stem(image)).mean(dim=(2, 3)))


def create() -> nn.Module:
    return ThumbnailScorer().eval()
