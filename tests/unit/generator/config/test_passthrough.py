from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc.model_config_pb2 import ModelConfig

from contract.config import parse_config
from generator.config.render import render
from generator.config.schema import is_map, message_of, problems
from generator.config.triton import TritonConfig
from generator.errors import ConfigRefused
from tests.golden.cases import CONFIGS

BASE = replace(CONFIGS["tables_on_cpu"], warmups=(), graph_level=1)
# What BASE decides, and what nobody may say.
_DECIDED = {
    "name",
    "platform",
    "backend",
    "default_model_filename",
    "max_batch_size",
    "input",
    "output",
    "instance_group",
    "version_policy",
    "sequence_batching",
    "ensemble_scheduling",
    "decoupled",
    "preferred_batch_size",
    "max_queue_delay_microseconds",
    "level",
}
_INTEGERS = {3: 2**63, 5: 2**31, 13: 2**32, 4: 2**64}


def _values(field: Any) -> st.SearchStrategy[Any]:
    if is_map(field):
        key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
        keys = st.text() if key.type == key.TYPE_STRING else st.integers(0, 9).map(str)
        return st.dictionaries(keys, _one(value), max_size=2)
    return st.lists(_one(field), max_size=2) if field.is_repeated else _one(field)


def _one(field: Any) -> st.SearchStrategy[Any]:
    if field.message_type is not None:
        return _mappings(field.message_type)
    if field.enum_type is not None:
        return st.sampled_from(sorted(field.enum_type.values_by_name))
    if field.type in _INTEGERS:
        return st.integers(0, _INTEGERS[field.type] - 1)
    if field.type == field.TYPE_BOOL:
        return st.booleans()
    return st.text() if field.type == field.TYPE_STRING else st.floats(-1e9, 1e9, width=32)


def _mappings(schema: Any) -> st.SearchStrategy[dict[str, Any]]:
    fields = {field.name: _values(field) for field in schema.fields if field.name not in _DECIDED}
    return st.fixed_dictionaries({}, optional=fields).map(lambda said: _one_of_each(said, schema))


def _one_of_each(said: dict[str, Any], schema: Any) -> dict[str, Any]:
    """The first of what excludes each other."""
    spare = [
        field.name
        for choice in schema.oneofs
        for field in [field for field in choice.fields if field.name in said][1:]
    ]
    return {key: value for key, value in said.items() if key not in spare}


@settings(max_examples=60, deadline=None)
@given(_mappings(ModelConfig.DESCRIPTOR))
def test_triton_reads_what_was_derived_and_what_was_passed_through(said: dict[str, Any]) -> None:
    expected = parse_config(render(BASE), "derived")
    expected.MergeFrom(message_of(said))

    assert list(problems(said)) == []
    assert parse_config(render(replace(BASE, passthrough=said)), "both") == expected


def read(base: TritonConfig = BASE, **said: Any) -> Any:
    return parse_config(render(replace(base, passthrough=said)), "both")


def refusal(base: TritonConfig = BASE, **said: Any) -> str:
    with pytest.raises(ConfigRefused) as refused:
        read(base, **said)
    return str(refused.value)


def test_what_it_has_no_part_in_stays_the_templates_text() -> None:
    text = render(replace(BASE, passthrough={"metric_tags": {"team": "ranking"}}))

    derived, _, added = text.partition("# From `config`")
    assert derived == render(BASE)
    assert added.splitlines()[1:] == ["metric_tags {", '  key: "team"', '  value: "ranking"', "}"]


def test_saying_the_same_again_changes_nothing() -> None:
    same = {"max_batch_size": 64, "instance_group": [{"kind": "KIND_CPU"}], "name": "ranker"}

    assert render(replace(BASE, passthrough=same)) == render(BASE)


def test_tensors_are_found_by_name_and_groups_in_order() -> None:
    both = read(
        input=[{"name": "ids", "allow_ragged_batch": True}],
        instance_group=[{"passive": True}],
    )

    assert [(tensor.name, tensor.allow_ragged_batch) for tensor in both.input] == [
        ("dense", False),
        ("ids", True),
    ]
    assert [(group.count, group.passive) for group in both.instance_group] == [(1, True)]


def test_entries_of_an_accelerator_are_added_one_by_one() -> None:
    said = {"name": "tensorrt", "parameters": {"trt_cuda_graph_enable": "1"}}
    both = read(
        CONFIGS["accelerated"],
        optimization={"execution_accelerators": {"gpu_execution_accelerator": [said]}},
    )

    (accelerator,) = both.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.parameters["trt_cuda_graph_enable"] == "1"
    assert accelerator.parameters["trt_engine_cache_enable"] == "1"


def test_nothing_derived_keeps_a_version_policy_from_being_said() -> None:
    policy = read(replace(BASE, versions=None), version_policy={"specific": {"versions": [2]}})

    assert policy.version_policy.specific.versions == [2]


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"max_batch_size": 8},
            "config.max_batch_size is 8, the recipe makes it 64; change max_batch_size in the",
        ),
        # 0 is what protobuf takes a missing value for.
        ({"max_batch_size": 0}, "config.max_batch_size is 0, the recipe makes it 64"),
        ({"platform": "onnxruntime_onnx"}, "the recipe makes it ''; change format in the recipe"),
        (
            {"instance_group": [{"count": 3}]},
            "config.instance_group[0].count is 3, the recipe makes it 1; change instances",
        ),
        (
            {"instance_group": [{}, {}]},
            "config.instance_group is 2 long, the recipe makes it 1 long; change instances",
        ),
        (
            {"input": [{"name": "idz", "optional": True}]},
            "config.input is ['idz'], the recipe makes it ['dense', 'ids']; change inputs",
        ),
        (
            {"input": [{"name": "ids", "dims": [7]}]},
            "config.input[0].dims is [7], the recipe makes it [6]; change inputs",
        ),
        (
            {"dynamic_batching": {"preferred_batch_size": [8]}},
            "preferred_batch_size is [8], the recipe makes it [16, 64]; change batching",
        ),
        (
            {"sequence_batching": {}},
            "config.sequence_batching is given, the recipe has dynamic_batching; change sequence",
        ),
        (
            {"optimization": {"graph": {"level": 2}}},
            "config.optimization.graph.level is 2, the recipe makes it 1; take it out of config",
        ),
        ({"version_policy": {"all": {}}}, "the recipe has latest; change version_policy"),
    ],
)
def test_a_contradiction_names_both_and_the_key_to_use(said: dict[str, Any], message: str) -> None:
    assert message in refusal(**said)


def test_all_contradictions_are_told_at_once() -> None:
    assert refusal(max_batch_size=8, name="other").count("config.") == 2
