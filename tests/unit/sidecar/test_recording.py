"""Which requests are kept, and what of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from contract.dtypes import Datatype
from contract.manifest import Signature
from contract.samples import Tensors
from sidecar.core.fleet import Snapshot
from sidecar.core.recording import (
    MOST_BYTES,
    Dropped,
    Drops,
    Recording,
    misfits,
    redacted,
    surplus,
)
from sidecar.core.routing import Routes, looked_at, routes_of
from sidecar.core.steering import Steering
from tests.builders import CANARY, holding, kept, model, server, signature, snapshot, tensor
from tests.fakes.gateway import OWN

TEXTS = Signature(
    inputs=(tensor("ids", -1, datatype=Datatype.INT64), tensor("text", datatype=Datatype.BYTES)),
    outputs=(),
    max_batch_size=4,
)
UNBATCHED = replace(TEXTS, max_batch_size=0)
M, N = model("m", versions=(1, 2)), model("n")


# What is said.


@pytest.mark.parametrize("said", [{"percent": 101}, {"percent": -1}, {"most": 0}, {"most": 10_001}])
def test_a_recording_that_makes_no_sense_is_told(said: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=r"less than|greater than"):
        Recording.model_validate(said)


@pytest.mark.parametrize(
    ("before", "now", "less"),
    [((), ("a",), True), (("a",), ("b",), True), (("a", "b"), ("b",), False), ((), (), False)],
)
def test_it_reveals_less_when_it_redacts_what_it_did_not_before(
    before: tuple[str, ...], now: tuple[str, ...], *, less: bool
) -> None:
    assert Recording(redact=now).reveals_less_than(Recording(redact=before)) is less


# What is kept.


def test_of_a_redacted_input_the_shape_is_all_that_is_left() -> None:
    inputs: Tensors = {
        "ids": np.int64([[7, 8]]),
        "text": np.array([[b"secret"], ["ä".encode()]], np.object_),
        "mask": np.array([True, False]),
        "open": np.float32([1.5]),
    }

    found = redacted(inputs, ["ids", "text", "mask"])

    assert {name: array.tolist() for name, array in found.items()} == {
        "ids": [[0, 0]],
        "text": [[b""], [b""]],
        "mask": [False, False],
        "open": [1.5],
    }
    assert [array.dtype for array in found.values()] == [array.dtype for array in inputs.values()]
    assert inputs["ids"].tolist() == [[7, 8]]


@pytest.mark.parametrize(
    ("sizes", "most", "gone"),
    [
        ([], 5, 0),
        ([1, 1, 1], 3, 0),
        ([1, 1, 1], 2, 1),
        ([1, 1, 1], 0, 3),
        ([MOST_BYTES, 1], 5, 1),
        ([1, MOST_BYTES], 5, 1),
        ([1, MOST_BYTES - 1], 5, 0),
        ([1, MOST_BYTES + 1], 5, 2),
    ],
)
def test_the_oldest_are_one_too_many(sizes: list[int], most: int, gone: int) -> None:
    assert surplus(sizes, most) == gone


def test_drops_are_counted_and_the_last_reason_is_told() -> None:
    found = Drops().with_(Dropped.UNREADABLE, "no JSON").with_(Dropped.TOO_MANY)

    assert found == Drops(counts={Dropped.UNREADABLE: 1, Dropped.TOO_MANY: 1}, reason="no JSON")
    assert found.with_(Dropped.UNREADABLE, "no inputs").reason == "no inputs"


# Which requests a model takes.


def texts(**inputs: Any) -> Tensors:
    good = {"ids": np.int64([[1, 2], [3, 4]]), "text": np.array([b"a", b"b"], np.object_)}
    return {name: array for name, array in {**good, **inputs}.items() if array is not None}


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        (texts(), []),
        (texts(ids=np.zeros((2, 0), np.int64)), []),
        (texts(text=None), ["input text BYTES[-1] is missing"]),
        (texts(more=np.float32([1, 2])), ["there is no input more"]),
        (
            texts(ids=np.int32([[1], [2]])),
            ["input ids INT32[2, 1] is to be ids INT64[-1, -1]"],
        ),
        (texts(ids=np.int64([1, 2])), ["input ids INT64[2] is to be ids INT64[-1, -1]"]),
        (texts(ids=np.int64([[1]])), ["the inputs have batches of 1 and 2"]),
        (
            {"ids": np.zeros((5, 1), np.int64), "text": np.full(5, b"", np.object_)},
            ["a batch of 5 is larger than 4"],
        ),
    ],
)
def test_a_request_is_held_against_the_signature(inputs: Tensors, told: list[str]) -> None:
    assert misfits(inputs, TEXTS) == told


def test_without_a_batch_dimension_the_shape_is_all_there_is() -> None:
    fits: Tensors = {"ids": np.zeros(9, np.int64), "text": np.array(b"", np.object_)}

    assert misfits(fits, UNBATCHED) == []
    assert misfits({**fits, "ids": np.int64([[1]])}, UNBATCHED) == [
        "input ids INT64[1, 1] is to be ids INT64[-1]"
    ]


def test_a_size_that_does_not_vary_is_held_to() -> None:
    assert misfits({"x": np.float32([[1, 2, 3]])}, signature()) == [
        "input x FP32[1, 3] is to be x FP32[-1, 2]"
    ]


# What the gateway copies.


def routes(seen: Snapshot, *, stateful: frozenset[str] = frozenset()) -> Routes:
    return routes_of(seen, replace(looked_at(OWN, seen), stateful=stateful))


def seen(recording: dict[str, Recording], **steering: Steering) -> Snapshot:
    """`m` version 1 and `n` serve, version 2 of `m` is on canary."""
    return snapshot(
        M,
        N,
        serving=server(holding(M, 1), holding(N, 1)),
        canary=holding(M, 2),
        kept=kept("m", "n"),
        recorded={"m": 1, "n": 1},
        recording=recording,
        steering=steering,
    )


def test_requests_are_copied_without_canary_and_without_a_mirror() -> None:
    found = routes(seen({"n": Recording(percent=5), "m": Recording(most=3)}))

    assert (found.mirrors, found.samples) == ({}, {"n": 5})


@pytest.mark.parametrize(("percent", "sample", "copied"), [(5, 20, 20), (30, 20, 30)])
def test_as_many_are_copied_as_the_larger_wish(percent: int, sample: int, copied: int) -> None:
    both = seen({"m": Recording(percent=percent)}, m=Steering(mirror=50, sample=sample))
    without = replace(both, servers={**both.servers, CANARY: server()})

    assert routes(both).samples == {"m": copied}
    assert routes(without).samples == {"m": percent}


def test_a_model_that_keeps_state_or_is_not_served_is_not_recorded() -> None:
    found = seen({"m": Recording(percent=5), "x": Recording(percent=5)})

    assert routes(found, stateful=frozenset({"m"})).samples == {}
