"""The cheapest model that can be built: an ONNX file of a table."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from tests.e2e import tiny

ROWS, WIDTH = 10, 4


def write_table(path: Path, *, scale: float = 1.0, rows: int = ROWS) -> None:
    """score[batch, WIDTH] is the sum of the rows that ids[batch, seq] name."""
    table = scale * np.arange(rows * WIDTH, dtype=np.float32).reshape(rows, WIDTH)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "ids"], ["rows"]),
            helper.make_node("ReduceSum", ["rows", "axis"], ["score"], keepdims=0),
        ],
        "table",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "seq"])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch", WIDTH])],
        [numpy_helper.from_array(table, "table"), numpy_helper.from_array(np.array([1]), "axis")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    write_at_once(path, model.SerializeToString())


def write_at_once(path: Path, content: bytes) -> None:
    """Who watches the file sees the old content or the new, and nothing between."""
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)


def adopted(**changes: Any) -> dict[str, Any]:
    """A recipe's entry for `table.onnx`."""
    found = tiny.entry(name="table", onnx="table.onnx") | changes
    del found["source"]
    return found
