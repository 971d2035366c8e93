"""Configs in the real Triton: golden ones, a built one with its variant, and sequences."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from contract.config import ModelConfig, parse_config
from contract.layout import CONFIG, CONFIGS, ONNX_MODEL, WARMUP, Store
from contract.manifest import read_manifest
from contract.warmup import datatype_from_config
from embedded.process import wait_until
from embedded.provision import Installation
from generator.config.render import render
from tests.contract.test_embedded_triton import to_input
from tests.e2e.tiny import Workshop
from tests.fixtures.embedded import running_triton
from tests.golden.cases import CONFIGS as GOLDEN

pytestmark = [pytest.mark.triton, pytest.mark.timeout(600)]

VARIANT = "two"
# The others want a GPU, an agent, or a host policy that has to be given to the server.
ON_CPU = ("tables_on_cpu", "without_batches", "measured_batches", "labels", "optional_input")
SEQUENCES = ("stateful", "states_kept_by_triton")

SCORED = """
import torch
from torch import nn


class Scored(nn.Module):
    def __init__(self):
        super().__init__()
        self.classes = nn.Linear(4, 3)

    def forward(self, x):
        classes = self.classes(x)
        return classes, classes.sum(1)


class Summing(nn.Module):
    def forward(self, x, start, session):
        return x.sum(1, keepdim=True) * (1 - start) + session * 0


def create():
    return Scored().eval()


def summing():
    return Summing().eval()
"""
SUMMING = {
    "name": "summing",
    "source": "scored:summing",
    "inputs": [
        {"name": "x", "dtype": "FP32", "shape": [4]},
        {"name": "start", "control": "start", "dtype": "FP32"},
        {"name": "session", "control": "corrid"},
    ],
    "outputs": ["y"],
    "max_batch_size": 4,
    "sequence": {},
}
ENTRY = {
    "name": "scored",
    "source": "scored:create",
    "inputs": [{"name": "x", "dtype": "FP32", "shape": [4]}],
    "outputs": [{"name": "classes", "labels": "classes.txt"}, "sum"],
    "max_batch_size": 8,
    "batching": {"preferred": "auto"},
    "config": {"parameters": {"intra_op_thread_count": {"string_value": "1"}}},
    "variants": {VARIANT: {"instances": [{"kind": "cpu", "count": 2}]}},
}

# Answers with what the sequence batcher wrote into `start` and `corrid`.
ECHO = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            given = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
            taste = np.zeros((len(given["dense"]), 128), np.float32)
            taste[:, 0], taste[:, 1] = given["start"][:, 0], given["corrid"][:, 0]
            taste[:, 2] = given["ready"][:, 0]
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("taste", taste)]))
        return responses
"""


@dataclass
class Served:
    store: Store
    client: triton.InferenceServerClient

    def written(self, model: str) -> ModelConfig:
        """Its main config in the store."""
        return parse_config(self.store.version(model, 1).config.read_text(), model)

    def config(self, model: str) -> ModelConfig:
        return self.client.get_model_config(model).config

    def inferences(self, model: str) -> int:
        (counted,) = self.client.get_inference_statistics(model).model_stats
        return int(counted.inference_count)


@pytest.fixture(scope="module")
def served(
    installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """One server for all, started with `--model-config-name`."""
    root = tmp_path_factory.mktemp("configs")
    workshop = Workshop.at(root)
    (workshop.folder / "scored.py").write_text(SCORED)
    (workshop.folder / "classes.txt").write_text("cat\ndog\ncow\n")
    report = workshop.build(ENTRY, SUMMING)
    assert not report.failed, report.failed
    for name in ON_CPU:
        add_golden(workshop.store, name)
    for name in SEQUENCES:
        add_golden(workshop.store, name, backend="python")
    with (
        running_triton(
            with_options(installation, root, f"--model-config-name={VARIANT}"),
            workshop.store.root,
            root / "triton.log",
        ) as server,
        triton.InferenceServerClient(server.grpc_address) as client,
    ):
        yield Served(workshop.store, client)


def with_options(installation: Installation, folder: Path, *options: str) -> Installation:
    """A tritonserver that is always started with these."""

    class Optioned(Installation):
        @property
        def tritonserver(self) -> Path:
            return script

    script = folder / "tritonserver"
    script.write_text(f'#!/bin/sh\nexec {installation.tritonserver} {" ".join(options)} "$@"\n')
    script.chmod(0o755)
    return Optioned(installation.home, installation.library_folder)


def add_golden(store: Store, name: str, *, backend: str = "onnxruntime") -> None:
    """A model under the golden config's name, that takes and answers what the config says."""
    config = GOLDEN[name]
    text = render(config).replace(f'name: "{config.name}"', f'name: "{name}"', 1)
    folder = store.model(name)
    (folder / "1").mkdir(parents=True)
    (folder / WARMUP).mkdir()
    if backend == "python":
        text = text.replace('backend: "onnxruntime"', 'backend: "python"')
        text = text.replace(ONNX_MODEL, "model.py")
        (folder / "1/model.py").write_text(ECHO)
    else:
        onnx.save(graph_for(parse_config(text, name)), folder / "1" / ONNX_MODEL)
    (folder / CONFIG).write_text(text)
    for tensor in parse_config(text, name).output:
        if tensor.label_filename:
            (folder / tensor.label_filename).parent.mkdir()
            (folder / tensor.label_filename).write_text("one\ntwo\nthree\n")
    for sample in parse_config(text, name).model_warmup:
        for tensor in sample.inputs.values():
            zeros = np.zeros(tensor.dims, datatype_from_config(tensor.data_type).numpy)
            (folder / WARMUP / tensor.input_data_file).write_bytes(zeros.tobytes())


def graph_for(config: ModelConfig) -> onnx.ModelProto:
    """Zeros of the right shape; the batch is the first input's."""
    batch = ["batch"] if config.max_batch_size else []
    constants = {"zero": np.float32(0), "first": np.int64([0])}
    nodes = [helper.make_node("Shape", [config.input[0].name], ["sizes"])]
    nodes.append(helper.make_node("Gather", ["sizes", "first"], ["rows"]))
    for tensor in config.output:
        dims = list(tensor.reshape.shape) if tensor.HasField("reshape") else list(tensor.dims)
        shape = f"{tensor.name}.shape"
        constants[f"{tensor.name}.dims"] = np.array(dims, np.int64)
        parts = ["rows"] * len(batch) + [f"{tensor.name}.dims"]
        nodes.append(helper.make_node("Concat", parts, [shape], axis=0))
        nodes.append(helper.make_node("Expand", ["zero", shape], [tensor.name]))
    for tensor in config.input:
        if tensor.optional:
            dtype = datatype_from_config(tensor.data_type).numpy
            constants[tensor.name] = np.zeros(list(tensor.dims), dtype)
    graph = helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info(tensor.name, onnx_type(tensor), [*batch, *sizes(tensor)])
            for tensor in config.input
        ],
        [
            helper.make_tensor_value_info(
                tensor.name,
                TensorProto.FLOAT,
                [*batch, *([] if tensor.HasField("reshape") else sizes(tensor))],
            )
            for tensor in config.output
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def sizes(tensor: ModelConfig) -> list[int | str]:
    return [size if size > 0 else f"{tensor.name}_{axis}" for axis, size in enumerate(tensor.dims)]


def onnx_type(tensor: ModelConfig) -> int:
    return helper.np_dtype_to_tensor_dtype(datatype_from_config(tensor.data_type).numpy)


def ask(served: Served, model: str, x: NDArray[np.generic], **how: object) -> triton.InferResult:
    return served.client.infer(model, [to_input("x", x)], **how)


@pytest.mark.parametrize("name", [*ON_CPU, *SEQUENCES])
def test_triton_loads_a_golden_config_and_warms_with_it(served: Served, name: str) -> None:
    served.client.load_model(name)

    assert served.client.is_model_ready(name)
    warmed = sum(warmup.batch_size * warmup.count for warmup in GOLDEN[name].warmups)
    # Triton counts a moment after it has answered.
    assert wait_until(lambda: served.inferences(name) == warmed, 30), served.inferences(name)


def test_triton_takes_the_variant_that_it_was_started_with(served: Served) -> None:
    served.client.load_model("scored")

    (group,) = served.config("scored").instance_group
    assert group.count == 2
    assert served.written("scored").instance_group[0].count == 1


def test_a_model_without_that_variant_takes_its_main_config(served: Served) -> None:
    served.client.load_model("tables_on_cpu")

    assert not (served.store.model("tables_on_cpu") / CONFIGS).exists()
    assert served.config("tables_on_cpu").max_batch_size == 64


def test_what_was_passed_through_reaches_triton(served: Served) -> None:
    served.client.load_model("scored")

    assert served.config("scored").parameters["intra_op_thread_count"].string_value == "1"


def test_batch_sizes_to_prefer_were_measured(served: Served) -> None:
    sizes = served.written("scored").dynamic_batching.preferred_batch_size

    assert sizes
    assert set(sizes) <= {1, 2, 4, 8}


def test_an_output_of_one_number_per_element_arrives_as_a_column(served: Served) -> None:
    """Triton knows no tensors without dimensions beside the batch."""
    served.client.load_model("scored")
    x = np.ones((3, 4), np.float32)

    answer = ask(served, "scored", x)
    classes, total = answer.as_numpy("classes"), answer.as_numpy("sum")
    assert total.shape == (3, 1)
    assert total[:, 0] == pytest.approx(classes.sum(1), rel=1e-5)


def test_clients_get_the_labels_of_classes(served: Served) -> None:
    served.client.load_model("scored")
    wanted = triton.InferRequestedOutput("classes", class_count=1)

    answer = ask(served, "scored", np.ones((1, 4), np.float32), outputs=[wanted])
    (best,) = answer.as_numpy("classes").ravel()
    assert best.decode().rpartition(":")[2] in ("cat", "dog", "cow")


def test_clients_of_a_sequence_do_not_know_of_its_control_inputs(served: Served) -> None:
    config = served.written("summing")
    manifest = read_manifest(served.store.version("summing", 1).manifest)

    assert [tensor.name for tensor in config.input] == ["x"]
    assert [control.name for control in config.sequence_batching.control_input] == [
        "start",
        "session",
    ]
    assert [tensor.name for tensor in manifest.signature.inputs] == ["x"]
    assert {len(warmup.inputs) for warmup in config.model_warmup} == {3}


def test_the_sequence_batcher_fills_the_control_inputs(served: Served) -> None:
    served.client.load_model("stateful")
    dense = to_input("dense", np.zeros((1, 13), np.float32))

    def step(*, start: bool, end: bool) -> list[float]:
        answer = served.client.infer(
            "stateful", [dense], sequence_id=42, sequence_start=start, sequence_end=end
        )
        return list(answer.as_numpy("taste")[0, :3])

    assert step(start=True, end=False) == [1, 42, 1]
    assert step(start=False, end=True) == [0, 42, 1]
