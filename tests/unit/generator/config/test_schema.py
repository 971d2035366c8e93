from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc.model_config_pb2 import ModelConfig

from generator.config.schema import is_map, message_of, problems

_REFUSED = {"ensemble_scheduling", "decoupled"}
_VALUES = {
    FieldDescriptor.TYPE_BOOL: True,
    FieldDescriptor.TYPE_STRING: "text",
    FieldDescriptor.TYPE_FLOAT: 0.5,
    FieldDescriptor.TYPE_DOUBLE: 0.5,
}


def _ways_to_say(field: Any) -> Iterator[Any]:
    """The field with nothing else, once for each field below it."""
    if is_map(field):
        key = "1" if field.message_type.fields_by_name["key"].type != 9 else "name"
        for value in _ways_to_say(field.message_type.fields_by_name["value"]):
            yield {key: value}
    elif field.message_type is not None:
        below = [
            {inner.name: value}
            for inner in field.message_type.fields
            if inner.name not in _REFUSED
            for value in _ways_to_say(inner)
        ]
        yield from ([each] if field.is_repeated else each for each in below or [{}])
    elif field.enum_type is not None:
        for value in field.enum_type.values_by_name:
            yield [value] if field.is_repeated else value
    else:
        value = _VALUES.get(field.type, 3)
        yield [value] if field.is_repeated else value


EVERY_FIELD = [
    {field.name: value}
    for field in ModelConfig.DESCRIPTOR.fields
    if field.name not in _REFUSED
    for value in _ways_to_say(field)
]


@pytest.mark.parametrize("given", EVERY_FIELD, ids=str)
def test_every_field_of_the_schema_can_be_said(given: dict[str, Any]) -> None:
    assert list(problems(given)) == []
    assert message_of(given).ListFields()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"dynamic_batchin": {}},
            "unknown field 'dynamic_batchin'; did you mean 'dynamic_batching'",
        ),
        ({"maxBatchSize": 4}, "unknown field 'maxBatchSize'; did you mean 'max_batch_size'?"),
        (
            {"instance_group": [{"kinds": "KIND_GPU"}]},
            "unknown field instance_group[0].'kinds'; did you mean 'kind'?",
        ),
        (
            {"instance_group": [{"kind": "KIND_GP"}]},
            "instance_group[0].kind: unknown value 'KIND_GP'; did you mean 'KIND_GPU'?",
        ),
        (
            {"dynamic_batching": {"preferred_batch_size": 4}},
            "dynamic_batching.preferred_batch_size: 4 is no list",
        ),
        ({"parameters": {"a": "b"}}, "parameters[a]: 'b' is no mapping; known: string_value"),
        ({"parameters": "a"}, "parameters: 'a' is no mapping from names to values"),
        ({"metric_tags": {"a": 3}}, "metric_tags[a]: 3 is no text; put it in quotes"),
        ({"max_batch_size": True}, "max_batch_size: True is no 32-bit integer"),
        ({"max_batch_size": 2**31}, "max_batch_size: 2147483648 is no 32-bit integer"),
        (
            {"dynamic_batching": {"max_queue_delay_microseconds": -1}},
            "dynamic_batching.max_queue_delay_microseconds: -1 is no 64-bit integer from 0 on",
        ),
        ({"response_cache": {"enable": "yes"}}, "response_cache.enable: 'yes' is no true or false"),
        ({"response_cache": None}, "response_cache: None is no mapping; known: enable"),
        (
            {"sequence_batching": {"direct": {"minimum_slot_utilization": float("nan")}}},
            "sequence_batching.direct.minimum_slot_utilization: nan is no number",
        ),
        (
            {"dynamic_batching": {}, "sequence_batching": {}},
            "dynamic_batching and sequence_batching exclude each other; keep one",
        ),
        ({"model_transaction_policy": {"decoupled": True}}, "answer a request once"),
        ({"ensemble_scheduling": {}}, "under `ensembles`"),
    ],
)
def test_says_where_and_what_is_wrong(given: dict[str, Any], said: str) -> None:
    (problem,) = problems(given)

    assert said in problem


def test_finds_all_that_is_wrong_at_once() -> None:
    assert len(list(problems({"max_batch_size": "8", "nam": "x"}))) == 2
