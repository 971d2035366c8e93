from typing import Any

import pytest

from contract.config import parse_config
from generator.config.configs import configs
from generator.config.derive import Findings
from generator.errors import ConfigRefused
from generator.reports import GraphTensor
from generator.samples import warmup
from tests.golden.cases import SCORE
from tests.unit.generator.entries import entry

GPU = {"target": "gpu", "instances": 2, "format": "onnx-tensorrt"}


def texts(outputs: tuple[GraphTensor, ...] = (SCORE,), **changes: Any) -> dict[str, str]:
    model = entry(**changes)
    found = Findings(outputs=outputs, samples=warmup.plan(model, target="cpu"))
    return configs(model, found, target="cpu", release="25.08", hash_graph=lambda: "0" * 64)


def read(**changes: Any) -> dict[str, Any]:
    return {path: parse_config(text, path) for path, text in texts(**changes).items()}


def test_a_model_without_variants_has_one_config() -> None:
    assert list(texts()) == ["config.pbtxt"]


def test_a_variant_is_complete_and_differs_in_what_it_says() -> None:
    found = read(batching={}, variants={"gpu": GPU})

    main, variant = found["config.pbtxt"], found["configs/gpu.pbtxt"]
    (group,) = variant.instance_group
    assert (group.kind, group.count) == (group.KIND_GPU, 2)
    (accelerator,) = variant.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    for field in ("instance_group", "optimization"):
        variant.ClearField(field)
        main.ClearField(field)
    assert variant == main


def test_a_variants_passthrough_stands_in_place_of_the_models() -> None:
    found = read(
        config={"metric_tags": {"on": "cpu"}}, variants={"gpu": {"config": {"metric_tags": {}}}}
    )

    assert dict(found["config.pbtxt"].metric_tags) == {"on": "cpu"}
    assert dict(found["configs/gpu.pbtxt"].metric_tags) == {}


def test_each_model_and_variant_has_engines_of_its_own() -> None:
    quick = GPU | {"format": {"kind": "onnx-tensorrt", "optimization_level": 1}}
    found = read(variants={"slow": GPU, "quick": quick})

    paths = {
        variant.optimization.execution_accelerators.gpu_execution_accelerator[0].parameters[
            "trt_engine_cache_path"
        ]
        for path, variant in found.items()
        if path != "config.pbtxt"
    }
    assert len(paths) == 2


def test_contradictions_of_a_variant_are_found_before_the_export() -> None:
    """When no output is known yet."""
    with pytest.raises(ConfigRefused, match=r"config\.max_batch_size is 4, the recipe makes it 64"):
        texts((), variants={"gpu": {"config": {"max_batch_size": 4}}})


def test_batch_sizes_of_a_gpu_are_not_measured_on_the_cpu() -> None:
    variant = {"target": "gpu", "batching": {"preferred": "auto"}}

    with pytest.raises(ConfigRefused, match="says nothing of target gpu; write the sizes"):
        texts(variants={"gpu": variant})


def test_tensorrt_is_not_for_the_cpu() -> None:
    with pytest.raises(ConfigRefused, match=r"configs/gpu\.pbtxt is of format onnx-tensorrt"):
        texts(variants={"gpu": {"format": "onnx-tensorrt"}})
