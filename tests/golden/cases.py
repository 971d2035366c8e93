"""What the golden configs are rendered from."""

from typing import Any

from contract.dtypes import Datatype
from contract.manifest import ShapeCost
from generator.accelerators import Accelerator, execution_accelerator
from generator.config.derive import Findings, derive
from generator.config.triton import TritonConfig
from generator.recipe import ModelRecipe, Target
from generator.reports import GraphTensor
from generator.samples import warmup
from tests.unit.generator.entries import DENSE, IDS, entry, sequence

START = {"name": "start", "control": "start", "dtype": "FP32"}
READY = {"name": "ready", "control": "ready"}
CORRID = {"name": "corrid", "control": "corrid"}
MEMORY = {"name": "memory_in", "dtype": "FP32", "shape": [32]}

PASSTHROUGH = {
    "dynamic_batching": {
        "priority_levels": 2,
        "default_priority_level": 2,
        "priority_queue_policy": {1: {"max_queue_size": 100, "timeout_action": "DELAY"}},
    },
    "instance_group": [{"host_policy": "first_socket", "profile": ["0"]}],
    "input": [{"name": "ids", "allow_ragged_batch": True}],
    "optimization": {
        "cuda": {"graphs": True, "graph_spec": [{"batch_size": 1}]},
        "input_pinned_memory": {"enable": False},
    },
    "parameters": {"intra_op_thread_count": {"string_value": "2"}},
    "metric_tags": {"team": "ranking"},
    "model_repository_agents": {"agents": [{"name": "checksum"}]},
}


def output(name: str, *shape: int, datatype: Datatype = Datatype.FP32) -> GraphTensor:
    return GraphTensor(name=name, datatype=datatype, shape=shape)


def cost(batch: int, steady_ms: float) -> ShapeCost:
    return ShapeCost(
        batch=batch, dims={}, first_ms=2 * steady_ms, steady_ms=steady_ms, runs_until_steady=2
    )


def config(
    model: ModelRecipe,
    *outputs: GraphTensor,
    target: Target = "cpu",
    accelerator: Accelerator | None = None,
    **found: Any,
) -> TritonConfig:
    samples = warmup.plan(model, target=target)
    findings = Findings(outputs=outputs, samples=samples, **found)
    return derive(model, findings, target=target, accelerator=accelerator)


SCORE = output("score", -1, 1)
TABLES = entry(batching={"preferred": [16, 64], "max_queue_delay_us": 200})
GROUPS = [
    {"kind": "gpu", "count": 2, "gpus": [0, 2], "resources": {"weights": 4}, "priority": 2},
    {"kind": "cpu"},
]
STREAM = sequence(
    inputs=[DENSE, START, READY, CORRID],
    dims={},
    sequence={"strategy": "oldest", "max_candidates": 32, "preferred": [4, 8]},
)
ACCELERATED = sequence(format="onnx-tensorrt")

CONFIGS = {
    "tables_on_cpu": config(TABLES, SCORE, counts={"b64": 3, "b16": 2}),
    "sequence_on_gpu": config(
        sequence(instances=2, batching={}), output("taste", -1, -1, 128), target="gpu"
    ),
    "without_batches": config(sequence(max_batch_size=0), output("taste", 128), target="auto"),
    "measured_batches": config(
        entry(batching={"preferred": "auto", "preserve_ordering": True}),
        SCORE,
        costs=[cost(batch, 1.0 + 0.2 * batch) for batch in (1, 2, 4, 8, 16, 32, 64)],
    ),
    "instance_groups": config(
        entry(instances=GROUPS, version_policy="all", response_cache=True), SCORE, target="gpu"
    ),
    "stateful": config(STREAM, output("taste", -1, 128)),
    "states_kept_by_triton": config(
        entry(
            inputs=[DENSE, MEMORY],
            outputs=["score", "memory_out"],
            sequence={"states": {"memory_in": "memory_out"}},
        ),
        SCORE,
        output("memory_out", -1, 32),
    ),
    "labels": config(
        entry(outputs=[{"name": "kind", "labels": "kinds.txt"}, "seconds"]),
        output("kind", -1, 3),
        output("seconds", -1),
    ),
    "optional_input": config(
        entry(inputs=[DENSE, IDS | {"optional": True, "default": 0}], max_batch_size=0),
        output("score", 1),
    ),
    "half_precision": config(entry(format="onnx-fp16"), SCORE, target="gpu", graph_level=1),
    "accelerated": config(
        ACCELERATED,
        output("taste", -1, 128),
        target="gpu",
        accelerator=execution_accelerator(ACCELERATED, "25.08", graph_sha256="0" * 64),
    ),
    "plan": config(entry(format="tensorrt"), SCORE, target="gpu"),
    "passthrough": config(entry(batching={"max_queue_delay_us": 200}, config=PASSTHROUGH), SCORE),
}
