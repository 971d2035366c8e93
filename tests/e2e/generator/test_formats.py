"""Formats other than plain ONNX, exported for real; what needs a GPU is in `tests/gpu`."""

import onnx
import onnxruntime
import pytest
import yaml

from contract.compare import scaled_error
from contract.config import parse_config
from contract.layout import ONNX_MODEL
from contract.manifest import read_manifest
from contract.samples import read_golden
from generator.accelerators import TENSORRT_KEYS
from generator.build import build
from generator.events import BuildReport, Stage
from tests.e2e.tiny import Workshop, entry

pytestmark = [pytest.mark.build, pytest.mark.timeout(600)]

# The smallest model found that kills ONNX Runtime (1.23.2 to 1.31.1) in half precision.
_PRE_NORM = """
from torch import nn


class Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.layer = nn.TransformerEncoderLayer(
            4, 1, 4, batch_first=True, norm_first=True, dropout=0.0
        )

    def forward(self, ids):
        return self.layer(self.table(ids)).mean(1)


def encoder():
    return Encoder().eval()
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workshop, BuildReport]:
    """A recipe with one model of each format, built where there is no GPU; not to be changed."""
    workshop = Workshop.at(tmp_path_factory.mktemp("formats"))
    (workshop.folder / "encoder.py").write_text(_PRE_NORM)
    models = [
        entry(name="half", format="onnx-fp16"),
        entry(format={"kind": "onnx-tensorrt", "precision": "fp16"})
        | {"name": "encoder", "source": "encoder:encoder"},
        entry(name="plan", format="tensorrt"),
    ]
    recipe = workshop.folder / "models.yaml"
    recipe.write_text(yaml.safe_dump({"triton": "25.08", "target": "gpu", "models": models}))
    report = build(recipe, workshop.store.root, jobs=1, report=workshop.events.append)
    return workshop, report


def test_a_half_precision_model_answers_within_its_budget(
    built: tuple[Workshop, BuildReport],
) -> None:
    files = built[0].version(1, "half")
    limits = read_manifest(files.manifest).tolerances
    session = onnxruntime.InferenceSession(
        str(files.path / ONNX_MODEL), providers=["CPUExecutionProvider"]
    )

    errors = [
        scaled_error(session.run(["score"], sample.inputs)[0], sample.outputs["score"])
        for sample in read_golden(files.golden)
    ]

    assert 0 < max(errors) <= limits["score"]
    assert {output.type for output in session.get_outputs()} == {"tensor(float)"}


def test_its_weights_are_half(built: tuple[Workshop, BuildReport]) -> None:
    model = onnx.load(built[0].version(1, "half").path / ONNX_MODEL)

    weights = {
        item.name: item.data_type for item in model.graph.initializer if "weight" in item.name
    }

    assert weights
    assert set(weights.values()) == {onnx.TensorProto.FLOAT16}


def test_a_graph_that_kills_onnx_runtime_is_served_with_less_optimization(
    built: tuple[Workshop, BuildReport],
) -> None:
    workshop, _ = built
    halved = parse_config(workshop.version(1, "half").config.read_text(), "half")
    encoder = parse_config(workshop.version(1, "encoder").config.read_text(), "encoder")

    assert halved.optimization.graph.level == 0
    assert encoder.optimization.graph.level == 1


def test_onnx_runtime_is_told_of_tensorrt_in_keys_that_the_backend_takes(
    built: tuple[Workshop, BuildReport],
) -> None:
    files = built[0].version(1, "encoder")
    config = parse_config(files.config.read_text(), "encoder")

    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator

    assert accelerator.name == "tensorrt"
    assert set(accelerator.parameters) <= TENSORRT_KEYS
    assert accelerator.parameters["trt_profile_max_shapes"] == "ids:4x9"


def test_a_plan_is_refused_at_once_where_none_can_be_built_and_the_rest_is_built(
    built: tuple[Workshop, BuildReport],
) -> None:
    workshop, report = built
    (failure,) = report.failed

    assert [model.model for model in report.built] == ["half", "encoder"]
    assert failure.model == "plan"
    assert "format: onnx-tensorrt" in failure.reason
    assert [event.stage for event in workshop.events if event.model == "plan"] == [Stage.FAILED]
    assert not workshop.store.model("plan").exists()
