"""Three models of a few bytes that make one ensemble: features become ids, scores, shares.

Only the one in the middle is PyTorch: an export takes longer than all the rest.
"""

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto
from onnx.helper import make_graph, make_model, make_node, make_opsetid, make_tensor_value_info

SOURCE = """
from torch import nn


class Score(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, ids):
        return self.out(self.table(ids).sum(1))


def score():
    return Score().eval()
"""

MODELS: list[dict[str, Any]] = [
    {
        "name": "bucket",
        "onnx": "bucket.onnx",
        "inputs": [{"name": "features", "dtype": "FP32", "shape": ["seq"]}],
        "dims": {"seq": {"min": 1, "opt": 3, "max": 6}},
        "outputs": ["ids"],
        "max_batch_size": 4,
    },
    {
        "name": "score",
        "source": "chained:score",
        "inputs": [{"name": "ids", "dtype": "INT64", "shape": ["seq"], "range": [0, 9]}],
        "dims": {"seq": {"min": 1, "opt": 3, "max": 8}},
        "outputs": ["scores"],
        "max_batch_size": 8,
    },
    {
        "name": "share",
        "onnx": "share.onnx",
        "inputs": [{"name": "scores", "dtype": "FP32", "shape": [2]}],
        "outputs": ["shares"],
        "max_batch_size": 8,
    },
]

ENSEMBLE: dict[str, Any] = {
    "name": "ranked",
    "inputs": ["FEATURES"],
    "outputs": ["SHARES"],
    "steps": [
        {"model": "bucket", "inputs": {"features": "FEATURES"}, "outputs": {"ids": "ids"}},
        {"model": "score", "inputs": {"ids": "ids"}, "outputs": {"scores": "scores"}},
        {"model": "share", "inputs": {"scores": "scores"}, "outputs": {"shares": "SHARES"}},
    ],
}


def write_sources(folder: Path) -> None:
    (folder / "chained.py").write_text(SOURCE)
    # Standard normal features give ids far below the table's 9.
    into_ids = [
        make_node("Abs", ["features"], ["positive"]),
        make_node("Floor", ["positive"], ["floored"]),
        make_node("Cast", ["floored"], ["ids"], to=TensorProto.INT64),
    ]
    batches = [
        make_tensor_value_info("features", TensorProto.FLOAT, ["batch", "seq"]),
        make_tensor_value_info("ids", TensorProto.INT64, ["batch", "seq"]),
    ]
    _write(folder / "bucket.onnx", into_ids, *batches)
    pairs = [
        make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2])
        for name in ("scores", "shares")
    ]
    _write(folder / "share.onnx", [make_node("Softmax", ["scores"], ["shares"])], *pairs)


def _write(
    path: Path,
    nodes: list[onnx.NodeProto],
    given: onnx.ValueInfoProto,
    taken: onnx.ValueInfoProto,
) -> None:
    graph = make_graph(nodes, path.stem, [given], [taken])
    onnx.save(make_model(graph, ir_version=10, opset_imports=[make_opsetid("", 20)]), path)
