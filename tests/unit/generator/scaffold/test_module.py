"""What of a Python file becomes an entry; whole recipes: `tests/e2e/generator/test_init`."""

import sys
from pathlib import Path

import pytest

from generator.scaffold.found import Found, LookJob
from generator.scaffold.module import look

SOURCE = """
import torch
from torch import nn


def scores() -> nn.Module:
    return nn.Linear(4, 2).eval()


def with_inputs() -> tuple[nn.Module, torch.Tensor]:
    raise AssertionError("called")
"""


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Found:
    module = tmp_path / "of_a_library.py"
    module.write_text(SOURCE)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return look(LookJob(module=module))


def test_the_words_of_a_library_are_no_note(found: Found) -> None:
    assert [(model.name, model.notes) for model in found.models] == [("scores", ())]


def test_a_function_of_more_than_a_module_is_left_out_with_the_reason(found: Found) -> None:
    (why,) = found.left_out

    assert why.startswith("with_inputs() was not called: it says that it returns tuple[")
    assert why.endswith("let it return the module alone, and example_inputs() what goes in")
