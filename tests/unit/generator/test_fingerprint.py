from pathlib import Path
from typing import Any

import pytest

from generator.fingerprint import fingerprint, hash_sources
from generator.recipe import Recipe
from tests.unit.generator.entries import raw


def of(folder: Path, *, top: dict[str, Any] | None = None, **changes: Any) -> str:
    recipe = Recipe.model_validate(
        {"triton": "24.10", "target": "cpu", "models": [raw(**changes)]} | (top or {})
    )
    sources = hash_sources(folder, ["ranker.py", "layers/table.py"])
    return fingerprint(recipe.models[0], recipe, folder, sources)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "layers").mkdir()
    (tmp_path / "ranker.py").write_text("import layers.table")
    (tmp_path / "layers/table.py").write_text("ROWS = 5")
    (tmp_path / "weights.pt").write_bytes(b"weights")
    return tmp_path


def test_is_the_same_for_the_same_recipe_and_files(folder: Path) -> None:
    assert of(folder) == of(folder)


@pytest.mark.parametrize("change", [{"tier": "hot"}, {"version": 3}])
def test_neither_tier_nor_number_change_what_is_built(folder: Path, change: dict[str, Any]) -> None:
    assert of(folder, **change) == of(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"args": {"width": 2}},
        {"instances": 2},
        {"tolerance": 0.1},
        {"weights": "weights.pt"},
        {"top": {"target": "gpu"}},
        {"top": {"triton": "25.01"}},
    ],
)
def test_whatever_else_the_recipe_says_does(folder: Path, change: dict[str, Any]) -> None:
    assert of(folder, **change) != of(folder)


@pytest.mark.parametrize("name", ["ranker.py", "layers/table.py", "weights.pt"])
def test_notices_a_changed_and_a_missing_file(folder: Path, name: str) -> None:
    before = of(folder, weights="weights.pt")

    (folder / name).write_text("something else")
    changed = of(folder, weights="weights.pt")
    (folder / name).unlink()
    gone = of(folder, weights="weights.pt")

    assert len({before, changed, gone}) == 3


def test_does_not_depend_on_where_the_recipe_lies(folder: Path, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    folder.rename(elsewhere)
    moved = of(elsewhere)
    elsewhere.rename(folder)

    assert of(folder) == moved
