from pathlib import Path

import numpy as np
import pytest

from contract.config import ModelConfig, format_config, parse_config
from contract.dtypes import Datatype
from contract.errors import InvalidArtifact
from contract.samples import warmup_bytes
from contract.warmup import datatype_from_config, warmup_requests
from tests.builders import config_text

WORDS = """
model_warmup {
  name: "words" batch_size: 3
  inputs {
    key: "w"
    value { data_type: TYPE_STRING dims: [2] input_data_file: "w.bin" }
  }
}
"""


SEQUENCE = """
sequence_batching {
  control_input { name: "begins" control { fp32_false_true: [0, 1] } }
  state { input_name: "before" output_name: "after" data_type: TYPE_FP32 dims: [2] }
}
model_warmup {
  name: "whole sequence" batch_size: 1
  inputs { key: "x" value { data_type: TYPE_FP32 dims: [2] input_data_file: "x.bin" } }
  inputs { key: "begins" value { data_type: TYPE_FP32 dims: [2] input_data_file: "begins.bin" } }
  inputs { key: "before" value { data_type: TYPE_FP32 dims: [2] input_data_file: "before.bin" } }
}
"""


def tiny(**changes: int) -> ModelConfig:
    return parse_config(config_text(**changes), "tiny")  # type: ignore[arg-type]


def test_one_element_is_repeated_to_the_batch(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(warmup_bytes(np.float32([1, 2])))

    (request,) = warmup_requests(tiny(), tmp_path)

    assert request["x"].dtype == np.float32
    assert request["x"].tolist() == [[1, 2], [1, 2]]


def test_a_model_without_batches_gets_the_element_itself(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(warmup_bytes(np.float32([1, 2])))

    (request,) = warmup_requests(tiny(max_batch_size=0), tmp_path)

    assert request["x"].tolist() == [1, 2]


def test_words_are_read_back(tmp_path: Path) -> None:
    words = np.array([b"one", b""], dtype=np.object_)
    (tmp_path / "w.bin").write_bytes(warmup_bytes(words))
    config = parse_config(f"max_batch_size: 4 {WORDS}", "words")

    (request,) = warmup_requests(config, tmp_path)

    assert request["w"].tolist() == [[b"one", b""]] * 3


def test_texts_that_end_too_soon_are_named(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\x05\0\0\0one")
    config = parse_config(f"max_batch_size: 4 {WORDS}", "words")

    with pytest.raises(InvalidArtifact, match=r"w\.bin does not fit BYTES\[2\]"):
        warmup_requests(config, tmp_path)


def test_what_a_client_of_a_sequence_cannot_send_is_in_no_request(tmp_path: Path) -> None:
    """Triton takes neither what its batcher writes nor more than one row."""
    text = config_text().replace("dynamic_batching", "# ") + SEQUENCE
    for name in ("x", "begins", "before"):
        (tmp_path / f"{name}.bin").write_bytes(warmup_bytes(np.float32([1, 2])))

    (request,) = warmup_requests(parse_config(text, "stateful"), tmp_path)

    assert {name: array.tolist() for name, array in request.items()} == {"x": [[1, 2]]}


def test_a_config_without_warm_up_makes_no_request(tmp_path: Path) -> None:
    assert warmup_requests(parse_config("max_batch_size: 4", "none"), tmp_path) == []


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\0" * 16])
def test_data_of_another_size_is_named(tmp_path: Path, content: bytes) -> None:
    """Triton accepts a longer file and warms up with half of it."""
    (tmp_path / "x.bin").write_bytes(content)

    with pytest.raises(InvalidArtifact, match=r"x\.bin does not fit FP32\[2\]"):
        warmup_requests(tiny(), tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArtifact, match=r"x\.bin cannot be read: .*No such file"):
        warmup_requests(tiny(), tmp_path)


def test_a_sample_without_a_file_is_refused(tmp_path: Path) -> None:
    text = config_text().replace('input_data_file: "x.bin"', "random_data: true")

    with pytest.raises(InvalidArtifact, match="warm-up input x has no input_data_file"):
        warmup_requests(parse_config(text, "tiny"), tmp_path)


@pytest.mark.parametrize("datatype", Datatype)
def test_datatypes_are_read_from_configs(datatype: Datatype) -> None:
    config = parse_config(f"input {{ data_type: {datatype.config_name} }}", "one input")

    assert datatype_from_config(config.input[0].data_type) is datatype


def test_a_config_survives_its_text() -> None:
    config = tiny()

    assert parse_config(format_config(config), "again") == config


def test_a_config_that_triton_would_not_read_is_named_with_the_place() -> None:
    with pytest.raises(InvalidArtifact, match=r"m/config\.pbtxt is no config .* 2:1 .*max_bach"):
        parse_config('name: "m"\nmax_bach_size: 8', "m/config.pbtxt")
