from pathlib import Path
from typing import Any

import pytest

from generator.recipe import load_recipe
from tests.unit.generator.entries import DENSE, IDS, entry, raw
from tests.unit.generator.recipe.test_recipe import refusal, write

START = {"name": "start", "control": "start"}
MEMORY = {"name": "memory_in", "dtype": "FP32", "shape": [4]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"instances": 0}, "instances.count: Input should be greater than 0"),
        ({"instances": []}, "instances.groups: needs at least one entry"),
        (
            {"instances": [{"kind": "gpus"}]},
            "instances.groups.0.kind: 'gpus' cannot stand here; did you mean 'gpu'? It takes 'cpu'",
        ),
        (
            {"instances": [{"kind": "cpu", "gpus": [0]}]},
            "kind cpu and gpus [0] exclude each other; write kind: gpu",
        ),
        ({"batching": {"preferred": "fast"}}, "batching.preferred: Input should be a valid tuple"),
        ({"batching": {}, "sequence": {}}, "sequence and batching exclude each other"),
        ({"sequence": {"strategy": "oldest"}}, "strategy oldest: write max_candidates"),
        ({"sequence": {"preferred": [4]}}, "are of strategy oldest; write it, or take them out"),
        ({"inputs": [DENSE, START]}, "input start has control: start; write `sequence: {}`"),
        ({"sequence": {"states": {"ids": "memory"}}}, "ids: memory is no input with an output"),
        ({"version_policy": 0}, "version_policy"),
        ({"variants": {"../up": {}}}, "variants: '../up' is no name"),
        (
            {"variants": {"gpu": {"format": "onnx-fp16"}}},
            "variants.gpu.format: onnx-fp16 needs another file than onnx",
        ),
        ({"variants": {"gpu": {"instnces": 2}}}, "did you mean 'instances'?"),
        (
            {"config": {"dynamic_batching": {"prefered_batch_size": [4]}}},
            "model ranker: config: unknown field dynamic_batching.'prefered_batch_size'; "
            "did you mean 'preferred_batch_size'?",
        ),
        (
            {"variants": {"gpu": {"config": {"nam": "x"}}}},
            "variants.gpu.config: unknown field 'nam'",
        ),
    ],
)
def test_says_what_is_impossible(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    assert said in refusal(write(tmp_path, raw(**change)))


def test_numbers_may_be_keys_of_a_passthrough(tmp_path: Path) -> None:
    """As YAML reads them."""
    policy = {"dynamic_batching": {"priority_queue_policy": {1: {"max_queue_size": 3}}}}

    (model,) = load_recipe(write(tmp_path, raw(config=policy))).models
    assert model.config["dynamic_batching"] == {
        "priority_queue_policy": {"1": {"max_queue_size": 3}}
    }


def test_auto_stands_for_powers_of_two_that_are_measured() -> None:
    batching = entry(batching={"preferred": "auto"}).batching

    assert batching
    assert batching.measured
    assert batching.within(48).preferred == (1, 2, 4, 8, 16, 32)
    assert entry(batching={}).batching == entry(batching={"preferred": []}).batching


def test_sizes_that_are_written_stay_as_they_are() -> None:
    batching = entry(batching={"preferred": [3, 5], "measured": True}).batching

    assert batching
    assert batching.within(48) == batching


def test_a_state_leads_from_an_input_to_an_output() -> None:
    model = entry(
        inputs=[IDS, MEMORY],
        outputs=["score", "memory_out"],
        sequence={"states": {"memory_in": "memory_out"}},
    )

    assert model.sequence
    assert model.sequence.states == {"memory_in": "memory_out"}


def test_a_variant_may_go_from_the_cpu_to_tensorrt_with_the_same_file() -> None:
    assert entry(variants={"gpu": {"target": "gpu", "format": "onnx-tensorrt"}}).variants
