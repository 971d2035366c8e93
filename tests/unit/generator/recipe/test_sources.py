"""Which source a model comes from, and what its inputs and outputs may say."""

from typing import Any

import pytest
from pydantic import ValidationError

from generator.recipe import ModelRecipe
from tests.unit.generator.entries import DENSE, IDS, SEQ, TOKENS, entry, raw, sequence

ONNX = {"source": None, "onnx": "ranker.onnx"}
START = {"name": "start", "control": "start"}


def refusal(**changes: Any) -> str:
    with pytest.raises(ValidationError) as refused:
        ModelRecipe.model_validate(raw(**changes))
    return str(refused.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"source": None},
            "nothing says where the model comes from; write exactly one of source, ",
        ),
        ({"onnx": "m.onnx"}, "source and onnx says where the model comes from"),
        ({"golden": "golden.npz"}, "golden belongs to onnx, this model has source"),
        (ONNX | {"weights": "w.pt"}, "weights belongs to source, this model has onnx"),
        (ONNX | {"seed": 3}, "seed belongs to source, this model has onnx"),
        (
            {"source": None, "program": "m.pt2", "args": {"a": 1}},
            "args belongs to source or huggingface, this model has program",
        ),
        (
            {"source": None, "huggingface": "bert", "args": {"trust_remote_code": True}},
            "args of a huggingface model: only class, not trust_remote_code",
        ),
        (ONNX | {"format": "onnx-fp16"}, "an ONNX file is adopted as it is; convert the file"),
    ],
)
def test_a_model_comes_from_exactly_one_source(change: dict[str, Any], said: str) -> None:
    assert said in refusal(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "../w.pt"},
        {"samples": "a/../../real.npz"},
        {"outputs": [{"name": "score", "labels": "../labels.txt"}]},
        {"source": None, "onnx": "../m.onnx"},
        {"source": None, "program": ".."},
        {"source": None, "huggingface": "../bert"},
    ],
)
def test_a_path_leads_not_out_of_the_recipes_folder(change: dict[str, Any]) -> None:
    assert "leads out of the recipe's folder; put the file there, or write an" in refusal(**change)


def test_an_absolute_path_is_meant() -> None:
    assert entry(weights="/models/ranker.safetensors").weights == "/models/ranker.safetensors"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "BF16"}, "numpy has no bfloat16"),
        ({"dtype": "COMPLEX64"}, "Input should be 'BOOL', "),
        ({"range": [0.5, 9]}, "of integers for an integer input"),
        ({"values": ["a"]}, "values are texts of a BYTES input, and this one is INT64"),
        ({"shape": ["a b"]}, "'a b' is no name of a dimension"),
        ({"default": 1}, "default is for an optional input; write optional: true beside it"),
    ],
)
def test_an_input_is_refused(change: dict[str, Any], said: str) -> None:
    assert said in refusal(inputs=[IDS | change])


def test_floats_may_have_a_range_of_their_own() -> None:
    (spec,) = entry(inputs=[DENSE | {"range": [0, 0.5]}]).inputs

    assert spec.range == (0, 0.5)


def test_an_adopted_model_may_leave_its_ids_to_the_graph() -> None:
    (spec,) = entry(**ONNX, inputs=[IDS | {"range": None}]).inputs

    assert spec.lacks_values


def test_samples_say_what_no_range_does() -> None:
    ids = IDS | {"range": None}

    assert "input ids is INT64: give range" in refusal(inputs=[ids])
    assert entry(inputs=[ids], samples="real.npz")


def test_texts_need_values() -> None:
    texts = {"name": "text", "dtype": "BYTES", "shape": [1]}

    assert "input text is BYTES: give values" in refusal(**ONNX, inputs=[texts])
    assert entry(**ONNX, inputs=[texts | {"values": ["cat"]}])
    assert entry(**ONNX, inputs=[texts], samples="real.npz")


def test_an_output_is_a_name_or_more() -> None:
    first, second = entry(outputs=["a", {"name": "b", "labels": "b.txt", "top_k": 5}]).outputs

    assert (first.name, first.labels, first.top_k) == ("a", None, None)
    assert (second.name, second.labels, second.top_k) == ("b", "b.txt", 5)


def test_names_that_differ_in_case_only_would_be_one_file() -> None:
    assert "tensor name 'ids' is used 2 times, upper and lower case" in refusal(
        inputs=[IDS, IDS | {"name": "IDS"}]
    )


OPTIONAL = DENSE | {"name": "bias", "optional": True, "default": 0.0}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"inputs": [DENSE, OPTIONAL]},
            "input bias is optional and max_batch_size is 64: Triton's",
        ),
        (
            {"inputs": [DENSE, OPTIONAL | {"default": None}], "max_batch_size": 0},
            "input bias is optional: write default, what it is filled with",
        ),
        (
            {"inputs": [DENSE, OPTIONAL], "max_batch_size": 0} | ONNX,
            "input bias: an ONNX file brings its own default; take default out",
        ),
        ({"inputs": [OPTIONAL], "max_batch_size": 0}, "every input is optional"),
    ],
)
def test_an_optional_input_needs_a_default_and_no_batch(change: dict[str, Any], said: str) -> None:
    assert said in refusal(**change)


def test_a_control_input_says_nothing_but_what_it_is() -> None:
    controls = [{"name": name, "control": name} for name in ("start", "end", "ready", "corrid")]
    specs = entry(inputs=[DENSE, *controls], sequence={}).inputs[1:]

    assert [(spec.dtype, spec.shape) for spec in specs] == [
        ("BOOL", (1,)),
        ("BOOL", (1,)),
        ("BOOL", (1,)),
        ("INT64", (1,)),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dtype": "INT64"}, "Triton writes start as one of BOOL, INT32, FP32, shape [1]"),
        ({"shape": [2]}, "shape [1], and not as BOOL[2]"),
        ({"optional": True, "default": 0}, "no client sends a control input"),
    ],
)
def test_a_control_input_is_what_triton_writes(change: dict[str, Any], said: str) -> None:
    assert said in refusal(inputs=[DENSE, START | change], sequence={})


@pytest.mark.parametrize(
    ("dim", "said"),
    [
        ({"min": 1, "opt": 16, "max": 64, "multiple_of": 8}, "1 is no multiple of 8"),
        ({"min": 8, "opt": 16, "max": 60, "multiple_of": 8}, "60 is no multiple of 8"),
    ],
)
def test_bounds_are_multiples_too(dim: dict[str, int], said: str) -> None:
    assert said in refusal(inputs=[TOKENS], dims={"seq": dim})
    assert sequence(dims={"seq": SEQ["seq"] | {"min": 8, "multiple_of": 8}})
