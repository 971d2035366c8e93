"""Building and asking plans, with a fake TensorRT: what a GPU would do is in `tests/gpu`."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from contract.layout import ONNX_DATA, ONNX_MODEL, TENSORRT_PLAN
from contract.samples import write_golden
from generator.accelerators import Profile
from generator.checks import cuda
from generator.checks.sessions import describe, open_session
from generator.errors import StageRefused
from generator.exporters.convert import convert
from generator.exporters.tensorrt import builder_here
from generator.recipe.formats import TensorRT
from generator.reports import CASES
from generator.reports.convert import BuilderJob, BuilderReport, ConvertJob
from tests.fakes import tensorrt as fake
from tests.unit.generator.checks.graphs import SAMPLES, scaling

_PROFILE = Profile(input="x", min=(1, 3), opt=(2, 3), max=(2, 3))


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> fake.DriverLibrary:
    """A machine with a GPU and TensorRT."""
    library = fake.DriverLibrary()
    monkeypatch.setitem(sys.modules, "tensorrt", fake)
    monkeypatch.setattr(cuda, "_load_library", lambda: library)
    return library


@pytest.fixture
def job(tmp_path: Path, driver: fake.DriverLibrary) -> ConvertJob:
    """An exported model that doubles."""
    return exported(tmp_path, scaling(2.0))


def exported(root: Path, model: onnx.ModelProto, **asked: Any) -> ConvertJob:
    folder = root / "version"
    folder.mkdir(exist_ok=True)
    onnx.save(model, folder / ONNX_MODEL)
    (folder / ONNX_DATA).touch()
    write_golden(folder / CASES, SAMPLES)
    return ConvertJob(
        folder=folder,
        cache=root / "cache",
        format=TensorRT(kind="tensorrt", **asked),
        profiles=(_PROFILE,),
        tolerances={"y": 1e-5},
        top_k={},
    )


def in_cache(job: ConvertJob, kind: str) -> list[Path]:
    return list(job.cache.glob(f"*.{kind}"))


@pytest.mark.usefixtures("driver")
def test_says_what_plans_built_here_are_bound_to() -> None:
    assert builder_here(BuilderJob()) == BuilderReport(
        tensorrt="11.4.0.106", gpu="NVIDIA Fake", compute_capability="9.0"
    )


def test_a_plan_takes_the_place_of_the_onnx_files(job: ConvertJob) -> None:
    report = convert(job)

    assert sorted(path.name for path in job.folder.iterdir()) == [CASES, TENSORRT_PLAN]
    assert report.evidence["y"].scaled_error == 0.0
    assert report.tools["gpu"] == "NVIDIA Fake"


def test_the_builder_is_asked_for_what_the_recipe_says(
    tmp_path: Path, driver: fake.DriverLibrary
) -> None:
    job = exported(
        tmp_path,
        scaling(2.0),
        workspace_bytes=1 << 30,
        optimization_level=5,
        version_compatible=True,
        hardware="ampere-plus",
    )

    convert(job)

    assert fake.asked_of(job.folder / TENSORRT_PLAN) == {
        "flags": ["VERSION_COMPATIBLE"],
        "hardware": "AMPERE_PLUS",
        "level": 5,
        "limits": {"WORKSPACE": 1 << 30},
        "profiles": [{"x": [[1, 3], [2, 3], [2, 3]]}],
    }


def test_float32_is_not_multiplied_as_tf32(job: ConvertJob) -> None:
    convert(job)

    assert fake.asked_of(job.folder / TENSORRT_PLAN)["flags"] == []


def test_the_same_plan_is_not_built_twice(job: ConvertJob) -> None:
    convert(job)
    (plan,) = in_cache(job, "plan")
    plan.write_bytes(plan.read_bytes().replace(b'"level": 3', b'"level": 4'))

    convert(exported(job.folder.parent, scaling(2.0)))

    assert fake.asked_of(job.folder / TENSORRT_PLAN)["level"] == 4


def test_timings_of_one_plan_help_the_next(job: ConvertJob) -> None:
    convert(job)
    convert(exported(job.folder.parent, scaling(2.0), optimization_level=5))

    (timings,) = in_cache(job, "timings")
    assert timings.read_bytes() == b"measured;measured;"
    assert len(in_cache(job, "plan")) == 2


def test_a_plan_that_answers_otherwise_than_pytorch_is_refused(
    tmp_path: Path, driver: fake.DriverLibrary
) -> None:
    job = exported(tmp_path, scaling(2.1))

    with pytest.raises(StageRefused, match=r"answers otherwise than PyTorch in 2 of 2 cases"):
        convert(job)


def test_an_operator_that_tensorrt_lacks_is_named(
    tmp_path: Path, driver: fake.DriverLibrary
) -> None:
    model = scaling(2.0)
    model.graph.node.append(helper.make_node("NonZero", ["x"], ["unused"]))

    with pytest.raises(StageRefused, match=r"does not take the graph: no importer for NonZero"):
        convert(exported(tmp_path, model))


def test_a_plan_of_another_tensorrt_is_refused(tmp_path: Path, driver: fake.DriverLibrary) -> None:
    (tmp_path / TENSORRT_PLAN).write_bytes(b"of another")

    with pytest.raises(StageRefused, match=r"does not load model.plan: it was built by another"):
        open_session(tmp_path)


def test_a_plan_is_asked_like_an_onnx_file(job: ConvertJob, driver: fake.DriverLibrary) -> None:
    before = open_session(job.folder)
    convert(job)
    session = open_session(job.folder)

    (answer,) = session.run(["y"], {"x": np.array([[1, 2, 3]], np.float32)})

    assert answer.tolist() == [[2, 4, 6]]
    assert describe(session.get_inputs()) == describe(before.get_inputs())
    assert describe(session.get_outputs()) == describe(before.get_outputs())


def test_the_gpus_memory_is_given_back(job: ConvertJob, driver: fake.DriverLibrary) -> None:
    convert(job)

    assert driver.held == {}


def test_a_shape_outside_of_the_profile_is_refused(job: ConvertJob) -> None:
    convert(job)

    with pytest.raises(StageRefused, match=r"input x \[3, 3\] is outside of the plan"):
        open_session(job.folder).run(["y"], {"x": np.zeros((3, 3), np.float32)})
