"""One tiny model from each source, with every kind of signature."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file

from contract.config import parse_config
from contract.layout import ONNX_DATA, ONNX_MODEL
from contract.manifest import read_manifest, sha256_of
from contract.samples import read_golden
from contract.warmup import warmup_requests
from generator.errors import StageRefused
from generator.exporters import program
from generator.exporters.weights import load_weights
from generator.recipe import ModelRecipe
from generator.samples.golden import select
from tests.e2e.generator import authored
from tests.e2e.generator.authored import verified_in_process
from tests.e2e.tiny import Workshop

# PyTorch's exporter warns of itself.
pytestmark = [pytest.mark.build, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """A store with what config and warm-up have to do with; not to be changed."""
    workshop = Workshop.at(tmp_path_factory.mktemp("sources"))
    (workshop.folder / "models.py").write_text(authored.MODULES)
    (workshop.folder / "classes.txt").write_text("left\nmiddle\nright\n")
    authored.write_blended_weights(workshop.folder)
    authored.write_words(workshop.folder / "words.onnx")
    report = workshop.build(authored.BLENDED, authored.WORDS)
    assert not report.failed
    return workshop


def signature(built: Workshop, model: str) -> list[str]:
    found = read_manifest(built.version(1, model).manifest).signature
    return [str(spec) for spec in (*found.inputs, *found.outputs)]


def warmed(built: Workshop, model: str) -> list[dict[str, np.ndarray[Any, Any]]]:
    files = built.version(1, model)
    return warmup_requests(parse_config(files.config.read_text(), model), files.warmup)


def test_a_dict_gives_its_outputs_by_name_in_the_order_of_the_recipe(built: Workshop) -> None:
    assert signature(built, "blended") == [
        "ids INT64[-1]",
        "mask BOOL[-1]",
        "features FP16[4]",
        "price FP32[1]",
        "logits FP32[3]",
        "visible INT64[1]",
    ]


def test_weights_come_from_the_file_that_the_recipe_names(built: Workshop) -> None:
    module = authored.blended_module()
    module.load_state_dict(load_file(built.folder / authored.BLENDED["weights"]))

    for sample in read_golden(built.version(1, "blended").golden):
        inputs = {name: torch.from_numpy(array) for name, array in sample.inputs.items()}
        with torch.no_grad():
            logits = module(**inputs)["logits"]
        assert sample.outputs["logits"] == pytest.approx(logits.numpy(), rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors"])
def test_weights_are_taken_from_either_kind_of_file(tmp_path: Path, name: str) -> None:
    trained, module = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    save = save_file if name.endswith("safetensors") else torch.save
    save(trained.state_dict(), tmp_path / name)

    load_weights(module, tmp_path / name)

    assert torch.equal(module.weight, trained.weight)


def test_every_shape_is_a_multiple_of_what_the_recipe_says(built: Workshop) -> None:
    asked = [sample.inputs for sample in read_golden(built.version(1, "blended").golden)]

    assert {request["ids"].shape[1] for request in asked + warmed(built, "blended")} == {
        8,
        16,
        24,
        32,
    }


def test_floats_come_from_their_range(built: Workshop) -> None:
    asked = [sample.inputs for sample in read_golden(built.version(1, "blended").golden)]

    for request in asked + warmed(built, "blended"):
        assert (request["price"] >= 1).all()
        assert (request["price"] < 100).all()


def test_a_label_for_each_class_travels_with_the_version(built: Workshop) -> None:
    files = built.version(1, "blended")
    (output,) = (
        output
        for output in parse_config(files.config.read_text(), "blended").output
        if output.label_filename
    )

    assert output.name == "logits"
    assert (files.path / output.label_filename).read_text().split() == ["left", "middle", "right"]


def test_texts_go_through_golden_samples_and_warm_up(built: Workshop) -> None:
    known = {text.encode() for text in ("cat", "dog", "é")}
    asked = [sample.inputs for sample in read_golden(built.version(1, "words").golden)]

    for request in asked + warmed(built, "words"):
        assert set(request["word"].ravel().tolist()) <= known
    assert signature(built, "words") == ["word BYTES[2]", "vector FP32[2, 4]", "known BOOL[2]"]


def test_an_adopted_file_says_what_it_was_held_against(built: Workshop) -> None:
    verification = read_manifest(built.version(1, "words").manifest).verification

    assert verification is not None
    assert verification.reference == "itself"


def test_a_program_is_built_without_its_source(tmp_path: Path) -> None:
    authored.write_program(tmp_path / "program.pt2")

    report, verified = verified_in_process(authored.PROGRAM, tmp_path)

    assert report.reference == "float64"
    assert [str(tensor.shape) for tensor in verified.inputs] == ["(-1, -1)"]


def test_a_program_without_bounds_serves_any_recipe(tmp_path: Path) -> None:
    authored.write_program(tmp_path / "program.pt2", bounded=False)

    module = program.load(ModelRecipe.model_validate(authored.PROGRAM), "program.pt2", tmp_path)

    assert module(torch.zeros(1, 1, dtype=torch.int64)).shape == (1, 2)


def test_a_programs_half_is_taken_like_a_modules(tmp_path: Path) -> None:
    authored.write_program(tmp_path / "program.pt2")

    _, verified = verified_in_process(authored.PROGRAM | {"format": "onnx-fp16"}, tmp_path)

    assert [str(tensor.datatype) for tensor in verified.outputs] == ["FP32"]


def test_control_inputs_are_inputs_of_forward(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(authored.MODULES)

    _, verified = verified_in_process(authored.COUNTING, tmp_path)

    assert [(tensor.name, str(tensor.datatype)) for tensor in verified.inputs] == [
        ("value", "FP32"),
        ("start", "BOOL"),
        ("corrid", "INT64"),
    ]


def test_an_optional_input_may_be_left_out(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(authored.MODULES)

    verified_in_process(authored.OPTIONAL, tmp_path)

    samples = select(read_golden(tmp_path / "exported/cases.npz"))
    assert {"bias" in sample.inputs for sample in samples} == {True, False}


@pytest.fixture
def ranker(tmp_path: Path) -> Path:
    authored.write_ranker(tmp_path / "there/ranker.onnx")
    authored.write_ranker_golden(tmp_path / "golden.npz")
    return tmp_path


def test_an_adopted_file_keeps_its_weights_apart(ranker: Path) -> None:
    report, verified = verified_in_process(authored.RANKER, ranker)

    assert report.reference == "golden"
    assert report.facts.table_rows == {"ids": 300}
    assert report.sources == {"there/weights.bin": sha256_of(ranker / "there/weights.bin")}
    assert verified.cases == 1
    assert (ranker / "exported" / ONNX_DATA).stat().st_size == authored.RANKER_TABLE.nbytes
    proto = onnx.load(ranker / "exported" / ONNX_MODEL, load_external_data=False)
    assert onnx.load(ranker / "there/ranker.onnx", load_external_data=False).graph.node == (
        proto.graph.node
    )


def test_without_golden_data_ids_come_from_the_whole_table(ranker: Path) -> None:
    entry = {key: value for key, value in authored.RANKER.items() if key != "golden"}

    report, _ = verified_in_process(entry, ranker)

    assert report.reference == "itself"
    asked = [sample.inputs["ids"] for sample in read_golden(ranker / "exported/cases.npz")]
    assert {min(ids.min() for ids in asked), max(ids.max() for ids in asked)} == {0, 299}


def test_golden_data_that_the_file_does_not_answer_are_refused(ranker: Path) -> None:
    ids = np.array([[1, 2]])
    np.savez(ranker / "golden.npz", **{"input/ids": ids, "output/score": np.array([9], np.float32)})

    with pytest.raises(StageRefused, match="its golden data"):
        verified_in_process(authored.RANKER, ranker)


def test_real_samples_take_the_place_of_drawn_ones(ranker: Path) -> None:
    np.savez(ranker / "real.npz", ids=np.array([[7, 8], [9, 10]]))
    entry = {key: value for key, value in authored.RANKER.items() if key != "golden"}

    verified_in_process(entry | {"samples": "real.npz"}, ranker)

    asked = [sample.inputs["ids"] for sample in read_golden(ranker / "exported/cases.npz")]
    assert [ids.tolist() for ids in asked[:3]] == [
        [[7, 8]],
        [[7, 8], [9, 10]],
        [[7, 8], [9, 10], [7, 8]],
    ]


def test_a_release_that_does_not_read_the_file_is_named(ranker: Path) -> None:
    shutil.rmtree(ranker / "there")
    authored.write_ranker(ranker / "there/ranker.onnx", opset=22)

    with pytest.raises(StageRefused, match="are beyond Triton"):
        verified_in_process(authored.RANKER, ranker)
