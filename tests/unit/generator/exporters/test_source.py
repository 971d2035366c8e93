"""What an author's callable may do wrong."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from generator.errors import StageRefused
from generator.exporters.source import construct
from tests.unit.generator.entries import entry

CODE = """
import sys
import torch


def scripted():
    return torch.nn.Sequential(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1))).eval()


def lazy():
    return torch.nn.LazyLinear(3).eval()


def elsewhere():
    return torch.nn.Linear(1, 1, device="meta").eval()


def training():
    return torch.nn.DataParallel(torch.nn.Linear(1, 1).eval())


def broken():
    return torch.zeros(2) @ torch.zeros(3)


def ending():
    sys.exit(0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "authors.py").write_text(CODE)
    (tmp_path / "script.py").write_text("import argparse\nargparse.ArgumentParser().exit(2)\n")
    yield tmp_path
    sys.modules.pop("authors", None)
    sys.path.remove(str(tmp_path))


# TorchScript warns of its age.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("authors:scripted", "TorchScript (ReLU), which PyTorch does not export; return the mod"),
        ("authors:lazy", "a module whose weight has no shape yet; call it once with an example"),
        ("authors:elsewhere", "a module whose weight is on meta; create it on the CPU"),
        ("authors:training", "a module in training state; call .eval() on it"),
        ("authors:broken", 'authors.py", line 23, in broken: return torch.zeros(2) @ torch.z'),
        ("authors:ending", 'SystemExit: 0 (File "{folder}/authors.py", line 27, in ending: sys.e'),
        ("script:main", 'SystemExit: 2 (File "{folder}/script.py", line 2, in <module>: argparse'),
    ],
)
def test_what_it_returns_or_raises_is_told(folder: Path, source: str, said: str) -> None:
    with pytest.raises(StageRefused) as refused:
        construct(entry(source=source), source, folder)

    assert said.format(folder=folder) in str(refused.value)
