"""Versions that go wrong, each in a way of its own, and a store of their own.

Model `labels` maps `x FP32[4]` to `scores FP32[5]`, in ONNX; `notes` does the same in Python.
`ranks` has the first of these scores alone. Version 1 of each is right. A wayward version was
trained wrong: its golden samples are what its own file computes, so they cannot tell.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from contract.intent import Intent, Tier
from contract.layout import ONNX_MODEL, Store, VersionFolder
from contract.manifest import Manifest, ShapeCost, Signature, record_files
from contract.samples import GoldenSample, Tensors, warmup_bytes, write_golden
from tests import builders
from tests.contract.test_embedded_triton import FLOAT, save_model

LABELS, NOTES, RANKS = "labels", "notes", "ranks"
INPUTS, OUTPUTS, MAX_BATCH = 4, 5, 8
WARMED_BATCHES = (1, 4, 8)
GOLDEN_BATCHES = (1, 2, 8, 8)
HELD_MIB = 300
"""More than such a process holds, about 90 MiB, so that only the comparison finds the leak."""

WEIGHTS = np.random.default_rng(0).normal(size=(INPUTS, OUTPUTS)).astype(np.float32)
USUAL_X = np.float32([0.1, -0.2, 0.3, 0.4])
RARE_X = np.float32([0.5, 0.25, -0.5, 1.0])
"""Its first number is one that no golden or warm-up sample has."""

SIZE = 256
PASSES, MANY_PASSES = 6, 60
"""Products of two matrices of SIZE x SIZE: about one millisecond, and ten."""
LARGE_BATCH, SLOW_BATCH = 4, 8
KEPT_BYTES, ANSWER_S = 2**21, 0.01
"""Of each request, and how long it takes: a leak is seen in seconds, and fills no machine."""

Compute = Callable[[Tensors], Tensors]

CONFIG = """name: "{model}"
backend: "{backend}"
max_batch_size: {max_batch}
input {{ name: "x" data_type: TYPE_FP32 dims: [{inputs}] }}
output {{ name: "scores" data_type: TYPE_FP32 dims: [{outputs}] }}
version_policy {{ latest {{ num_versions: 1 }} }}
instance_group {{ kind: KIND_CPU count: 1 }}
"""
WARM_UP = """model_warmup {{
  name: "b{batch}"
  batch_size: {batch}
  inputs {{
    key: "x"
    value {{ data_type: TYPE_FP32 dims: [{inputs}] input_data_file: "x.bin" }}
  }}
}}
"""
PYTHON_MODEL = """
import time

import numpy
import triton_python_backend_utils as pb_utils

WEIGHTS = numpy.array({weights}, numpy.float32)


class TritonPythonModel:
    def initialize(self, args):
        self.seen = []

    def execute(self, requests):
        return [self.answer(pb_utils.get_input_tensor_by_name(r, "x").as_numpy()) for r in requests]

    def answer(self, x):
        self.seen = {seen} + [b"x" * {kept_bytes}]
        time.sleep({answer_s})
        return pb_utils.InferenceResponse([pb_utils.Tensor("scores", x @ WEIGHTS)])
"""


def first_versions(store: Store) -> None:
    """Version 1 of each model, which is right."""
    trained(store, 1)
    python(store, 1, remembers=False)
    ranking(store, 1)


def trained(store: Store, version: int, *, seed: int = 0) -> None:
    """A good one; with another seed it was trained again, and differs a little."""
    noise = np.random.default_rng(seed).normal(size=WEIGHTS.shape) if seed else 0.0
    weights = WEIGHTS + np.float32(0.001) * noise
    _publish(store, version, [*_linear("scores", PASSES)], weights=weights)


def wrong_on_one_input(store: Store, version: int) -> None:
    """Right, but where the first number of x is that of RARE_X the scores are negated."""
    nodes = [
        *_linear("right", PASSES),
        helper.make_node("Neg", ["right"], ["wrong"]),
        helper.make_node("Slice", ["x", "begin", "end", "last_axis"], ["first"]),
        helper.make_node("Equal", ["first", "rare"], ["is_rare"]),
        helper.make_node("Where", ["is_rare", "wrong", "right"], ["scores"]),
    ]
    one = {"begin": np.int64([0]), "end": np.int64([1]), "last_axis": np.int64([-1])}
    _publish(store, version, nodes, constants={**one, "rare": RARE_X[:1]})


def not_a_number_in_large_batches(store: Store, version: int) -> None:
    nodes = [
        *_linear("right", PASSES),
        *_batch_size(),
        helper.make_node("GreaterOrEqual", ["batch", "large"], ["is_large"]),
        helper.make_node("Where", ["is_large", "nan", "right"], ["scores"]),
    ]
    constants = {"large": np.int64([LARGE_BATCH]), "nan": np.float32([np.nan])}
    _publish(store, version, nodes, constants=constants)


def slower_in_batches_of_8(store: Store, version: int) -> None:
    """Right and as fast as before in every other batch."""
    late = helper.make_graph(
        _work("late_delay", MANY_PASSES, "late"), "late", [], [_info("late_delay")]
    )
    soon = helper.make_graph(_work("soon_delay", PASSES, "soon"), "soon", [], [_info("soon_delay")])
    nodes = [
        *_batch_size(),
        helper.make_node("Equal", ["batch", "slow"], ["is_slow"]),
        helper.make_node("If", ["is_slow"], ["delay"], then_branch=late, else_branch=soon),
        helper.make_node("MatMul", ["x", "weights"], ["right"]),
        helper.make_node("Add", ["right", "delay"], ["scores"]),
    ]
    _publish(store, version, nodes, constants={"slow": np.int64([SLOW_BATCH])})


def fast_with_other_labels(store: Store, version: int) -> None:
    """In a part of the time, and each score is where its neighbour's was."""
    _publish(store, version, [*_linear("scores", 1)], weights=np.roll(WEIGHTS, 1, axis=1))


def ranking(store: Store, version: int, *, sign: int = 1) -> None:
    """A version of `ranks`; with the sign -1 it puts last what should be first."""
    weights = sign * WEIGHTS[:, :1]
    _publish(store, version, [*_linear("scores", PASSES)], model=RANKS, weights=weights)


def failing_warm_up(store: Store, version: int) -> None:
    """Looks a bias up by the last number of x; the warm-up's own is beyond the table."""
    nodes = [
        *_linear("right", PASSES),
        helper.make_node("Slice", ["x", "begin", "end", "last_axis"], ["last"]),
        helper.make_node("Cast", ["last"], ["row"], to=TensorProto.INT64),
        helper.make_node("Gather", ["biases", "row"], ["bias"]),
        helper.make_node("Add", ["right", "bias"], ["scores"]),
    ]
    constants = {
        "begin": np.int64([INPUTS - 1]),
        "end": np.int64([INPUTS]),
        "last_axis": np.int64([-1]),
        "biases": np.zeros(3, np.float32),
    }
    beyond = np.float32([0.1, -0.2, 0.3, 100.0])
    _publish(store, version, nodes, constants=constants, warm_up=beyond)


def with_another_signature(store: Store, version: int) -> None:
    """A sixth label."""
    weights = np.pad(WEIGHTS, ((0, 0), (0, 1)))
    _publish(store, version, [*_linear("scores", PASSES)], weights=weights)


def python(store: Store, version: int, *, remembers: bool) -> None:
    """A version of `notes`; it keeps two MiB of its last request, or `remembers` all of them."""
    text = PYTHON_MODEL.format(
        weights=WEIGHTS.tolist(),
        seen="self.seen" if remembers else "[]",
        kept_bytes=KEPT_BYTES,
        answer_s=ANSWER_S,
    )

    def write(folder: Path) -> Compute:
        folder.mkdir(parents=True)
        (folder / "model.py").write_text(text)
        return lambda inputs: {"scores": inputs["x"] @ WEIGHTS}

    _write_version(store, NOTES, version, "python", write)


def next_number(store: Store, model: str) -> int:
    return max(store.versions(model), default=0) + 1


def rows(batch: int, *, seed: int = 0) -> Tensors:
    """A request of so many rows of random numbers, none above 1."""
    drawn = np.random.default_rng(seed).uniform(-1, 1, (batch, INPUTS))
    return {"x": drawn.astype(np.float32)}


def _linear(output: str, passes: int) -> Sequence[NodeProto]:
    """x times the weights, in a time that `passes` say."""
    return (
        helper.make_node("MatMul", ["x", "weights"], [f"{output}_product"]),
        *_work(f"{output}_delay", passes, output),
        helper.make_node("Add", [f"{output}_product", f"{output}_delay"], [output]),
    )


def _work(output: str, passes: int, prefix: str) -> Sequence[NodeProto]:
    """A zero that takes time: of x, else ONNX Runtime computes it when it loads the file."""
    names = [f"{prefix}_{number}" for number in range(passes + 1)]
    return (
        helper.make_node("ReduceMean", ["x"], [f"{prefix}_mean"], keepdims=0),
        helper.make_node("Expand", [f"{prefix}_mean", "square"], [names[0]]),
        *(
            helper.make_node("MatMul", [before, "mixer"], [after])
            for before, after in pairwise(names)
        ),
        helper.make_node("ReduceMax", [names[-1]], [f"{prefix}_most"], keepdims=0),
        helper.make_node("Mul", [f"{prefix}_most", "zero"], [output]),
    )


def _batch_size() -> Sequence[NodeProto]:
    return (helper.make_node("Shape", ["x"], ["batch"], start=0, end=1),)


def _info(name: str) -> ValueInfoProto:
    """Of a scalar."""
    return helper.make_tensor_value_info(name, FLOAT, [])


def _publish(
    store: Store,
    version: int,
    nodes: Sequence[NodeProto],
    *,
    model: str = LABELS,
    constants: Mapping[str, NDArray[np.generic]] | None = None,
    weights: NDArray[np.float32] = WEIGHTS,
    warm_up: NDArray[np.float32] = USUAL_X,
) -> None:
    """A version in ONNX."""

    def write(folder: Path) -> Compute:
        file = folder / ONNX_MODEL
        given = {
            "weights": weights.astype(np.float32),
            "square": np.int64([SIZE, SIZE]),
            "mixer": np.full((SIZE, SIZE), 1 / SIZE, np.float32),
            "zero": np.float32(0.0),
            **(constants or {}),
        }
        x, scores = ("x", FLOAT, ["n", INPUTS]), ("scores", FLOAT, ["n", weights.shape[1]])
        save_model(file, nodes, [x], [scores], constants=given)
        session = onnxruntime.InferenceSession(file)
        return lambda inputs: {"scores": session.run(["scores"], inputs)[0]}

    _write_version(
        store, model, version, "onnxruntime", write, outputs=weights.shape[1], warm_up=warm_up
    )


def _write_version(
    store: Store,
    model: str,
    version: int,
    backend: str,
    write: Callable[[Path], Compute],
    *,
    outputs: int = OUTPUTS,
    warm_up: NDArray[np.float32] = USUAL_X,
) -> None:
    """Everything that the generator publishes, and at once."""
    staging = VersionFolder(store.model(model) / f".tmp-{version}")
    compute = write(staging.path)
    staging.warmup.mkdir()
    (staging.warmup / "x.bin").write_bytes(warmup_bytes(warm_up))
    staging.config.write_text(_config(model, backend, outputs))
    requests = [rows(batch, seed=100 * version + n) for n, batch in enumerate(GOLDEN_BATCHES)]
    write_golden(staging.golden, [GoldenSample(inputs, compute(inputs)) for inputs in requests])
    staging.manifest.write_text(
        _manifest(model, version, staging, compute, outputs).model_dump_json()
    )
    store.intent(model).write_text(Intent(tier=Tier.HOT).model_dump_json())
    staging.path.rename(store.version(model, version).path)


def _config(model: str, backend: str, outputs: int) -> str:
    warm_ups = (WARM_UP.format(batch=batch, inputs=INPUTS) for batch in WARMED_BATCHES)
    return "".join(
        [
            CONFIG.format(
                model=model, backend=backend, max_batch=MAX_BATCH, inputs=INPUTS, outputs=outputs
            ),
            *warm_ups,
        ]
    )


def _manifest(
    model: str, version: int, folder: VersionFolder, compute: Compute, outputs: int
) -> Manifest:
    signature = Signature(
        inputs=(builders.tensor("x", INPUTS),),
        outputs=(builders.tensor("scores", outputs),),
        max_batch_size=MAX_BATCH,
    )
    files = record_files(folder.path)
    written = builders.manifest(model, version, files=files, signed=signature)
    held_bytes = HELD_MIB * builders.MIB
    cost = replace(
        written.cost,
        disk_bytes=sum(file.bytes for file in files.values()),
        private_bytes=held_bytes,
        peak_bytes=held_bytes,
        shapes=tuple(_shape_cost(batch, compute) for batch in WARMED_BATCHES),
    )
    return written.model_copy(update={"tolerances": {"scores": 1e-3}, "cost": cost})


def _shape_cost(batch: int, compute: Compute) -> ShapeCost:
    runs_ms = []
    for _ in range(3):
        began_s = time.perf_counter()
        compute(rows(batch))
        runs_ms.append((time.perf_counter() - began_s) * 1e3)
    return ShapeCost(
        batch=batch, dims={}, first_ms=runs_ms[0], steady_ms=runs_ms[-1], runs_until_steady=1
    )
