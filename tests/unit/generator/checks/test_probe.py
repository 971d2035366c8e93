"""What a version costs, in processes of their own as in a build."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from contract.dtypes import Datatype
from contract.layout import ONNX_DATA, ONNX_MODEL
from contract.samples import warmup_bytes
from generator import worker
from generator.checks.probe import probe
from generator.checks.sessions import open_session, run
from generator.errors import StageRefused
from generator.reports import (
    ColdLoadJob,
    ColdLoadReport,
    ProbeJob,
    ProbeReport,
    WarmupInput,
    WarmupSample,
)

MIB = 1 << 20
TABLE = np.zeros((1 << 18, 4), np.float32)
WORDS = np.array([b"one", "zwölf".encode()], np.object_)


def write(folder: Path, node: onnx.NodeProto, of: int, to: int, *tables: onnx.TensorProto) -> None:
    graph = helper.make_graph(
        [node],
        "graph",
        [helper.make_tensor_value_info("x", of, ["batch", 2])],
        [helper.make_tensor_value_info("y", to, None)],
        list(tables),
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    onnx.save(model, folder / ONNX_MODEL, save_as_external_data=True, location=ONNX_DATA)
    (folder / "warmup").mkdir()


def lookup(folder: Path) -> None:
    """A table of 4 MiB."""
    node = helper.make_node("Gather", ["table", "x"], ["y"])
    table = numpy_helper.from_array(TABLE, "table")
    write(folder, node, TensorProto.INT64, TensorProto.FLOAT, table)


def job(folder: Path, element: np.ndarray, datatype: Datatype) -> ProbeJob:
    (folder / "warmup/x.bin").write_bytes(warmup_bytes(element))
    spec = WarmupInput(name="x", datatype=datatype, dims=element.shape, file="x.bin")
    samples = tuple(
        WarmupSample(name=f"b{batch}", batch=batch, dims={}, inputs=(spec,)) for batch in (4, 1)
    )
    return ProbeJob(folder=folder, samples=samples, has_batch_dimension=True)


def test_a_mapped_table_costs_a_second_instance_next_to_nothing(tmp_path: Path) -> None:
    lookup(tmp_path)

    found = worker.run(
        "generator.checks.probe",
        job(tmp_path, np.array([0, len(TABLE) - 1]), Datatype.INT64),
        ProbeReport,
        scratch=tmp_path,
        cwd=tmp_path,
    )

    assert found.shared_bytes == TABLE.nbytes
    assert found.private_bytes < TABLE.nbytes
    assert found.further_private_bytes < MIB
    assert found.peak_bytes >= found.private_bytes
    assert [(cost.batch, cost.runs_until_steady >= 1) for cost in found.shapes] == [
        (4, True),
        (1, True),
    ]


def test_texts_are_warmed_as_texts(tmp_path: Path) -> None:
    """ONNX Runtime's Python would make `b'one'` of b"one"."""
    node = helper.make_node("Identity", ["x"], ["y"])
    write(tmp_path, node, TensorProto.STRING, TensorProto.STRING)

    assert len(probe(job(tmp_path, WORDS, Datatype.BYTES)).shapes) == 2
    answers = run(open_session(tmp_path), {"x": WORDS[np.newaxis]}, "two words")
    assert answers["y"].tolist() == [WORDS.tolist()]


def test_a_sample_that_fails_is_named_with_onnx_runtimes_words(tmp_path: Path) -> None:
    lookup(tmp_path)

    with pytest.raises(StageRefused, match=r"(?s)fails at warm-up sample b4: .*out of.*bounds"):
        probe(job(tmp_path, np.array([0, len(TABLE)]), Datatype.INT64))


def test_a_cold_load_is_measured_where_files_can_be_forgotten(tmp_path: Path) -> None:
    lookup(tmp_path)

    found = worker.run(
        "generator.checks.cold",
        ColdLoadJob(folder=tmp_path),
        ColdLoadReport,
        scratch=tmp_path,
        cwd=tmp_path,
    )

    # A file system in memory forgets nothing.
    assert found.load_s is None or found.load_s > 0
