from pathlib import Path
from typing import Any

import pytest

from generator.fingerprint import fingerprint, hash_named, named_files
from generator.hashes import Hashes
from generator.recipe import Recipe
from generator.recipe.formats import Kind
from tests.unit.generator.entries import entry, raw

SOURCES = ("ranker.py", "layers/table.py")


def of(folder: Path, *, top: dict[str, Any] | None = None, **changes: Any) -> str:
    recipe = Recipe.model_validate(
        {"triton": "24.10", "target": "cpu", "models": [raw(**changes)]} | (top or {})
    )
    (model,) = recipe.models
    hashes = Hashes(folder / "hashes.json")
    sources = {name: hashes.of(folder / name) for name in SOURCES}
    return fingerprint(model, recipe, sources | hash_named(model, folder, hashes))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "layers").mkdir()
    (tmp_path / "ranker.py").write_text("import layers.table")
    (tmp_path / "layers/table.py").write_text("ROWS = 5")
    (tmp_path / "weights.pt").write_bytes(b"weights")
    (tmp_path / "real.npz").write_bytes(b"samples")
    (tmp_path / "classes.txt").write_text("yes\nno\n")
    (tmp_path / "words").mkdir()
    (tmp_path / "words/de.txt").write_text("ja\nnein\n")
    return tmp_path


def test_is_the_same_for_the_same_recipe_and_files(folder: Path) -> None:
    assert of(folder) == of(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"tier": "hot"},
        {"version": 3},
        {"keep": 1},
        {"top": {"keep": 1}},
        {"seed": 0},
        {"format": "onnx"},
        {"outputs": [{"name": "score"}]},
    ],
)
def test_is_the_same_where_the_same_would_be_built(folder: Path, change: dict[str, Any]) -> None:
    assert of(folder, **change) == of(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"args": {"width": 2}},
        {"instances": 2},
        {"tolerance": 0.1},
        {"weights": "weights.pt"},
        {"samples": "real.npz"},
        {"depends": ["scale.json"]},
        {"outputs": [{"name": "score", "labels": "classes.txt"}]},
        {"top": {"target": "auto"}},
        {"top": {"triton": "25.01"}},
    ],
)
def test_whatever_else_the_recipe_says_is_told_apart(folder: Path, change: dict[str, Any]) -> None:
    assert of(folder, **change) != of(folder)


def test_each_format_is_told_apart(folder: Path) -> None:
    on_gpu = {"triton": "24.10", "target": "gpu"}
    kinds = Kind.__args__  # type: ignore[attr-defined]

    found = {of(folder, top=on_gpu | {"models": [raw(format=kind)]}) for kind in kinds}

    assert len(found) == len(kinds)


@pytest.mark.parametrize(
    "name",
    ["ranker.py", "layers/table.py", "weights.pt", "real.npz", "classes.txt", "words/de.txt"],
)
def test_notices_a_changed_and_a_missing_file(folder: Path, name: str) -> None:
    names = {
        "weights": "weights.pt",
        "samples": "real.npz",
        "outputs": [{"name": "score", "labels": "classes.txt"}],
        "depends": ["words"],
    }
    before = of(folder, **names)

    (folder / name).write_text("something else")
    changed = of(folder, **names)
    (folder / name).unlink()
    gone = of(folder, **names)

    assert len({before, changed, gone}) == 3


def test_all_files_of_a_hugging_face_folder_count(folder: Path) -> None:
    (folder / "bert/tokenizer").mkdir(parents=True)
    for name in ("bert/config.json", "bert/tokenizer/vocab.txt"):
        (folder / name).write_text("{}")
    model = entry(source=None, huggingface="bert")

    assert list(named_files(model, folder)) == ["bert/config.json", "bert/tokenizer/vocab.txt"]


def test_does_not_depend_on_where_the_recipe_lies(folder: Path, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "copy"
    folder.rename(elsewhere)
    moved = of(elsewhere)
    elsewhere.rename(folder)

    assert of(folder) == moved
