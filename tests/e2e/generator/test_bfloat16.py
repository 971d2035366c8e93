"""A checkpoint as most are saved now: in bfloat16, and loaded as that by `transformers`."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from contract.dtypes import Datatype
from contract.layout import ONNX_MODEL
from tests.e2e.generator import authored
from tests.e2e.generator.authored import verified_in_process

# PyTorch's exporter warns of itself.
pytestmark = [pytest.mark.build, pytest.mark.timeout(240), pytest.mark.filterwarnings("ignore")]


def test_it_is_built_in_float32_with_its_very_weights_and_told(tmp_path: Path) -> None:
    from transformers import BertForSequenceClassification  # noqa: PLC0415  (slow)

    authored.write_bert(tmp_path / "bert")
    whole = BertForSequenceClassification.from_pretrained(tmp_path / "bert")
    whole.to(torch.bfloat16).save_pretrained(tmp_path / "bert")
    saved = load_file(tmp_path / "bert/model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.bfloat16}

    report, verified = verified_in_process(authored.BERT, tmp_path)

    weights = onnx.load(tmp_path / "exported" / ONNX_MODEL).graph.initializer
    words = saved["bert.embeddings.word_embeddings.weight"].float().numpy()
    assert any(np.array_equal(onnx.numpy_helper.to_array(each), words) for each in weights)
    assert onnx.TensorProto.BFLOAT16 not in {each.data_type for each in weights}
    assert [tensor.datatype for tensor in verified.outputs] == [Datatype.FP32]
    assert report.tolerances == {"logits": 1e-5}
    (note,) = report.notes
    assert note.startswith("its bfloat16 became float32, which holds every weight exactly")
