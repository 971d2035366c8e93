"""Models as their authors leave them: modules, weights, programs, ONNX files, folders."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from generator.checks.verify import verify
from generator.errors import StageRefused
from generator.exporters.adopt import adopt
from generator.exporters.onnx import export
from generator.recipe import ModelRecipe
from generator.reports import VerifyJob, VerifyReport
from generator.reports.export import ExportJob, ExportReport

MODULES = """
import torch
from torch import nn


class Blended(nn.Module):
    '''Ids, a mask, half-precision features and a price to two named outputs.'''

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(20, 4)
        self.out = nn.Linear(4, 3)

    def forward(self, ids, mask, features, price):
        weights = mask.float()[:, :, None]
        summed = (self.table(ids) * weights).sum(1)
        logits = self.out(summed + features.float()) * torch.log(price)
        return {"unused": summed, "logits": logits, "visible": mask.sum(1, keepdim=True)}


class Shifted(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(3, 2)

    def forward(self, features, bias):
        return self.out(features) + bias


class Counting(nn.Module):
    '''A sequence model: it is told which requests begin a sequence.'''

    def forward(self, value, start, corrid):
        return torch.where(start, 0, value) + corrid.float()


def blended():
    return Blended().eval()


def shifted():
    return Shifted().eval()


def counting():
    return Counting().eval()
"""

BLENDED: dict[str, Any] = {
    "name": "blended",
    "source": "models:blended",
    "weights": "blended.safetensors",
    "inputs": [
        {"name": "ids", "dtype": "INT64", "shape": ["seq"], "range": [0, 20]},
        {"name": "mask", "dtype": "BOOL", "shape": ["seq"], "fill": "mask"},
        {"name": "features", "dtype": "FP16", "shape": [4]},
        {"name": "price", "dtype": "FP32", "shape": [1], "range": [1, 100]},
    ],
    "dims": {"seq": {"min": 8, "opt": 16, "max": 32, "multiple_of": 8}},
    "outputs": [{"name": "logits", "labels": "classes.txt"}, "visible"],
    "max_batch_size": 4,
}
PROGRAM: dict[str, Any] = {
    "name": "program",
    "program": "program.pt2",
    "inputs": [{"name": "ids", "dtype": "INT64", "shape": ["seq"], "range": [0, 10]}],
    "dims": {"seq": {"min": 1, "opt": 4, "max": 9}},
    "outputs": ["score"],
    "max_batch_size": 4,
}
OPTIONAL: dict[str, Any] = {
    "name": "optional",
    "source": "models:shifted",
    "inputs": [
        {"name": "features", "dtype": "FP32", "shape": ["rows", 3]},
        {"name": "bias", "dtype": "FP32", "shape": ["rows", 2], "optional": True, "default": 0.5},
    ],
    "dims": {"rows": {"min": 1, "opt": 2, "max": 5}},
    "outputs": ["shifted"],
    "max_batch_size": 0,
}
COUNTING: dict[str, Any] = {
    "name": "counting",
    "source": "models:counting",
    "inputs": [
        {"name": "value", "dtype": "FP32", "shape": [1]},
        {"name": "start", "control": "start"},
        {"name": "corrid", "control": "corrid"},
    ],
    "outputs": ["count"],
    "max_batch_size": 4,
    "sequence": {},
}
BERT: dict[str, Any] = {
    "name": "bert",
    "huggingface": "./bert",
    "inputs": [
        {"name": "attention_mask", "dtype": "INT64", "shape": ["seq"], "fill": "mask"},
        {"name": "input_ids", "dtype": "INT64", "shape": ["seq"], "range": [0, 50]},
    ],
    "dims": {"seq": {"min": 1, "opt": 4, "max": 16}},
    "outputs": ["logits"],
    "max_batch_size": 4,
}
WORDS: dict[str, Any] = {
    "name": "words",
    "onnx": "words.onnx",
    "inputs": [{"name": "word", "dtype": "BYTES", "shape": [2], "values": ["cat", "dog", "é"]}],
    "outputs": [{"name": "vector"}, {"name": "known"}],
    "max_batch_size": 4,
}
RANKER: dict[str, Any] = {
    "name": "adopted",
    "onnx": "there/ranker.onnx",
    "golden": "golden.npz",
    "inputs": [{"name": "ids", "dtype": "INT64", "shape": [2]}],
    "outputs": ["score"],
    "max_batch_size": 4,
}


class Summed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.table(ids).sum(1)).float()


def blended_module() -> nn.Module:
    namespace: dict[str, Any] = {}
    exec(MODULES, namespace)  # noqa: S102  (above)
    return namespace["blended"]()


def write_blended_weights(folder: Path) -> None:
    save_file(blended_module().state_dict(), folder / BLENDED["weights"])


def write_program(path: Path, *, bounded: bool = True) -> None:
    auto = torch.export.Dim.AUTO
    batch, seq = torch.export.Dim("batch", max=8), torch.export.Dim("seq", max=9)
    dims = {0: batch, 1: seq} if bounded else {0: auto, 1: auto}
    example = torch.zeros(2, 4, dtype=torch.int64)
    program = torch.export.export(Summed().eval(), (example,), dynamic_shapes=(dims,))
    torch.export.save(program, path)


def write_bert(folder: Path) -> None:
    from transformers import BertConfig, BertForSequenceClassification  # noqa: PLC0415  (slow)

    config = BertConfig(
        vocab_size=50,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        num_labels=3,
    )
    BertForSequenceClassification(config).eval().save_pretrained(folder)


def write_words(path: Path) -> None:
    """Words to rows of a table; those it does not know to the last one."""
    encode = helper.make_node(
        "LabelEncoder",
        ["word"],
        ["id"],
        domain="ai.onnx.ml",
        keys_strings=["cat", "dog", "é"],
        values_int64s=[0, 1, 2],
        default_int64=3,
    )
    last = numpy_helper.from_array(np.array(3), "last")
    table = numpy_helper.from_array(np.arange(16, dtype=np.float32).reshape(4, 4), "table")
    nodes = [
        encode,
        helper.make_node("Gather", ["table", "id"], ["vector"]),
        helper.make_node("Less", ["id", "last"], ["known"]),
    ]
    save(
        path,
        nodes,
        inputs=[helper.make_tensor_value_info("word", TensorProto.STRING, ["n", 2])],
        outputs=[
            helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", 2, 4]),
            helper.make_tensor_value_info("known", TensorProto.BOOL, ["n", 2]),
        ],
        initializers=[last, table],
    )


RANKER_TABLE = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)


def write_ranker(path: Path, *, location: str = "weights.bin", opset: int = 17) -> None:
    """A table whose rows are summed up, with its weights in another file."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axes"], ["score"], keepdims=0),
    ]
    axes = numpy_helper.from_array(np.array([1, 2]), "axes")
    table = numpy_helper.from_array(RANKER_TABLE, "table")
    path.parent.mkdir(exist_ok=True)
    save(
        path,
        nodes,
        inputs=[helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 2])],
        outputs=[helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"])],
        initializers=[axes, table],
        opset=opset,
        location=location,
    )


def write_ranker_golden(path: Path) -> None:
    ids = np.array([[0, 299], [7, 8], [1, 1]])
    np.savez(path, **{"input/ids": ids, "output/score": RANKER_TABLE[ids].sum((1, 2))})


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    *,
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    initializers: list[onnx.TensorProto],
    opset: int = 17,
    location: str = "",
) -> None:
    graph = helper.make_graph(nodes, "graph", inputs, outputs, initializers)
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    onnx.save(
        model, path, save_as_external_data=bool(location), location=location, size_threshold=64
    )


def export_in_process(entry: dict[str, Any], folder: Path) -> ExportReport:
    """The exporter's stage without a process of its own."""
    target = folder / "exported"
    target.mkdir()
    model = ModelRecipe.model_validate(entry)
    job = ExportJob(model=model, recipe_folder=folder, folder=target, threads=1)
    return adopt(job) if model.onnx else export(job)


def verified_in_process(entry: dict[str, Any], folder: Path) -> tuple[ExportReport, VerifyReport]:
    """All stages up to verification, without processes of their own."""
    # Each test has a folder of its own, and Python one module of a name.
    sys.modules.pop(entry.get("source", "").partition(":")[0], None)
    report = export_in_process(entry, folder)
    job = VerifyJob(
        folder=folder / "exported",
        tolerances=report.tolerances,
        top_k=ModelRecipe.model_validate(entry).top_k,
        graph_level=0,
        triton="24.10",
        reference=report.reference,
        threads=1,
        failure=folder / "failure.npz",
    )
    return report, verify(job)


def refusal(entry: dict[str, Any], folder: Path) -> str:
    with pytest.raises(StageRefused) as refused:
        export_in_process(entry, folder)
    return str(refused.value)
