from pathlib import Path

import pytest
import yaml

from contract.layout import Store
from contract.manifest import read_manifest
from generator.watched import watched_files
from tests.builders import publish
from tests.unit.generator.entries import raw


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sources in a folder and in one below, and files that no model has to do with."""
    for name in ("ranker.py", "layers/table.py", "layers/other.py", "tests/unrelated.py", "a.txt"):
        (tmp_path / "recipe" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "recipe" / name).touch()
    return tmp_path / "recipe"


def recipe(folder: Path, **changes: object) -> Path:
    path = folder / "models.yaml"
    said = {"triton": "24.10", "target": "cpu", "models": [raw(**changes)]}
    path.write_text(yaml.safe_dump(said))
    return path


def names(found: set[Path], folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in found}


def test_before_the_first_build_python_files_beside_the_recipe_count(folder: Path) -> None:
    found = watched_files(recipe(folder, weights="gone.pt"), folder / "store")

    assert names(found, folder) == {"models.yaml", "ranker.py", "gone.pt"}


def test_what_a_version_was_built_from_counts_and_its_neighbours(folder: Path) -> None:
    store = Store(folder.parent / "store")
    publish(store, "ranker", 1)
    manifest = store.version("ranker", 1).manifest
    sources = {"layers/table.py": "some hash"}
    manifest.write_text(
        read_manifest(manifest).model_copy(update={"sources": sources}).model_dump_json()
    )

    found = watched_files(recipe(folder), store.root)

    assert names(found, folder) == {
        *("models.yaml", "ranker.py", "layers/table.py", "layers/other.py")
    }


def test_of_a_broken_recipe_the_recipe_counts(folder: Path) -> None:
    path = recipe(folder, max_batch_size="many")

    assert watched_files(path, folder / "store") == {path}
