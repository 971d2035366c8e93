import numpy as np
import pytest
from numpy.typing import NDArray

from contract.config import parse_config
from contract.errors import InvalidArtifact
from contract.requests import golden_requests, infer_arguments
from contract.samples import GoldenSample

ONE = np.ones((1, 1), np.float32)
STATEFUL = """
name: "s"
sequence_batching {
  control_input { name: "start" control { kind: CONTROL_SEQUENCE_START } }
  control_input { name: "end" control { kind: CONTROL_SEQUENCE_END } }
  control_input { name: "id" control { kind: CONTROL_SEQUENCE_CORRID } }
  state { input_name: "before" output_name: "after" data_type: TYPE_FP32 dims: [1] }
}
"""


def test_each_request_is_a_sequence_of_its_own_that_no_client_counts_up_to() -> None:
    first, second = (infer_arguments("m", 3, {"x": ONE}) for _ in range(2))

    assert first["sequence_start"]
    assert first["sequence_end"]
    assert first["sequence_id"] != second["sequence_id"]
    assert {each["sequence_id"].bit_length() for each in (first, second)} == {63}


def test_texts_and_numbers_are_sent_as_what_they_are() -> None:
    words = np.array([[b"one", b""]], np.object_)

    arguments = infer_arguments("m", 3, {"x": ONE, "words": words})

    assert (arguments["model_name"], arguments["model_version"]) == ("m", "3")
    assert [(each.name(), each.datatype(), each.shape()) for each in arguments["inputs"]] == [
        ("x", "FP32", [1, 1]),
        ("words", "BYTES", [1, 2]),
    ]


def column(*values: float) -> NDArray[np.float32]:
    return np.array(values, np.float32)[:, None]


def asked(samples: list[GoldenSample], *, max_batch_size: int = 4) -> list[GoldenSample]:
    config = parse_config(f"max_batch_size: {max_batch_size} {STATEFUL}", "stateful")
    return golden_requests(config, samples)


def test_rows_that_begin_and_end_without_a_state_are_asked_one_by_one() -> None:
    """Triton takes no batches in a sequence, and what its batcher writes from nobody."""
    inputs = {
        "x": column(1, 2, 3, 4, 5),
        "start": column(0, 1, 1, 1, 1),
        "end": column(1, 1, 0, 1, 1),
        "id": column(0, 0, 7, 7, 7),
        "before": column(0, 0, 0, 8, 0),
    }
    outputs = {"y": column(10, 20, 30, 40, 50), "after": column(1, 2, 3, 4, 5)}

    found = asked([GoldenSample(inputs, outputs)])

    assert [list(sample.inputs) + list(sample.outputs) for sample in found] == [["x", "y"]] * 2
    assert [sample.inputs["x"].tolist() for sample in found] == [[[2]], [[5]]]
    assert [sample.outputs["y"].tolist() for sample in found] == [[[20]], [[50]]]


def test_without_batch_dimension_a_sample_is_one_row() -> None:
    inputs = {"x": column(1, 2)[0], "start": column(1)[0], "end": column(1)[0]}
    whole = GoldenSample(inputs | {"before": column(0, 0)}, {"y": column(3, 4)})

    (found,) = asked([whole], max_batch_size=0)

    assert found.outputs["y"].tolist() == [[3], [4]]


def test_golden_samples_that_all_go_on_from_a_state_are_refused() -> None:
    inputs = dict.fromkeys(("x", "start", "end", "before"), ONE)

    with pytest.raises(InvalidArtifact, match="none of 1 golden rows of s is a sequence"):
        asked([GoldenSample(inputs, {"y": ONE})])


def test_a_model_without_state_is_asked_its_golden_samples_as_they_are() -> None:
    sample = GoldenSample({"x": ONE}, {"y": ONE})

    assert golden_requests(parse_config("max_batch_size: 4", "m"), [sample]) == [sample]
