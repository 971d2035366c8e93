"""A version in an ONNX Runtime of its own."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from contract.layout import VersionFolder
from contract.manifest import Proof
from generator.errors import NotProven
from generator.proving import prove
from generator.releases import Release, release
from tests.unit.generator.checks.graphs import scaling, write_version
from tests.unit.generator.entries import entry

INSTALLED = Path(onnxruntime.__file__).parents[1]


def of_installed() -> Release:
    """A release that has the ONNX Runtime which is installed here."""
    known = release("24.10")
    return Release(
        name="24.10",
        onnxruntime=onnxruntime.__version__,
        max_opset=known.max_opset,
        max_ir=known.max_ir,
        tensorrt=known.tensorrt,
        tensorrt_is_exact=True,
    )


def proven(
    folder: Path,
    root: Path,
    *,
    packages: Path = INSTALLED,
    of: Release | None = None,
    **changes: Any,
) -> Proof | None:
    return prove(
        entry(outputs=["y"], **changes),
        VersionFolder(folder),
        of or of_installed(),
        packages,
        tolerances={"y": 1e-5},
        scratch=root,
    )


def test_a_version_is_proven_with_its_golden_samples(tmp_path: Path) -> None:
    proof = proven(write_version(tmp_path / "1", scaling(2)), tmp_path)

    assert proof is not None
    assert (proof.onnxruntime, proof.samples) == (onnxruntime.__version__, 2)
    assert proof.outputs["y"].scaled_error == 0
    assert proof.load_s > 0


def test_a_plan_is_not_proven_in_onnx_runtime(tmp_path: Path) -> None:
    assert proven(tmp_path, tmp_path, format="tensorrt") is None


def test_a_wrong_answer_is_no_proof(tmp_path: Path) -> None:
    with pytest.raises(NotProven, match="otherwise than its golden samples in 2 of 2 cases"):
        proven(write_version(tmp_path / "1", scaling(2.5)), tmp_path)


def test_a_file_that_does_not_load_is_no_proof(tmp_path: Path) -> None:
    folder = write_version(tmp_path / "1", scaling(2, ir=99))

    with pytest.raises(NotProven, match=r"Triton 24.10: ONNX Runtime does not load it: .*IR"):
        proven(folder, tmp_path)


def test_another_onnx_runtime_is_no_proof(tmp_path: Path) -> None:
    folder = write_version(tmp_path / "1", scaling(2))

    with pytest.raises(NotProven, match=f"ONNX Runtime {onnxruntime.__version__} was found in its"):
        proven(folder, tmp_path, of=release("24.10"))


@pytest.fixture
def dying(tmp_path: Path) -> Path:
    """Dies of what it optimizes in full, and refuses the rest: the real one dies of some models."""
    wheel = tmp_path / "packages/onnxruntime"
    wheel.mkdir(parents=True)
    (wheel / "__init__.py").write_text(DYING)
    return wheel.parent


def test_a_model_is_loaded_at_the_graph_level_of_its_config(tmp_path: Path, dying: Path) -> None:
    config = "optimization { graph { level: 1 } }"
    folder = write_version(tmp_path / "1", scaling(2), config=config)

    with pytest.raises(NotProven, match="does not load it: not optimized in full"):
        proven(folder, tmp_path, packages=dying, of=release("24.10"))


def test_an_onnx_runtime_that_dies_is_told_with_its_signal(tmp_path: Path, dying: Path) -> None:
    folder = write_version(tmp_path / "1", scaling(2))

    with pytest.raises(NotProven) as caught:
        proven(folder, tmp_path, packages=dying, of=release("24.10"))

    said = str(caught.value)
    assert "ONNX Runtime 1.19.2 of Triton 24.10 dies of it: generator.checks.proof was" in said
    assert "killed by SIGSEGV" in said
    assert "optimization: {graph: {level: 1}}" in said


DYING = """
import os, signal

__version__ = "1.19.2"


class GraphOptimizationLevel:
    ORT_ENABLE_BASIC, ORT_ENABLE_EXTENDED, ORT_DISABLE_ALL, ORT_ENABLE_ALL = range(4)


class SessionOptions:
    pass


class NodeArg:
    pass


class InferenceSession:
    def __init__(self, path, options, providers):
        if options.graph_optimization_level == GraphOptimizationLevel.ORT_ENABLE_ALL:
            os.kill(os.getpid(), signal.SIGSEGV)
        raise RuntimeError("not optimized in full")
"""
