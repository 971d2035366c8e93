"""A model of one multiplication, y = 2 x, as ONNX of a few hundred bytes."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from contract.layout import Store
from contract.manifest import read_manifest, record_files
from tests import builders

# What ONNX Runtime 1.19 reads.
_OPSET, _IR = 18, 10


def publish(store: Store, name: str, number: int = 1, *, tier: str = "cold") -> None:
    """Put a version into the store, complete as the generator would."""
    builders.publish(store, name, number, tier=tier)
    folder = store.version(name, number)
    _write_model(folder.path / "model.onnx")
    manifest = read_manifest(folder.manifest)
    files = record_files(folder.path)
    folder.manifest.write_text(manifest.model_copy(update={"files": files}).model_dump_json())


def _write_model(path: Path) -> None:
    vectors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 2]) for name in ("x", "y")
    ]
    two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "two"], ["y"])], "doubling", vectors[:1], vectors[1:], [two]
    )
    opset = helper.make_opsetid("", _OPSET)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=_IR), path)
