"""Whatever small model is built: Triton loads and warms it, and it answers as PyTorch does."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import tritonclient.grpc
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from contract.compare import compare
from contract.dtypes import datatype_of
from contract.manifest import read_manifest
from contract.samples import Tensors
from embedded.provision import Installation
from embedded.triton import TritonServer
from generator.recipe import ModelRecipe
from generator.samples.shapes import Shape
from generator.samples.tensors import draw_batch
from tests.e2e.generator import random_models
from tests.e2e.tiny import Workshop
from tests.fixtures.embedded import running_triton

pytestmark = [pytest.mark.build, pytest.mark.triton, pytest.mark.timeout(600)]

_UNTRIED = 99
"""A draw of values that no build makes."""

_KINDS = {"FP32": "number", "FP16": "number", "BOOL": "flag", "INT64": "ids", "INT32": "ids"}


@st.composite
def dims(draw: st.DrawFn) -> dict[str, int]:
    step = draw(st.sampled_from([1, 2]))
    low, between, high = sorted(draw(st.lists(st.integers(1, 9), min_size=3, max_size=3)))
    high += low == high
    return {"min": low * step, "opt": between * step, "max": high * step, "multiple_of": step}


@st.composite
def recipes(draw: st.DrawFn) -> tuple[dict[str, Any], Shape]:
    """An entry of a recipe, and a shape within its ranges."""
    sizes = st.one_of(st.integers(1, 4), st.sampled_from(["rows", "columns"]))
    shapes = st.lists(sizes, min_size=1, max_size=3)
    datatypes = draw(st.lists(st.sampled_from([*_KINDS]), min_size=1, max_size=3))
    inputs = []
    for name, datatype in zip("abc", datatypes, strict=False):
        spec: dict[str, Any] = {"name": name, "dtype": datatype, "shape": draw(shapes)}
        if _KINDS[datatype] == "ids":
            spec["range"] = [0, random_models.IDS]
        inputs.append(spec)
    named = {size for spec in inputs for size in spec["shape"] if isinstance(size, str)}
    ranges = {name: draw(dims()) for name in sorted(named)}
    outputs = draw(
        st.lists(
            st.sampled_from(["mixed", "mirror", "count", "any", "level"]),
            min_size=1,
            max_size=3,
            unique=True,
        )
    )
    largest = draw(st.sampled_from([0, 1, 3, 8]))
    kinds = [_KINDS[datatype] for datatype in datatypes]
    entry: dict[str, Any] = {
        "name": "random",
        "source": "random_models:create",
        "args": {"kinds": kinds, "outputs": outputs, "lead": int(largest > 0)},
        "inputs": inputs,
        "dims": ranges,
        "outputs": outputs,
        "max_batch_size": largest,
    }
    if largest > 1 and draw(st.booleans()):
        entry["batching"] = {"preferred": [2], "max_queue_delay_us": 100}
    asked = tuple(
        (name, draw(st.integers(dim["min"] // step, dim["max"] // step)) * step)
        for name, dim in ranges.items()
        for step in [dim["multiple_of"]]
    )
    return entry, Shape(draw(st.integers(1, max(1, largest))), asked)


@pytest.fixture(scope="module")
def server(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    home = tmp_path_factory.mktemp("random")
    (home / "repository").mkdir()
    with running_triton(installation, home / "repository", home / "log") as triton:
        yield triton


@given(drawn=recipes())
@settings(
    max_examples=2,
    deadline=None,
    # The same each time: who looks for more takes more examples, and leaves this out.
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_what_builds_loads_warms_and_answers_like_pytorch(
    drawn: tuple[dict[str, Any], Shape],
    server: TritonServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    entry, shape = drawn
    note(f"{entry} at {shape}")
    workshop = Workshop.at(tmp_path_factory.mktemp("workshop"))
    shutil.copy(random_models.__file__, workshop.folder)

    report = workshop.build(entry)

    assert [failure.reason for failure in report.failed] == []
    model = ModelRecipe.model_validate(entry)
    inputs = draw_batch(model, shape, draw=_UNTRIED)
    limits = read_manifest(workshop.version(1, "random").manifest).tolerances
    differences = compare(
        served(server, workshop.store.model("random"), inputs, model.output_names),
        computed(model, inputs),
        limits,
    )
    assert [difference.reason for difference in differences if difference.reason] == []


def served(server: TritonServer, built: Path, inputs: Tensors, outputs: list[str]) -> Tensors:
    """What Triton answers; a plain Triton takes the store's folder as it is."""
    folder = server.repository / built.name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(built, folder)
    asked = []
    for name, array in inputs.items():
        tensor = tritonclient.grpc.InferInput(name, list(array.shape), str(datatype_of(array)))
        tensor.set_data_from_numpy(array)
        asked.append(tensor)
    with tritonclient.grpc.InferenceServerClient(server.grpc_address) as client:
        client.load_model(built.name)
        answer = client.infer(built.name, asked)
        client.unload_model(built.name)
    return {name: answer.as_numpy(name) for name in outputs}


def computed(model: ModelRecipe, inputs: Tensors) -> Tensors:
    torch.manual_seed(model.seed)
    module = random_models.create(**model.args)  # type: ignore[arg-type]
    with torch.no_grad():
        answers = module(*(torch.from_numpy(array) for array in inputs.values()))
    return {name: answer.numpy() for name, answer in zip(model.output_names, answers, strict=True)}
