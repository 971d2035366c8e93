"""`pilotlight build` where nothing has to be exported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from generator.publishing.lock import locked
from pilotlight.cli import app
from tests.unit.generator.entries import raw

NO_BATCH = {"batching": {"preferred": [128]}}
"""Refused before its export."""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "ranker.py").touch()
    path = tmp_path / "models.yaml"
    said = {"triton": "24.10", "target": "cpu", "models": [raw(**NO_BATCH)]}
    path.write_text(yaml.safe_dump(said))
    return path


def build(recipe: Path, *options: str) -> Result:
    store = str(recipe.parent / "store")
    command = ["build", str(recipe), "--store", store, *options]
    return CliRunner().invoke(app, command, catch_exceptions=False)


def test_a_second_builder_is_told_of_the_first(recipe: Path) -> None:
    with locked(recipe.parent / "store"):
        done = build(recipe, "--json")

    assert done.exit_code == 1
    assert "is held by process" in json.loads(done.stderr)["error"]["message"]


def test_a_second_builder_may_wait_for_the_first(recipe: Path) -> None:
    store = recipe.parent / "store"
    command = [sys.executable, "-m", "pilotlight", "build", recipe, "--store", store, "--wait"]
    with locked(store):
        second = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None
        assert "is held by process" in second.stdout.readline()
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(timeout=0.5)
    told, _ = second.communicate()

    assert told.splitlines()[-1].endswith("0 built, 0 unchanged, 1 failed")


def test_what_could_not_be_built_is_named_and_fails_the_command(recipe: Path) -> None:
    done = build(recipe)

    assert done.exit_code == 1
    assert "ranker failed: " in done.stdout
    assert "preferred_batch_size" in done.stdout


def test_without_a_recipe_it_is_said_how_to_get_one(tmp_path: Path) -> None:
    done = build(tmp_path / "models.yaml")

    assert done.exit_code == 1
    assert "there is no recipe" in done.stderr
    assert "`pilotlight init WHAT`" in done.stderr
