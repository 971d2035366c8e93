"""Three models and the ensemble that they make, built and served for real."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tritonclient.grpc
import yaml

from contract.compare import compare
from contract.config import parse_config
from contract.layout import Store, VersionFolder
from contract.manifest import damaged_files, read_manifest
from contract.samples import read_golden
from embedded.triton import TritonServer
from generator.build import build
from generator.events import BuildReport, Unchanged
from generator.recipe import EnsembleRecipe, load_recipe
from generator.scaffold.begin import begin
from tests.e2e.generator.chained import ENSEMBLE, MODELS, write_sources

pytestmark = [pytest.mark.build, pytest.mark.timeout(600)]

NAME = ENSEMBLE["name"]


def build_all(folder: Path, store: Store, **top: Any) -> BuildReport:
    recipe = folder / "models.yaml"
    whole = {"triton": "24.10", "target": "cpu", "models": MODELS, "ensembles": [ENSEMBLE]} | top
    recipe.write_text(yaml.safe_dump(whole))
    return build(recipe, store.root, jobs=1, report=lambda event: None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a recipe that was built into `store` below it; not to be changed."""
    folder = tmp_path_factory.mktemp("ensembles")
    write_sources(folder)
    report = build_all(folder, Store(folder / "store"))
    assert not report.failed
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return Store(folder / "store")


@pytest.fixture(scope="module")
def files(store: Store) -> VersionFolder:
    return store.version(NAME, 1)


def test_an_ensemble_is_a_version_without_a_model_file(files: VersionFolder) -> None:
    manifest = read_manifest(files.manifest)

    assert damaged_files(manifest, files.path) == []
    assert set(manifest.files) == {"config.pbtxt", "golden.npz"}
    assert manifest.composing == {"bucket": 1, "score": 1, "share": 1}
    assert manifest.signature.max_batch_size == 4
    assert (manifest.cost.private_bytes, manifest.cost.load_s) == (0, 0.0)
    assert manifest.tolerances.keys() == {"SHARES"}


def test_its_golden_samples_are_the_answers_of_the_chain(
    store: Store, files: VersionFolder
) -> None:
    asked = {
        sample.inputs["features"].shape: sample.inputs["features"]
        for sample in read_golden(store.version("bucket", 1).golden)
    }
    for sample in read_golden(files.golden):
        features = sample.inputs["FEATURES"]
        assert (features == asked[features.shape]).all()
        assert sample.outputs["SHARES"].shape == (len(features), 2)
        assert sample.outputs["SHARES"].sum(1) == pytest.approx(1)


def test_nothing_changed_is_nothing_done(folder: Path, store: Store) -> None:
    report = build_all(folder, store)

    assert Unchanged(NAME, 1) in report.unchanged
    assert not report.built


def test_steps_that_do_not_fit_fail_alone(folder: Path, store: Store) -> None:
    ids_are_no_scores = [
        {"model": "bucket", "inputs": {"features": "X"}, "outputs": {"ids": "ids"}},
        {"model": "share", "inputs": {"scores": "ids"}, "outputs": {"shares": "Y"}},
    ]
    wrong = {"name": "wrong", "inputs": ["X"], "outputs": ["Y"], "steps": ids_are_no_scores}

    report = build_all(folder, store, ensembles=[wrong, ENSEMBLE])

    (failure,) = report.failed
    assert failure.model == "wrong"
    assert "tensor 'ids' is INT64[-1, -1] for output ids of steps.0 (bucket)" in failure.reason
    assert not store.model("wrong").exists()
    assert Unchanged(NAME, 1) in report.unchanged


@pytest.mark.triton
def test_a_real_triton_loads_it_with_its_models_and_answers_alike(
    store: Store, files: VersionFolder, start_triton: Callable[..., TritonServer]
) -> None:
    server = start_triton(store.root)
    limits = read_manifest(files.manifest).tolerances

    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as client:
        client.load_model(NAME)
        assert all(client.is_model_ready(model) for model in (NAME, "bucket", "score", "share"))
        for sample in read_golden(files.golden):
            features = sample.inputs["FEATURES"]
            given = tritonclient.grpc.InferInput("FEATURES", features.shape, "FP32")
            given.set_data_from_numpy(features)
            shares = client.infer(NAME, [given]).as_numpy("SHARES")
            (difference,) = compare({"SHARES": shares}, sample.outputs, limits)
            assert difference.reason is None


def test_a_recipe_begun_from_the_repository_builds_what_is_there_again(
    folder: Path, store: Store, tmp_path: Path
) -> None:
    recipe = folder / "again.yaml"
    recipe.write_text(begin(store.root, recipe_folder=folder, triton="24.10"))
    again = Store(tmp_path / "store")
    whole = load_recipe(recipe)
    # One stands for all: each costs seconds.
    only = yaml.safe_load(recipe.read_text())
    only["models"] = [model for model in only["models"] if model["name"] == "score"]
    recipe.write_text(yaml.safe_dump(only | {"ensembles": []}))

    report = build(recipe, again.root, jobs=1, report=lambda event: None)

    assert not report.failed
    before, after = (_meaning(where.version("score", 1)) for where in (store, again))
    assert before == after
    assert [model.name for model in whole.models] == ["bucket", "score", "share"]
    assert whole.ensembles == (EnsembleRecipe.model_validate(ENSEMBLE),)


def _meaning(files: VersionFolder) -> object:
    """Of a config, but for its warm-up counts, which are measured."""
    config = parse_config(files.config.read_text(), str(files.config))
    for sample in config.model_warmup:
        sample.count = 1
    return config
