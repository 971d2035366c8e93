from collections.abc import Callable
from pathlib import Path

import pytest

from contract.layout import ONNX_DATA, ONNX_MODEL
from generator.accelerators import Profile
from generator.exporters.convert import engine_key, timings_key
from generator.recipe.formats import TensorRT
from generator.reports.convert import BuilderReport, ConvertJob

_BUILDER = BuilderReport(tensorrt="10.16.1.11", gpu="NVIDIA H100", compute_capability="9.0")
_PROFILE = Profile(input="ids", min=(1, 1), opt=(4, 8), max=(4, 16))


@pytest.fixture
def job(tmp_path: Path) -> ConvertJob:
    (tmp_path / ONNX_MODEL).write_bytes(b"graph")
    (tmp_path / ONNX_DATA).write_bytes(b"weights")
    return ConvertJob(
        folder=tmp_path,
        cache=tmp_path / "cache",
        format=TensorRT(kind="tensorrt"),
        profiles=(_PROFILE,),
        tolerances={"score": 1e-5},
        top_k={},
    )


def _other_weights(job: ConvertJob) -> ConvertJob:
    (job.folder / ONNX_DATA).write_bytes(b"retrained")
    return job


@pytest.mark.parametrize(
    "change",
    [
        _other_weights,
        lambda job: job.model_copy(update={"profiles": ()}),
        lambda job: job.model_copy(update={"format": TensorRT(kind="tensorrt", precision="fp16")}),
    ],
)
def test_a_plan_is_found_again_only_for_the_same_graph_and_the_same_wishes(
    job: ConvertJob, change: Callable[[ConvertJob], ConvertJob]
) -> None:
    before = engine_key(job, _BUILDER)

    assert engine_key(job, _BUILDER) == before
    assert engine_key(change(job), _BUILDER) != before


@pytest.mark.parametrize(
    "other",
    [{"tensorrt": "10.16.1.12"}, {"gpu": "NVIDIA H200"}, {"compute_capability": "8.9"}],
)
def test_plans_and_timings_are_those_of_one_tensorrt_on_one_gpu(
    job: ConvertJob, other: dict[str, str]
) -> None:
    elsewhere = _BUILDER.model_copy(update=other)

    assert engine_key(job, elsewhere) != engine_key(job, _BUILDER)
    assert timings_key(elsewhere) != timings_key(_BUILDER)


def test_what_the_plan_is_checked_with_does_not_change_it(job: ConvertJob) -> None:
    stricter = job.model_copy(update={"tolerances": {"score": 1e-6}})

    assert engine_key(stricter, _BUILDER) == engine_key(job, _BUILDER)
