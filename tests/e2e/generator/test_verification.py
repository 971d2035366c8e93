"""What is verified before a version is published, proven on request, and asked again later."""

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import yaml
from typer.testing import CliRunner

from contract.layout import Store, VersionFolder
from contract.manifest import read_manifest
from contract.samples import GoldenSample, read_golden, write_golden
from embedded.provision import Installation
from embedded.triton import TritonServer
from generator.build import build
from generator.errors import NotProven
from generator.events import BuildReport, Unchanged
from generator.proving import prove
from generator.releases import release
from pilotlight.cli import app
from pilotlight.runtimes import provide_onnxruntime
from tests.e2e.tiny import Workshop, entry
from tests.fixtures.embedded import StartTriton, running_triton
from tests.unit.generator import entries
from tests.unit.generator.checks.graphs import scaling, write_version

pytestmark = [pytest.mark.build, pytest.mark.timeout(600)]

_HOMES = Path(__file__).parents[3] / ".pilotlight/onnxruntime"
WITH_CLASSES = {"outputs": [{"name": "score", "top_k": 1}]}
ADOPTED = {
    "name": "newer",
    "onnx": "newer.onnx",
    "inputs": [{"name": "x", "dtype": "FP32", "shape": [3]}],
    "outputs": ["y"],
    "max_batch_size": 4,
}


@pytest.fixture(scope="session")
def packages() -> Path:
    """The ONNX Runtime of Triton 24.10; installed on the first run ever, in three seconds."""
    return provide_onnxruntime("1.19.2", _HOMES / "1.19.2", print)


@dataclass(frozen=True)
class Built:
    workshop: Workshop
    report: BuildReport
    folder: Path

    def again(self, packages: Path) -> BuildReport:
        recipe, root = self.workshop.folder / "models.yaml", self.workshop.store.root
        return build(recipe, root, jobs=1, report=lambda _: None, packages=packages)

    def refusal(self, model: str) -> str:
        (reason,) = (each.reason for each in self.report.failed if each.model == model)
        return reason


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, packages: Path) -> Built:
    """A proven model, one that was never proven, and two that were refused; not to be changed."""
    folder = tmp_path_factory.mktemp("verified")
    workshop = Workshop.at(folder)
    (workshop.folder / "newer.onnx").write_bytes(scaling(2, opset=22).SerializeToString())
    proven = [entry(**WITH_CLASSES), entry("different_when_exported"), ADOPTED]
    recipe = workshop.folder / "models.yaml"
    recipe.write_text(yaml.safe_dump({"triton": "24.10", "target": "cpu", "models": proven}))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        report = build(
            recipe, workshop.store.root, jobs=2, report=lambda _: None, packages=packages
        )
    return Built(workshop, report, folder)


def test_the_evidence_is_in_the_manifest(built: Built) -> None:
    manifest = read_manifest(built.workshop.version(1).manifest)

    assert manifest.verification is not None
    assert manifest.verification.reference == "float64"
    assert manifest.verification.cases == 12
    evidence = manifest.verification.outputs["score"]
    assert evidence.scaled_error <= evidence.limit == manifest.tolerances["score"]
    assert evidence.same_top == 1.0


def test_a_proof_is_made_in_the_releases_own_onnx_runtime(built: Built) -> None:
    manifest = read_manifest(built.workshop.version(1).manifest)

    assert manifest.proof is not None
    assert manifest.proof.onnxruntime == "1.19.2"
    assert manifest.proof.samples == len(read_golden(built.workshop.version(1).golden))
    assert manifest.proof.outputs["score"].same_top == 1.0


def test_the_input_of_a_wrong_answer_is_kept(built: Built) -> None:
    kept = built.folder / ".pilotlight/failures/different-when-exported.npz"

    reason = built.refusal("different-when-exported")
    said = "the ONNX model answers otherwise than PyTorch in 12 of 12 cases, farthest at ids ["
    assert said in reason
    assert f"that input and the expected answer are in {kept}" in reason
    (case,) = read_golden(kept)
    assert case.inputs["ids"].dtype == np.int64
    assert case.outputs["score"].shape == (len(case.inputs["ids"]), 2)


def test_an_adopted_file_that_the_release_does_not_read_is_refused(built: Built) -> None:
    assert "opset 22 and IR 10 are beyond Triton 24.10" in built.refusal("newer")


def test_onnx_runtime_says_the_same_of_that_file(packages: Path, tmp_path: Path) -> None:
    files = VersionFolder(write_version(tmp_path / "1", scaling(2, opset=22)))
    model = entries.entry(outputs=["y"])
    limits = {"y": 1e-5}

    with pytest.raises(NotProven) as caught:
        prove(model, files, release("24.10"), packages, tolerances=limits, scratch=tmp_path)

    said = str(caught.value)
    assert said.startswith("not proven in ONNX Runtime 1.19.2 of Triton 24.10: ONNX Runtime does")
    assert "Current official support for domain ai.onnx is till opset 21" in said


def test_what_was_published_without_a_proof_is_proven_when_asked(
    built: Built, packages: Path, tmp_path: Path
) -> None:
    stocked = _copy(built, tmp_path)
    files = stocked.workshop.version(1)

    assert Unchanged("tiny", 1) in stocked.again(packages).unchanged

    _forget_the_proof(stocked)
    write_golden(files.golden, [_off(sample) for sample in read_golden(files.golden)])
    (reason,) = (each.reason for each in stocked.again(packages).failed if each.model == "tiny")
    assert "not proven in ONNX Runtime 1.19.2 of Triton 24.10" in reason
    assert "answers otherwise than its golden samples" in reason


def test_the_command_proves_in_the_release_that_the_recipe_names(
    built: Built, packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stocked = _copy(built, tmp_path)
    shutil.rmtree(tmp_path / ".pilotlight")
    (tmp_path / ".pilotlight").mkdir()
    (tmp_path / ".pilotlight/onnxruntime").symlink_to(packages.parents[1])
    golden = stocked.workshop.version(1).golden
    write_golden(golden, [_off(sample) for sample in read_golden(golden)])
    _forget_the_proof(stocked)
    monkeypatch.chdir(tmp_path)

    ended = CliRunner().invoke(app, ["build", "recipe/models.yaml", "--store", "store", "--prove"])

    assert ended.exit_code == 1
    assert "not proven in ONNX Runtime 1.19.2 of Triton 24.10" in " ".join(ended.output.split())


def test_a_build_for_a_release_that_nobody_knows_yet_says_so(tmp_path: Path) -> None:
    recipe = tmp_path / "models.yaml"
    refused = entry(batching={"preferred": [99]})
    recipe.write_text(yaml.safe_dump({"triton": "27.01", "target": "cpu", "models": [refused]}))

    report = build(recipe, tmp_path / "store", jobs=1, report=lambda _: None)

    (warning,) = report.warnings
    assert warning.startswith("27.01 is newer than the newest release known here (")


def _forget_the_proof(stocked: Built) -> None:
    path = stocked.workshop.version(1).manifest
    path.write_text(read_manifest(path).model_copy(update={"proof": None}).model_dump_json())


def _copy(built: Built, root: Path) -> Built:
    shutil.copytree(built.folder, root, symlinks=True, dirs_exist_ok=True)
    workshop = Workshop(root / "recipe", Store(root / "store"))
    recipe = workshop.folder / "models.yaml"
    models = [entry(**WITH_CLASSES)]
    recipe.write_text(yaml.safe_dump({"triton": "24.10", "target": "cpu", "models": models}))
    return replace(built, workshop=workshop, folder=root)


def _off(sample: GoldenSample) -> GoldenSample:
    wrong = {name: array * np.float32(1.01) for name, array in sample.outputs.items()}
    return GoldenSample(sample.inputs, wrong)


@pytest.fixture(scope="module")
def server(
    built: Built, installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """Serves `tiny` of the store and knows `asleep`, which is not loaded."""
    root = tmp_path_factory.mktemp("server")
    shutil.copytree(built.workshop.store.root / "tiny", root / "store/tiny", symlinks=True)
    (root / "store/asleep/1").mkdir(parents=True)
    with running_triton(installation, root / "store", root / "log") as running:
        with tritonclient.grpc.InferenceServerClient(running.grpc_address) as client:
            client.load_model("tiny")
        yield running


@pytest.fixture
def store(built: Built, tmp_path: Path) -> Store:
    """Beside `tiny` one that is off by a percent, one that is not loaded, one nobody knows."""
    store = Store(tmp_path / "store")
    for model in ("tiny", "asleep", "stranger"):
        shutil.copytree(built.workshop.store.root / "tiny", store.model(model), symlinks=True)
        files = store.version(model, 1)
        manifest = read_manifest(files.manifest).model_copy(update={"model": model})
        files.manifest.write_text(manifest.model_dump_json())
    return store


def verify(store: Store, address: str, *arguments: str) -> tuple[int, Mapping[str, Any]]:
    command = ["verify", "--server", address, "--store", str(store.root), "--json", *arguments]
    ended = CliRunner().invoke(app, command)
    return ended.exit_code, json.loads(ended.stdout or ended.stderr)


@pytest.mark.triton
def test_a_live_server_answers_the_golden_samples(server: TritonServer, store: Store) -> None:
    code, told = verify(store, server.grpc_address, "tiny")

    assert code == 0
    (model,) = told["models"]
    assert (model["model"], model["version"], model["verdict"]) == ("tiny", 1, "passed")
    assert model["samples"] == len(read_golden(store.version("tiny", 1).golden))
    (output,) = model["outputs"]
    assert 0 <= output["scaled_error"] <= output["limit"]


@pytest.mark.triton
def test_a_server_that_answers_otherwise_fails_the_command(
    server: TritonServer, store: Store
) -> None:
    golden = store.version("tiny", 1).golden
    write_golden(golden, [_off(sample) for sample in read_golden(golden)])

    code, told = verify(store, server.grpc_address)

    assert code == 1
    output = told["models"][2]["outputs"][0]
    assert output["scaled_error"] == pytest.approx(0.01, rel=0.05)
    assert output["reason"].startswith("output score: scaled error 9.9")


@pytest.mark.triton
def test_models_that_cannot_be_asked_are_told_apart(server: TritonServer, store: Store) -> None:
    code, told = verify(store, server.grpc_address)

    assert code == 0, "a server need not serve all that a store has"
    assert {each["model"]: each["verdict"] for each in told["models"]} == {
        "asleep": "not loaded",
        "stranger": "unknown",
        "tiny": "passed",
    }


@pytest.mark.triton
def test_a_server_that_keeps_its_index_to_itself_is_taken_as_it_answers(
    start_triton: StartTriton, store: Store
) -> None:
    locked = start_triton(store.root, admin_key="secret")

    _, told = verify(store, locked.grpc_address, "tiny")

    (model,) = told["models"]
    assert (model["verdict"], model["note"]) == (
        "not loaded",
        "Request for unknown model: 'tiny' is not found",
    )


@pytest.mark.triton
@pytest.mark.parametrize("model", ["asleep", "stranger"])
def test_a_model_that_was_named_must_be_there(
    server: TritonServer, store: Store, model: str
) -> None:
    code, _ = verify(store, server.grpc_address, "tiny", model)

    assert code == 1
