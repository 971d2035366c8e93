from typing import Any

import pytest

from generator.accelerators import (
    CUDA_KEYS_OF_PARAMETERS,
    TENSORRT_KEYS,
    Accelerator,
    Profile,
    execution_accelerator,
    profiles,
    served_limits,
)
from generator.recipe import ModelRecipe
from tests.unit.generator.entries import entry, sequence


def accelerated(release: str = "25.08", graph: str = "a", **changes: Any) -> dict[str, str]:
    model = sequence(**{"format": "onnx-tensorrt"} | changes)
    accelerator = execution_accelerator(model, release, graph_sha256=graph)
    assert accelerator
    return accelerator.parameters


@pytest.mark.parametrize("kind", ["onnx", "onnx-fp16", "tensorrt"])
def test_only_onnx_tensorrt_has_an_accelerator(kind: str) -> None:
    assert execution_accelerator(entry(format=kind), "25.08", graph_sha256="a") is None


def test_the_whole_accelerator() -> None:
    model = sequence(
        format={"kind": "onnx-tensorrt", "workspace_bytes": 1 << 30, "cache_dir": "/engines"}
    )

    accelerator = execution_accelerator(model, "25.08", graph_sha256="a")

    assert accelerator == Accelerator(
        name="tensorrt",
        parameters={
            "max_workspace_size_bytes": "1073741824",
            "trt_builder_optimization_level": "3",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": "/engines/pilotlight-encoder-fc6f07c1dc950898",
            "trt_engine_cache_prefix": "encoder",
            "trt_profile_max_shapes": "tokens:8x64,mask:8x64",
            "trt_profile_min_shapes": "tokens:1x1,mask:1x1",
            "trt_profile_opt_shapes": "tokens:8x16,mask:8x16",
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": "/engines/pilotlight-encoder-timing-25.08",
        },
    )


def test_every_key_is_one_that_the_backend_takes() -> None:
    assert accelerated(format={"kind": "onnx-tensorrt", "workspace_bytes": 1}).keys() <= (
        TENSORRT_KEYS
    )
    assert not TENSORRT_KEYS & CUDA_KEYS_OF_PARAMETERS


@pytest.mark.parametrize(
    "other",
    [
        {"graph": "b"},
        {"name": "twin"},
        {"release": "25.10"},
        {"max_batch_size": 4},
        {"format": {"kind": "onnx-tensorrt", "optimization_level": 1}},
    ],
)
def test_whatever_changes_an_engine_changes_where_it_is_kept(other: dict[str, Any]) -> None:
    assert accelerated()["trt_engine_cache_path"] != accelerated(**other)["trt_engine_cache_path"]


def test_the_next_version_finds_the_timings_of_the_one_before() -> None:
    before, after = accelerated(graph="a"), accelerated(graph="b")

    assert before["trt_timing_cache_path"] == after["trt_timing_cache_path"]


def test_cache_folders_lie_directly_in_the_folder_that_is_there() -> None:
    """ONNX Runtime creates one level; with a missing parent the load fails."""
    found = accelerated(format={"kind": "onnx-tensorrt", "cache_dir": "/engines/"})

    for key in ("trt_engine_cache_path", "trt_timing_cache_path"):
        assert found[key].rpartition("/")[0] == "/engines"


def test_an_engine_is_fastest_at_the_largest_preferred_batch() -> None:
    (tokens, _) = profiles(sequence(batching={"preferred": [2, 4]}))

    assert tokens == Profile(input="tokens", min=(1, 1), opt=(4, 16), max=(8, 64))


@pytest.mark.parametrize(
    ("model", "shapes"),
    [
        (entry(), [("dense", (1, 13), (64, 13)), ("ids", (1, 6), (64, 6))]),
        (sequence(max_batch_size=0), [("tokens", (1,), (64,)), ("mask", (1,), (64,))]),
        (entry(max_batch_size=0), []),
    ],
)
def test_an_input_has_a_profile_where_a_dimension_varies(
    model: ModelRecipe, shapes: list[tuple[str, Any, Any]]
) -> None:
    assert [(each.input, each.min, each.max) for each in profiles(model)] == shapes


def test_a_model_of_fixed_shapes_names_no_profile() -> None:
    found = accelerated(inputs=entry().model_dump()["inputs"], dims={}, max_batch_size=0)

    assert not [key for key in found if key.startswith("trt_profile")]


_ON_GPU_TOO = {"instances": [{"kind": "cpu"}, {"kind": "gpu"}]}
_IN_A_VARIANT = {"variants": {"fast": {"target": "gpu"}}}


@pytest.mark.parametrize(
    ("target", "changes"),
    [("gpu", {}), ("auto", {}), ("cpu", _ON_GPU_TOO), ("cpu", _IN_A_VARIANT)],
)
def test_a_server_that_may_compute_in_tf32_is_given_its_error(
    target: Any, changes: dict[str, Any]
) -> None:
    found = served_limits(entry(**changes), target, {"score": 1e-5, "deep": 0.01})

    assert found == {"score": 2e-3, "deep": 0.01}


@pytest.mark.parametrize(
    ("target", "changes"),
    [
        ("cpu", {}),
        ("gpu", {"instances": [{"kind": "cpu"}]}),
        ("gpu", {"format": "tensorrt"}),
        ("gpu", {"tolerance": 1e-5}),
    ],
)
def test_others_are_held_to_what_was_verified(target: Any, changes: dict[str, Any]) -> None:
    assert served_limits(entry(**changes), target, {"score": 1e-5}) == {"score": 1e-5}
