"""A recipe begun from somebody's Python file."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from contract.dtypes import Datatype
from generator.errors import GeneratorError
from generator.recipe import load_recipe
from generator.scaffold.found import LookJob
from generator.scaffold.module import look
from generator.scaffold.text import recipe_text, to_fill_in
from pilotlight.paths import EXAMPLE
from tests.e2e.generator.authored import verified_in_process

# PyTorch's exporter warns of itself.
pytestmark = [pytest.mark.build, pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore")]

RANKER = '''
import torch
from torch import nn


class Part(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 4)

    def forward(self, ids):
        return self.table(ids).sum(1)


class Ranker(nn.Module):
    """Ids and a dense feature to two scores."""

    def __init__(self):
        super().__init__()
        self.part = Part()
        self.out = nn.Linear(5, 2)

    def forward(self, ids: torch.Tensor, dense: torch.Tensor) -> torch.Tensor:
        return self.out(torch.cat([self.part(ids), dense], 1))
'''
CREATE = """

def ranker() -> nn.Module:
    return Ranker().eval()


def of_size(size: int) -> nn.Module:
    return Ranker().eval()


def unmarked():
    raise SystemExit("called")
"""
EXAMPLES = """

def example_inputs():
    return {"dense": torch.rand(3, 1), "ids": torch.randint(0, 9, (3, 2))}
"""


Begin = Callable[[Path], str]


@pytest.fixture
def begin_here(monkeypatch: pytest.MonkeyPatch) -> Begin:
    """`begin` in this process: in one of its own, PyTorch takes long to come."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def begun(module: Path) -> str:
        # Each test has a folder of its own, and Python one module of a name.
        sys.modules.pop(module.stem, None)
        found = look(LookJob(module=module))
        return recipe_text(found, origin=str(module), triton="24.10", target="cpu")

    return begun


def written(folder: Path, source: str) -> Path:
    module = folder / "rankers.py"
    module.write_text(source)
    return module


def test_with_example_inputs_nothing_is_left_to_fill_in_and_it_builds(
    tmp_path: Path, begin_here: Begin
) -> None:
    text = begin_here(written(tmp_path, RANKER + CREATE + EXAMPLES))
    assert to_fill_in(text) == []
    (entry,) = yaml.safe_load(text)["models"]

    _, verified = verified_in_process(entry, tmp_path)

    assert entry["max_batch_size"] == 8
    assert [(tensor.name, tensor.datatype, tensor.shape) for tensor in verified.inputs] == [
        ("ids", Datatype.INT64, (-1, 2)),
        ("dense", Datatype.FP32, (-1, 1)),
    ]
    assert [(tensor.name, tensor.datatype, tensor.shape) for tensor in verified.outputs] == [
        ("output", Datatype.FP32, (-1, 2))
    ]


def test_without_them_it_says_what_it_could_not_know(tmp_path: Path, begin_here: Begin) -> None:
    text = begin_here(written(tmp_path, RANKER + CREATE))

    keys = ["ids: dtype", "ids: shape", "dense: dtype", "dense: shape"]
    for line, key in zip(to_fill_in(text), [*keys, "outputs", "max_batch_size"], strict=True):
        assert line.startswith(f"ranker: {key}: ")
    assert "# Ranker: Ids and a dense feature to two scores." in text
    assert "# Its smallest table has 9 rows: inputs of ids, range: [0, 9]" in text
    assert "# - of_size() needs arguments: an entry for it says args" in text
    assert "# - unmarked() was not called: it does not say that it returns a torch.nn" in text


def test_a_class_alone_is_an_entry_and_its_parts_are_not(tmp_path: Path, begin_here: Begin) -> None:
    text = begin_here(written(tmp_path, RANKER))

    assert "source: rankers:Ranker" in text
    assert "rankers:Part" not in text
    assert "TODO Ranker gives a module in training state: let it call .eval()" in text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import no_such_package", "raised ModuleNotFoundError: No module named 'no_such_package'"),
        (
            "import torch\ndef create() -> torch.nn.Module:\n    raise ValueError('no weights')",
            "makes no model (create raised ValueError: no weights); write a function",
        ),
    ],
)
def test_says_why_nothing_can_begin(
    tmp_path: Path, begin_here: Begin, source: str, said: str
) -> None:
    with pytest.raises(GeneratorError) as refused:
        begin_here(written(tmp_path, source))

    assert said in str(refused.value)


def test_an_example_of_the_readme_needs_only_its_shapes(tmp_path: Path, begin_here: Begin) -> None:
    text = begin_here(EXAMPLE / "short_form.py")
    lines = iter(["dtype: FP32", "shape: [13]", "dtype: INT64", "shape: [6]", "outputs: [score]"])
    filled = "\n".join(
        line.partition("#")[0] + next(lines, "max_batch_size: 64") if "# TODO" in line else line
        for line in text.splitlines()
    )
    # What the note about the table says.
    filled = filled.replace("shape: [6]", "shape: [6]\n        range: [0, 125000]")
    recipe = tmp_path / "models.yaml"
    recipe.write_text(filled)

    (begun_with,) = load_recipe(recipe).models
    (shipped,) = (
        model for model in load_recipe(EXAMPLE / "models.yaml").models if model.name == "short_form"
    )
    assert "Its smallest table has 125000 rows" in text
    kept = {"name", "source", "inputs", "outputs", "max_batch_size"}
    assert begun_with.model_dump(include=kept) == shipped.model_dump(include=kept)
