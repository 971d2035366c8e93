"""Versions served by a real Triton before they are published."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array

from contract.layout import ONNX_MODEL, Store, VersionFolder
from contract.samples import GoldenSample, write_golden
from embedded.provision import Installation
from generator.errors import NotServed
from pilotlight.dry_run import DryRunServer
from tests.builders import config_text, manifest

pytestmark = [pytest.mark.triton, pytest.mark.timeout(120)]

KILLER = """
import os, signal

class TritonPythonModel:
    def initialize(self, args):
        os.kill(os.getppid(), signal.SIGSEGV)
"""
WITH_START = """file: "x.bin" }
  }
  inputs {
    key: "start"
    value { data_type: TYPE_FP32 dims: [1] input_data_file: "start.bin" }
  }"""
STATEFUL = """
sequence_batching {
  control_input {
    name: "start"
    control { kind: CONTROL_SEQUENCE_START fp32_false_true: [0, 1] }
  }
}
"""
ENSEMBLE = """
name: "chain"
platform: "ensemble"
max_batch_size: 4
input { name: "X" data_type: TYPE_FP32 dims: [2] }
output { name: "Y" data_type: TYPE_FP32 dims: [2] }
ensemble_scheduling {
  step {
    model_name: "m"
    model_version: -1
    input_map { key: "x" value: "X" }
    output_map { key: "y" value: "Y" }
  }
}
"""
Sabotage = Callable[[VersionFolder], None]


@pytest.fixture(scope="module")
def server(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DryRunServer]:
    with DryRunServer(installation, tmp_path_factory.mktemp("dry-run") / "home") as server:
        yield server


@pytest.fixture
def published(tmp_path: Path) -> Store:
    """Where the models of an ensemble are; those of a model need no other."""
    return Store(tmp_path / "store")


@pytest.fixture
def candidate(tmp_path: Path) -> VersionFolder:
    """What a build has before it publishes."""
    files = VersionFolder(tmp_path / "version")
    files.warmup.mkdir(parents=True)
    write_model(files, rows=1)
    files.config.write_text(config_text())
    (files.warmup / "x.bin").write_bytes(np.float32([1, 2]).tobytes())
    x = np.float32([[1, 2]])
    write_golden(files.golden, [GoldenSample({"x": x}, {"y": x})])
    files.manifest.write_text(manifest().model_dump_json())
    return files


def write_model(files: VersionFolder, *, rows: int) -> None:
    """`y = x`, for batches of so many rows or a multiple of it."""
    nodes = [
        helper.make_node("Reshape", ["x", "wide"], ["rows"]),
        helper.make_node("Relu", ["rows"], ["above"]),
        helper.make_node("Reshape", ["above", "narrow"], ["y"]),
    ]
    sizes = {"wide": 2 * rows, "narrow": 2}
    write(files, nodes, *[from_array(np.array([-1, size]), name) for name, size in sizes.items()])


def write(
    files: VersionFolder, nodes: list[onnx.NodeProto], *constants: onnx.TensorProto, **more: int
) -> None:
    """A model of `x` to `y`, both of two numbers; `more` inputs have so many."""
    given, answer = (
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size])
            for name, size in sizes.items()
        ]
        for sizes in ({"x": 2, **more}, {"y": 2})
    )
    graph = helper.make_graph(nodes, "graph", given, answer, list(constants))
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    onnx.save(model, files.path / ONNX_MODEL)


def copied(files: VersionFolder) -> VersionFolder:
    return VersionFolder(shutil.copytree(files.path, files.path.with_name("broken")))


def cut_the_warm_up_file(files: VersionFolder) -> None:
    (files.warmup / "x.bin").write_bytes(b"\0" * 7)


def fail_at_the_warm_up_shape(files: VersionFolder) -> None:
    write_model(files, rows=3)


def answer_otherwise(files: VersionFolder) -> None:
    x = np.float32([[1, 2]])
    write_golden(files.golden, [GoldenSample({"x": x}, {"y": x + 1})])


def name_an_unknown_type(files: VersionFolder) -> None:
    files.config.write_text(config_text().replace("TYPE_FP32", "TYPE_FP61"))


def test_a_version_that_loads_warms_up_and_answers_is_well(
    server: DryRunServer, candidate: VersionFolder, published: Store
) -> None:
    server("m", 1, candidate, published)
    server("m", 1, candidate, published)


def test_one_that_kills_the_server_is_told_and_the_next_is_served(
    server: DryRunServer, candidate: VersionFolder, published: Store
) -> None:
    killer = copied(candidate)
    killer.config.write_text(config_text().replace('"onnxruntime"', '"python"'))
    (killer.path / "model.py").write_text(KILLER)

    with pytest.raises(NotServed) as refused:
        server("m", 1, killer, published)

    assert "tritonserver crashed with signal 11" in str(refused.value)
    assert "The last lines of its log:\n  " in str(refused.value)
    server("m", 1, candidate, published)


def test_a_stateful_version_is_warmed_and_asked_in_sequences(
    server: DryRunServer, candidate: VersionFolder, published: Store
) -> None:
    stateful = copied(candidate)
    write(stateful, [helper.make_node("Mul", ["x", "start"], ["y"])], start=1)
    text = config_text().replace("dynamic_batching { preferred_batch_size: [4] }", "")
    stateful.config.write_text(text.replace('file: "x.bin" }\n  }', WITH_START) + STATEFUL)
    x = np.float32([[1, 2]])
    inputs = {"x": x, "start": np.float32([[1]])}
    write_golden(stateful.golden, [GoldenSample(inputs, {"y": x})])

    with pytest.raises(NotServed, match=r"start\.bin"):
        server("m", 1, stateful, published)
    (stateful.warmup / "start.bin").write_bytes(np.float32([1]).tobytes())
    server("m", 1, stateful, published)

    write_golden(stateful.golden, [GoldenSample(inputs, {"y": x + 1})])
    with pytest.raises(NotServed, match="scaled error"):
        server("m", 1, stateful, published)


def test_an_ensemble_is_asked_with_its_models_beside_it(
    server: DryRunServer, candidate: VersionFolder, published: Store, tmp_path: Path
) -> None:
    shutil.copytree(candidate.path, published.version("m", 3).path)
    chain = VersionFolder(tmp_path / "chain")
    chain.path.mkdir()
    chain.config.write_text(ENSEMBLE)
    x = np.float32([[1, 2]])
    write_golden(chain.golden, [GoldenSample({"X": x}, {"Y": x})])
    told = manifest("chain").model_copy(update={"composing": {"m": 3}, "tolerances": {"Y": 1e-5}})
    chain.manifest.write_text(told.model_dump_json())

    server("chain", 1, chain, published)

    write_golden(chain.golden, [GoldenSample({"X": x}, {"Y": x + 1})])
    with pytest.raises(NotServed, match="chain version 1 in a dry run on Triton: output Y"):
        server("chain", 1, chain, published)


@pytest.mark.parametrize(
    ("sabotage", "said"),
    [
        (cut_the_warm_up_file, "7 bytes"),
        # Where it fails in the midst of a warm-up, Triton 24.10 dies of it now and then.
        (fail_at_the_warm_up_shape, "Reshape|crashed with signal 11"),
        (answer_otherwise, "scaled error"),
        (name_an_unknown_type, 'Unknown enumeration value of "TYPE_FP61"'),
    ],
)
def test_one_that_does_not_is_refused_and_the_next_is_served(
    server: DryRunServer,
    candidate: VersionFolder,
    published: Store,
    sabotage: Sabotage,
    said: str,
) -> None:
    broken = copied(candidate)
    sabotage(broken)

    with pytest.raises(NotServed) as refused:
        server("m", 1, broken, published)

    assert str(refused.value).startswith("m version 1 in a dry run on Triton: ")
    assert re.search(said, str(refused.value))
    server("m", 1, candidate, published)
