"""What is built for a GPU, computed on it in this process."""

from typing import Any

import onnxruntime
import pytest

from contract.config import parse_config
from contract.layout import ONNX_MODEL, TENSORRT_PLAN, Store, VersionFolder
from contract.manifest import read_manifest
from contract.samples import read_golden
from generator.checks.cases import ask
from generator.checks.sessions import open_session

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1800)]


def newest(store: Store, model: str) -> VersionFolder:
    return store.version(model, store.versions(model)[-1])


def answers_rightly(session: Any, files: VersionFolder) -> bool:
    limits = read_manifest(files.manifest).tolerances
    return not ask(session, read_golden(files.golden), limits=limits, top_k={}).wrong


def test_half_precision_answers_on_cuda(store: Store) -> None:
    files = newest(store, "half")
    session = onnxruntime.InferenceSession(
        str(files.path / ONNX_MODEL), providers=["CUDAExecutionProvider"]
    )

    assert session.get_providers()[0] == "CUDAExecutionProvider"
    assert answers_rightly(session, files)


def test_onnx_runtime_builds_engines_as_the_config_says(store: Store) -> None:
    files = newest(store, "accelerated")
    config = parse_config(files.config.read_text(), "accelerated")
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    session = onnxruntime.InferenceSession(
        str(files.path / ONNX_MODEL),
        providers=[("TensorrtExecutionProvider", dict(accelerator.parameters))],
    )

    assert session.get_providers()[0] == "TensorrtExecutionProvider"
    assert answers_rightly(session, files)


@pytest.mark.parametrize("model", ["plan", "exact-plan"])
def test_a_published_plan_answers(store: Store, model: str) -> None:
    files = newest(store, model)

    assert (files.path / TENSORRT_PLAN).is_file()
    assert answers_rightly(open_session(files.path), files)
