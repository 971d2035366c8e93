from typing import Any

import pytest
from pydantic import ValidationError

from generator.recipe import Recipe
from generator.recipe.formats import AS_WRITTEN, OnnxFp16, OnnxTensorRT, TensorRT
from tests.unit.generator.entries import entry, raw


def refusal(**top: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        Recipe.model_validate({"triton": "25.08", "target": "gpu"} | top)
    return str(refused.value)


def test_a_model_is_served_as_onnx_unless_it_says_otherwise() -> None:
    assert entry().format == AS_WRITTEN
    assert not entry().format.is_half


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("onnx-fp16", OnnxFp16(kind="onnx-fp16")),
        ({"kind": "onnx-fp16"}, OnnxFp16(kind="onnx-fp16")),
        (
            {"kind": "onnx-tensorrt", "optimization_level": 5},
            OnnxTensorRT(kind="onnx-tensorrt", optimization_level=5),
        ),
        (
            {"kind": "tensorrt", "precision": "fp16", "hardware": "ampere-plus"},
            TensorRT(kind="tensorrt", precision="fp16", hardware="ampere-plus"),
        ),
    ],
)
def test_a_format_is_a_word_or_a_mapping_with_its_kind(said: Any, meant: Any) -> None:
    assert entry(format=said).format == meant


@pytest.mark.parametrize(
    ("said", "half"),
    [
        ("onnx-fp16", True),
        ("tensorrt", False),
        ({"kind": "tensorrt", "precision": "fp16"}, True),
        ({"kind": "onnx-tensorrt", "precision": "fp16"}, True),
    ],
)
def test_half_precision_is_asked_for_by_kind_or_by_precision(said: Any, *, half: bool) -> None:
    assert entry(format=said).format.is_half is half


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("onx-fp16", "'onx-fp16' is no format; did you mean 'onnx-fp16'?"),
        ({"kind": "trt"}, "'trt' is no format"),
        ({"kind": "tensorrt", "precison": "fp16"}, "did you mean 'precision'?"),
        ({"kind": "onnx-fp16", "precision": "fp16"}, "unknown key 'precision'"),
        ({"kind": "tensorrt", "optimization_level": 6}, "less than or equal to 5"),
        ({"kind": "tensorrt", "workspace_bytes": 0}, "greater than 0"),
        (
            {"kind": "onnx-tensorrt", "cache_dir": "engines"},
            "'engines' cannot stand here; write an absolute path",
        ),
    ],
)
def test_says_what_is_wrong_with_a_format(said: Any, why: str) -> None:
    assert why in refusal(models=[raw(format=said)])


@pytest.mark.parametrize(
    ("kind", "instances"),
    [
        ("onnx-tensorrt", 1),
        ("tensorrt", 1),
        ("onnx-tensorrt", [{"kind": "cpu"}]),
        ("tensorrt", [{"kind": "gpu"}, {"kind": "cpu"}]),
    ],
)
def test_tensorrt_on_a_cpu_is_refused(kind: str, instances: Any) -> None:
    target = "cpu" if instances == 1 else "gpu"

    said = refusal(target=target, models=[raw(format=kind, instances=instances)])

    assert f"model ranker: format {kind} runs on a GPU, not on the cpu; write target: gpu" in said


def test_onnx_runtime_may_use_tensorrt_on_some_instances_and_the_cpu_on_others() -> None:
    groups = [{"kind": "gpu"}, {"kind": "cpu"}]
    model = raw(format="onnx-tensorrt", instances=groups)

    assert Recipe.model_validate({"triton": "25.08", "target": "gpu", "models": [model]})


def test_an_onnx_file_is_not_halved() -> None:
    model = raw(format="onnx-fp16", onnx="ranker.onnx")
    del model["source"]

    assert "format onnx-fp16 is computed by PyTorch, and an ONNX file is" in refusal(models=[model])


@pytest.mark.parametrize("kind", ["onnx-fp16", "onnx-tensorrt", "tensorrt"])
def test_the_kind_is_kept_when_defaults_are_left_out(kind: str) -> None:
    """A fingerprint leaves them out, and another format must not look the same."""
    assert entry(format=kind).model_dump(exclude_defaults=True)["format"] == {"kind": kind}
