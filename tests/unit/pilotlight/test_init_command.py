"""`pilotlight init`: what it says. What it writes: `tests/unit/generator/scaffold`."""

import json
from pathlib import Path

import onnx
import pytest
from typer.testing import CliRunner, Result

from pilotlight.cli import app
from tests.unit.generator.checks.graphs import scaling

CONFIG = """
backend: "onnxruntime"
max_batch_size: 4
input [{ name: "x" data_type: TYPE_FP32 dims: [-1] }]
output [{ name: "y" data_type: TYPE_FP32 dims: [3] }]
"""
DIMS = "dims: the sizes that inputs take, such as {x_0: {min: 1, opt: 32, max: 128}}"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for name in ("text_1", "text_2", "text_3"):
        version = tmp_path / "theirs" / name / "1"
        version.mkdir(parents=True)
        onnx.save(scaling(2), version / "model.onnx")
        (version.parent / "config.pbtxt").write_text(CONFIG)
    return tmp_path / "theirs"


def init(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["init", *arguments], catch_exceptions=False)


def test_alone_it_says_what_to_type() -> None:
    alone = init()

    assert alone.exit_code == 2
    assert "say what to begin from: a Python file" in alone.stderr
    assert "pilotlight init ranker.py" in alone.stderr
    assert json.loads(init("--json").stderr)["error"]["code"] == "usage"


def test_what_many_models_wait_for_is_one_line_for_people(repository: Path) -> None:
    recipe = repository.parent / "begun.yaml"

    assert init(str(repository), "--recipe", str(recipe)).stdout.splitlines() == [
        f"  to fill in: text_1 … text_3 (3 models): {DIMS}",
        f"{recipe} is written; next: fill in its lines with TODO",
    ]


def test_programs_are_told_of_each_model(repository: Path) -> None:
    told = json.loads(init(str(repository), "--json").stdout)

    assert told["to_fill_in"] == [f"text_{number}: {DIMS}" for number in (1, 2, 3)]
