"""Models of a few kilobytes with everything that a build can meet, and a folder to build in."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from contract.layout import Store, VersionFolder
from generator.build import build
from generator.events import BuildEvent, BuildReport

SOURCE = """
import os
import signal

import torch
from torch import nn

import layers


class Tiny(layers.Summed):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale

    def forward(self, ids):
        return self.scale * self.summed(ids)


class OfFixedBatch(layers.Summed):
    def forward(self, ids):
        return self.summed(ids).reshape(2, -1)


class DifferentWhenExported(layers.Summed):
    def forward(self, ids):
        summed = self.summed(ids)
        return summed * 1.01 if torch.compiler.is_exporting() else summed


class Crashing(layers.Summed):
    def forward(self, ids):
        os.kill(os.getpid(), signal.SIGSEGV)


class OfTwoOutputs(layers.Summed):
    def forward(self, ids):
        return self.summed(ids), ids


def tiny(scale=1.0):
    return Tiny(scale).eval()


def large(rows):
    model = Tiny(1.0)
    model.unused = nn.Embedding(rows, 1024)
    model.forward = lambda ids: model.summed(ids) + model.unused(ids).sum((1, 2))[:, None]
    return model.eval()


def of_fixed_batch():
    return OfFixedBatch().eval()


def different_when_exported():
    return DifferentWhenExported().eval()


def crashing():
    return Crashing().eval()


def of_two_outputs():
    return OfTwoOutputs().eval()


def in_training():
    return Tiny(1.0)


def raising():
    raise ValueError("no such weights")


def number():
    return 3
"""

LAYERS = """
from torch import nn


class Summed(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.out = nn.Linear(4, 2)

    def summed(self, ids):
        return self.out(self.table(ids).sum(1))
"""


def entry(source: str = "tiny", **changes: Any) -> dict[str, Any]:
    return {
        "name": source.replace("_", "-"),
        "source": f"tiny:{source}",
        "inputs": [{"name": "ids", "dtype": "INT64", "shape": ["seq"], "range": [0, 10]}],
        "dims": {"seq": {"min": 1, "opt": 4, "max": 9}},
        "outputs": ["score"],
        "max_batch_size": 4,
    } | changes


@dataclass
class Workshop:
    """A recipe's folder and a store; `build` writes the recipe and builds it."""

    folder: Path
    store: Store
    events: list[BuildEvent] = field(default_factory=list)

    @classmethod
    def at(cls, root: Path) -> "Workshop":
        (root / "recipe").mkdir(parents=True)
        (root / "recipe/tiny.py").write_text(SOURCE)
        (root / "recipe/layers.py").write_text(LAYERS)
        return cls(root / "recipe", Store(root / "store"))

    def build(self, *models: dict[str, Any]) -> BuildReport:
        recipe = self.folder / "models.yaml"
        recipe.write_text(
            yaml.safe_dump({"triton": "24.10", "target": "cpu", "models": list(models)})
        )
        return build(recipe, self.store.root, jobs=2, report=self.events.append)

    def refusal(self, model: dict[str, Any]) -> str:
        """Why a model is not built; the store must not know of it."""
        report = self.build(model)
        assert not report.built
        assert not self.store.model(model["name"]).exists()
        (failure,) = report.failed
        assert failure.model == model["name"]
        return failure.reason

    def version(self, version: int, model: str = "tiny") -> VersionFolder:
        return self.store.version(model, version)


def contents(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
