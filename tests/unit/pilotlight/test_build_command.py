"""`pilotlight build` where nothing has to be exported."""

import json
import threading
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
    ended: list[Result] = []
    second = threading.Thread(target=lambda: ended.append(build(recipe, "--wait")))
    with locked(recipe.parent / "store"):
        second.start()
        second.join(timeout=1.0)
        assert not ended
    second.join()

    lines = ended[0].stdout.splitlines()
    assert "is held by process" in lines[0]
    assert lines[-1].endswith("0 built, 0 unchanged, 1 failed")


def test_what_could_not_be_built_is_named_and_fails_the_command(recipe: Path) -> None:
    done = build(recipe)

    assert done.exit_code == 1
    assert "ranker failed: " in done.stdout
    assert "preferred_batch_size" in done.stdout
