from pathlib import Path

import pytest

from contract.layout import ONNX_MODEL, Store
from generator.ensembles.models import fingerprint, read_models
from generator.errors import EnsembleRefused
from generator.recipe import EnsembleRecipe, Recipe
from tests.builders import publish
from tests.unit.generator.entries import raw

ENSEMBLE = EnsembleRecipe.model_validate(
    {
        "name": "pipeline",
        "inputs": ["X"],
        "outputs": ["Y"],
        "steps": [
            {"model": "first", "inputs": {"x": "X"}, "outputs": {"y": "between"}},
            {"model": "second", "inputs": {"x": "between"}, "outputs": {"y": "Y"}},
        ],
    }
)
RECIPE = Recipe.model_validate({"triton": "24.10", "target": "cpu", "models": [raw()]})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    publish(store, "first", 1)
    publish(store, "second", 1)
    return store


def test_the_newest_version_of_each_model_is_taken(store: Store) -> None:
    publish(store, "second", 3)

    models = read_models(ENSEMBLE, store)

    assert {name: manifest.version for name, manifest in models.items()} == {
        "first": 1,
        "second": 3,
    }


def test_a_model_that_is_nowhere_is_named(store: Store) -> None:
    elsewhere = ENSEMBLE.model_copy(
        update={"steps": (ENSEMBLE.steps[0].model_copy(update={"model": "gone"}),)}
    )

    with pytest.raises(EnsembleRefused, match="pipeline: gone has no version in"):
        read_models(elsewhere, store)


def test_a_model_that_onnx_runtime_cannot_run_is_refused(store: Store) -> None:
    (store.version("second", 1).path / ONNX_MODEL).rename(store.version("second", 1).path / "x")

    with pytest.raises(EnsembleRefused, match=r"second version 1 has no model\.onnx"):
        read_models(ENSEMBLE, store)


def test_whatever_changes_the_answers_makes_another_version(store: Store) -> None:
    models = read_models(ENSEMBLE, store)
    before = fingerprint(ENSEMBLE, RECIPE, models)
    rebuilt = models["second"].model_copy(update={"fingerprint": "another"})
    reordered = EnsembleRecipe.model_validate(
        ENSEMBLE.model_dump() | {"steps": tuple(reversed(ENSEMBLE.model_dump()["steps"]))}
    )

    assert fingerprint(ENSEMBLE, RECIPE, models) == before
    assert fingerprint(ENSEMBLE.model_copy(update={"version": 4}), RECIPE, models) == before
    assert fingerprint(ENSEMBLE, RECIPE, {**models, "second": rebuilt}) != before
    assert fingerprint(reordered, RECIPE, models) != before
