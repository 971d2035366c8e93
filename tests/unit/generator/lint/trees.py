"""Model repositories of a few kilobytes, good ones and bad ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from generator.lint.check import lint
from generator.lint.finding import Finding
from generator.lint.read import read_repository
from generator.releases import NEWEST, release

ROWS = 100


@dataclass(frozen=True, slots=True)
class Link:
    target: str


FOLDER = None
Tree = Mapping[str, str | bytes | Link | None]


def write(root: Path, tree: Tree) -> Path:
    """Paths with their contents; a folder has none."""
    for name, content in tree.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case None:
                path.mkdir()
            case Link(target):
                path.symlink_to(target)
            case bytes():
                path.write_bytes(content)
            case str():
                path.write_text(content)
    return root


def found(root: Path, triton: str = NEWEST) -> list[Finding]:
    return lint(read_repository(root, release(triton)))


def said(root: Path, triton: str = NEWEST) -> list[tuple[str, str, int | None]]:
    """Code, path and line of each finding."""
    return [(each.rule.code, each.place.path, each.place.line) for each in found(root, triton)]


def graph(
    *,
    shape: Sequence[str | int] = ("n", 6),
    default: bool = False,
    opset: int = 18,
    ir: int = 10,
) -> bytes:
    """score = table[ids], of ROWS rows; `default`: ids may be left out."""
    table = np.arange(ROWS, dtype=np.float32)
    constants = [onnx.numpy_helper.from_array(table, "table")]
    if default:
        constants.append(onnx.numpy_helper.from_array(np.zeros((1, 6), np.int64), "ids"))
    made = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["score"])],
        "graph",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, shape)],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, shape)],
        constants,
    )
    model = helper.make_model(made, ir_version=ir, opset_imports=[helper.make_opsetid("", opset)])
    return bytes(model.SerializeToString())


def ids(*values: int) -> bytes:
    return np.array(values, np.int64).tobytes()


CONFIG = """\
name: "ranker"
backend: "onnxruntime"
max_batch_size: 8
input {
  name: "ids"
  data_type: TYPE_INT64
  dims: [6]
}
output {
  name: "score"
  data_type: TYPE_FP32
  dims: [6]
}
dynamic_batching {
  preferred_batch_size: [4, 8]
}
model_warmup {
  name: "full"
  batch_size: 8
  inputs {
    key: "ids"
    value {
      data_type: TYPE_INT64
      dims: [6]
      input_data_file: "ids.bin"
    }
  }
}
"""
"""Of `ranker`; ids in line 5, score in 10, sizes in 15, warm-up from 17 on."""

RANKER: Tree = {
    "ranker/config.pbtxt": CONFIG,
    "ranker/1/model.onnx": graph(),
    "ranker/warmup/ids.bin": ids(0, 1, 2, 3, 4, ROWS - 1),
}


def ranker(*changes: tuple[str, str]) -> Tree:
    """The good model with parts of its config replaced."""
    text = CONFIG
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return {**RANKER, "ranker/config.pbtxt": text}


PYTHON = """\
backend: "python"
max_batch_size: 4
input { name: "text" data_type: TYPE_STRING dims: [1] }
output { name: "ids" data_type: TYPE_INT64 dims: [6] }
"""
ENSEMBLE = """\
platform: "ensemble"
max_batch_size: 4
input { name: "question" data_type: TYPE_STRING dims: [1] }
output { name: "score" data_type: TYPE_FP32 dims: [6] }
ensemble_scheduling {
  step {
    model_name: "tokens"
    model_version: -1
    input_map { key: "text" value: "question" }
    output_map { key: "ids" value: "ids" }
  }
  step {
    model_name: "ranker"
    model_version: -1
    input_map { key: "ids" value: "ids" }
    output_map { key: "score" value: "score" }
  }
}
"""
PIPELINE: Tree = {
    **RANKER,
    "tokens/config.pbtxt": PYTHON,
    "tokens/1/model.py": "",
    "pipeline/config.pbtxt": ENSEMBLE,
    "pipeline/1": FOLDER,
}


def pipeline(*changes: tuple[str, str]) -> Tree:
    """The good ensemble with parts of its config replaced."""
    text = ENSEMBLE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return {**PIPELINE, "pipeline/config.pbtxt": text}
