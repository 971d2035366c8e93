"""Folders of Hugging Face as the beginning of a recipe; no weights are needed for it."""

import json
from pathlib import Path
from typing import Any

import pytest

from generator.errors import NothingFound
from generator.recipe import Recipe, load_recipe
from generator.scaffold.begin import begin
from generator.scaffold.text import left_out

BERT = {
    "architectures": ["BertForSequenceClassification"],
    "vocab_size": 30522,
    "max_position_embeddings": 128,
}
VIT = {"architectures": ["ViTForImageClassification"], "image_size": 224, "num_channels": 3}


def put(root: Path, name: str, config: dict[str, Any], weights: str = "model.safetensors") -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / weights).touch()
    return folder


def text_of(what: Path) -> str:
    return begin(what, recipe_folder=what.parent, triton="25.08")


def begun(what: Path) -> Recipe:
    path = what.parent / "models.yaml"
    path.write_text(text_of(what))
    return load_recipe(path)


def test_a_text_model_takes_ids_of_its_vocabulary_up_to_its_longest_text(tmp_path: Path) -> None:
    (model,) = begun(put(tmp_path, "sentiment", BERT)).models

    ids, mask = model.inputs
    assert (model.name, model.huggingface) == ("sentiment", "sentiment")
    assert (ids.name, ids.shape, ids.range) == ("input_ids", ("seq",), (0, 30522))
    assert (mask.name, mask.fill) == ("attention_mask", "mask")
    assert model.dims["seq"].max == 128
    assert [output.name for output in model.outputs] == ["logits"]


def test_of_many_folders_each_is_an_entry_and_what_is_not_known_is_told(tmp_path: Path) -> None:
    put(tmp_path / "all", "sentiment", BERT)
    put(tmp_path / "all", "pictures", VIT)
    put(tmp_path / "all", "speech", {"architectures": ["WhisperForConditionalGeneration"]})
    put(tmp_path / "all", "old", BERT, "pytorch_model.bin")
    put(tmp_path / "all", "part", {})

    models = {model.name: model for model in begun(tmp_path / "all").models}

    assert models.keys() == {"sentiment", "pictures"}
    assert models["pictures"].inputs[0].shape == (3, 224, 224)
    assert models["pictures"].huggingface == "all/pictures"
    assert left_out(text_of(tmp_path / "all")) == [
        "old: no .safetensors; model.save_pretrained(folder) writes them",
        "part: its config.json names no class",
        "speech: what WhisperForConditionalGeneration takes and gives is not known here",
    ]


def test_a_class_that_is_not_known_leaves_nothing_to_begin_with(tmp_path: Path) -> None:
    folder = put(tmp_path, "t5", {**BERT, "is_encoder_decoder": True})

    with pytest.raises(NothingFound, match="t5: what BertForSequenceClassification takes and"):
        text_of(folder)
