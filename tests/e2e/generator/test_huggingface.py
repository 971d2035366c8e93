"""Folders as Hugging Face saves them; apart, for its library takes long to come."""

from pathlib import Path

import pytest
import torch

from tests.e2e.generator import authored
from tests.e2e.generator.authored import Summed, refusal, verified_in_process

# PyTorch's exporter warns of itself.
pytestmark = [pytest.mark.build, pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore")]


def test_a_hugging_face_folder_takes_inputs_by_name(tmp_path: Path) -> None:
    authored.write_bert(tmp_path / "bert")

    _, verified = verified_in_process(authored.BERT, tmp_path)

    assert [tensor.name for tensor in verified.inputs] == ["attention_mask", "input_ids"]
    assert [tensor.shape for tensor in verified.outputs] == [(-1, 3)]


def test_a_folder_with_pickled_weights_only_is_refused(tmp_path: Path) -> None:
    authored.write_bert(tmp_path / "bert")
    (tmp_path / "bert/model.safetensors").unlink()
    torch.save(Summed().state_dict(), tmp_path / "bert/pytorch_model.bin")

    said = refusal(authored.BERT, tmp_path)

    assert "holds no .safetensors; a pytorch_model.bin is pickle, which could run anything" in said


def test_a_folder_that_holds_no_model_is_refused(tmp_path: Path) -> None:
    assert f"huggingface {tmp_path}/bert has no config.json" in refusal(authored.BERT, tmp_path)


def test_a_class_whose_weights_were_not_saved_is_refused(tmp_path: Path) -> None:
    authored.write_bert(tmp_path / "bert")
    entry = authored.BERT | {"args": {"class": "BertForMaskedLM"}}

    said = refusal(entry, tmp_path)

    assert "has no weights for cls.predictions." in said
    assert "BertForMaskedLM is not what was saved: write args: {class: ...}" in said


def test_an_input_that_the_class_does_not_take_is_refused(tmp_path: Path) -> None:
    authored.write_bert(tmp_path / "bert")
    ids = authored.BERT["inputs"][1] | {"name": "input_id"}

    said = refusal(authored.BERT | {"inputs": [ids]}, tmp_path)

    assert (
        "BertForSequenceClassification takes no input 'input_id'; did you mean 'input_ids'" in said
    )
