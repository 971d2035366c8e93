"""What each release of Triton can read."""

from itertools import pairwise

import pytest
from tritonclient.grpc.model_config_pb2 import ModelConfig

from generator.releases import FIELDS, NEWEST, OLDEST, RELEASES, release


def test_a_release_knows_what_it_reads() -> None:
    oldest = release("24.10")

    assert (oldest.onnxruntime, oldest.max_opset, oldest.max_ir) == ("1.19.2", 21, 10)
    assert (oldest.tensorrt, oldest.tensorrt_is_exact) == ("10.5", True)
    assert oldest.unknown_fields == {"model_metrics", "max_inflight_requests"}
    assert oldest.warning is None


def test_a_field_is_known_from_its_first_release_on() -> None:
    assert release("24.11").unknown_fields == {"max_inflight_requests"}
    assert release("25.11").unknown_fields == set()


def test_a_lower_bound_of_tensorrt_is_told_from_its_version() -> None:
    assert (release("26.08").tensorrt, release("26.08").tensorrt_is_exact) == ("11.0", False)


def test_there_is_a_row_for_every_month() -> None:
    months = [int(row.name[:2]) * 12 + int(row.name[3:]) for row in RELEASES]

    assert all(later - earlier == 1 for earlier, later in pairwise(months))
    assert (RELEASES[0].name, RELEASES[-1].name) == (OLDEST, NEWEST)


def test_no_release_reads_less_than_the_one_before() -> None:
    for earlier, later in pairwise(RELEASES):
        assert earlier.max_opset <= later.max_opset
        assert earlier.max_ir <= later.max_ir
        assert earlier.unknown_fields >= later.unknown_fields


def test_every_gated_field_is_in_tritons_schema() -> None:
    known = ModelConfig.DESCRIPTOR.file.message_types_by_name
    fields = {field.name for message in known.values() for field in message.fields}

    assert set(FIELDS) <= fields


def test_a_newer_release_is_taken_for_the_newest_known_and_says_so() -> None:
    newer = release("27.01")

    assert newer.name == "27.01"
    assert newer.onnxruntime == release(NEWEST).onnxruntime
    assert newer.warning == (
        f"27.01 is newer than the newest release known here ({NEWEST}); "
        f"what {NEWEST} can read is taken for it"
    )


@pytest.mark.parametrize("name", ["", "24.1", "latest", "24.13", "24.00", "2024.10"])
def test_what_is_called_otherwise_is_no_release(name: str) -> None:
    with pytest.raises(ValueError, match="is no release; write it in quotes"):
        release(name)


def test_a_release_that_is_too_old_is_refused() -> None:
    with pytest.raises(ValueError, match=r"24.09 is older than 24.10, the oldest"):
        release("24.09")


def test_what_the_exporter_writes_is_read_by_every_release() -> None:
    assert all(row.reads(opset=20, ir=10) for row in RELEASES)


@pytest.mark.parametrize(("opset", "ir"), [(22, 10), (20, 11), (23, 11)])
def test_an_opset_or_an_ir_that_is_too_new_is_not_read(opset: int, ir: int) -> None:
    assert not release("24.10").reads(opset=opset, ir=ir)


def test_a_refusal_names_the_first_release_that_reads_it() -> None:
    assert release("24.10").why_not(opset=22, ir=10) == (
        "opset 22 and IR 10 are beyond Triton 24.10, whose ONNX Runtime 1.19.2 reads opset 21 and "
        "IR 10; build for Triton 25.03 or newer, or export it anew within these"
    )


def test_a_refusal_of_what_no_release_reads_names_none() -> None:
    # What `onnx.helper` stamps without being asked.
    assert "none known here does" in release(NEWEST).why_not(opset=28, ir=14)
