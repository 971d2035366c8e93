"""A build that finds nothing changed."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from contract.layout import Store
from contract.manifest import read_manifest
from generator.build import build
from generator.ensembles.models import fingerprint as ensemble_fingerprint
from generator.ensembles.models import read_models
from generator.events import Stage
from generator.fingerprint import fingerprint, hash_named
from generator.hashes import Hashes
from generator.recipe import Recipe
from tests.builders import publish
from tests.unit.generator.entries import raw

NAMES = ("first", "second")
CHAIN = {
    "name": "both",
    "inputs": ["X"],
    "outputs": ["Y"],
    "steps": [
        {"model": "first", "inputs": {"x": "X"}, "outputs": {"y": "between"}},
        {"model": "second", "inputs": {"x": "between"}, "outputs": {"y": "Y"}},
    ],
}
ONLY_FOR_CHANGES = {
    *("torch", "onnx", "onnxruntime", "numpy", "grpc", "tritonclient", "jinja2"),
    "concurrent.futures",
    *("generator.changed", "generator.pipeline", "generator.worker", "generator.lint"),
}
BUILD = """
import sys
from pathlib import Path
from generator.build import build

report = build(Path(sys.argv[1]), Path(sys.argv[2]), jobs=None, report=lambda event: None)
print(*(each.model for each in report.unchanged), *report.built, *report.failed)
print(*sys.modules)
"""


@pytest.fixture
def built(tmp_path: Path) -> tuple[Path, Store]:
    """A recipe and the store that a build of it has left."""
    said = {
        "triton": "24.10",
        "target": "cpu",
        "models": [raw(name=name) for name in NAMES],
        "ensembles": [CHAIN],
    }
    recipe, store = Recipe.model_validate(said), Store(tmp_path / "store")
    (tmp_path / "models.yaml").write_text(yaml.safe_dump(said))
    (tmp_path / "ranker.py").touch()
    hashes = Hashes(tmp_path / "hashes.json")
    sources = {"ranker.py": hashes.of(tmp_path / "ranker.py")}
    for model in recipe.models:
        files = sources | hash_named(model, tmp_path, hashes)
        leave(
            store,
            model.name,
            {"sources": sources, "fingerprint": fingerprint(model, recipe, files)},
        )
    (ensemble,) = recipe.ensembles
    wanted = ensemble_fingerprint(ensemble, recipe, read_models(ensemble, store))
    leave(store, ensemble.name, {"fingerprint": wanted})
    return tmp_path / "models.yaml", store


def leave(store: Store, name: str, found: Mapping[str, Any]) -> None:
    publish(store, name, 1)
    manifest = store.version(name, 1).manifest
    manifest.write_text(read_manifest(manifest).model_copy(update=found).model_dump_json())


def test_a_build_without_changes_imports_nothing_that_only_changes_need(
    built: tuple[Path, Store], tmp_path: Path
) -> None:
    recipe, store = built

    done = subprocess.run(
        [sys.executable, "-c", BUILD, recipe, store.root],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )

    outcomes, modules = done.stdout.splitlines()
    assert outcomes.split() == ["first", "second", "both"]
    assert ONLY_FOR_CHANGES & set(modules.split()) == set()


@pytest.mark.parametrize(
    ("said", "lacking"),
    [
        ({"depends": ["scale.json"]}, "scaled names scale.json, which is not in {folder}; put it"),
        ({"weights": "scaled.pt"}, "scaled names scaled.pt, which is not in {folder}; put it"),
        ({"source": "gone:create"}, "source gone:create: there is no gone.py in {folder}"),
    ],
)
def test_what_is_not_there_is_told_before_pytorch_is_imported(
    tmp_path: Path, said: dict[str, Any], lacking: str
) -> None:
    recipe = tmp_path / "models.yaml"
    models = [raw(name="scaled", **said)]
    recipe.write_text(yaml.safe_dump({"triton": "24.10", "target": "cpu", "models": models}))
    stages = list[Stage]()

    (failed,) = build(
        recipe, tmp_path / "store", jobs=1, report=lambda event: stages.append(event.stage)
    ).failed

    assert failed.reason.startswith(lacking.format(folder=tmp_path))
    assert stages == [Stage.FAILED]


def test_a_version_that_the_disk_does_not_let_be_read_is_not_built_again(
    built: tuple[Path, Store], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipe, store = built
    manifest = store.version("first", 1).manifest
    manifest.unlink()
    # It is there, and the system answers EIO to who reads it.
    manifest.symlink_to("/proc/self/mem")

    report = build(recipe, store.root, jobs=1, report=lambda _: None)

    (reason, _) = (each.reason for each in report.failed)
    assert "the disk, its mount, the file's permissions" in reason
    assert [each.model for each in report.unchanged] == ["second"]
    assert store.versions("first") == (1,)
