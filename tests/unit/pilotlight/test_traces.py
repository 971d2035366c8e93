"""Traces and lists of models that people bring: what is wrong is named with its line."""

import gzip
from pathlib import Path

import pytest

from pilotlight.traces import BadTrace, read_models, read_trace
from sidecar.core.replay import ReplayedModel

KNOWN = {name: ReplayedModel(held_bytes=700, load_s=1.5) for name in "ab"}
MODELS = "model_id,size_bytes,load_cold_s\na,700,1.5\nb,700,1.5\n"
TRACE = "timestamp_s,model_id\n0,a\n4,a\n3600,b\n3630,a\n"


def test_a_packed_trace_is_read_as_a_plain_one(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(TRACE.encode()))

    assert read_trace(path, KNOWN) == [(0, "a"), (4, "a"), (3600, "b"), (3630, "a")]


def test_columns_are_found_by_name(tmp_path: Path) -> None:
    path = tmp_path / "models.csv"
    path.write_text("load_cold_s,note,model_id,size_bytes\n1.5,x,a,700\n")

    assert read_models(path) == {"a": ReplayedModel(held_bytes=700, load_s=1.5)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: no column timestamp_s, model_id; the first line must name"),
        ("time,model_id\n", ":1: no column timestamp_s; the first line must name"),
        ("timestamp_s,model_id\n", " holds no requests"),
        (TRACE + "soon,a\n", ":6: timestamp_s is 'soon', not a number of 0 or more"),
        (TRACE + "nan,a\n", ":6: timestamp_s is 'nan', not a number of 0 or more"),
        (TRACE + "-1,a\n", ":6: timestamp_s is '-1', not a number of 0 or more"),
        (TRACE + "1,a\n", ":6: 1 s is before the line above, 3630 s; sort by time"),
        (TRACE + "4000,c\n", ":6: model 'c' is not in the list of models"),
        (TRACE + "4000\n", ":6: 1 fields where the first line names 2"),
    ],
)
def test_a_bad_trace_is_refused_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text(text)

    with pytest.raises(BadTrace) as refused:
        read_trace(trace, KNOWN)
    assert str(refused.value).startswith(f"{trace}{message}")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a,1,1\n", ":4: model 'a' is listed twice"),
        ("c,big,1\n", ":4: size_bytes is 'big', not a number of 0 or more"),
        ("c,1,inf\n", ":4: load_cold_s is 'inf', not a number of 0 or more"),
    ],
)
def test_a_bad_list_of_models_is_refused_with_the_line(
    tmp_path: Path, row: str, message: str
) -> None:
    models = tmp_path / "models.csv"
    models.write_text(MODELS + row)

    with pytest.raises(BadTrace) as refused:
        read_models(models)
    assert str(refused.value) == f"{models}{message}"


@pytest.mark.parametrize("content", [None, b"\xff\xfe\xff", b"\x1f\x8b broken"])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "models.csv.gz"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(BadTrace, match=r"models\.csv\.gz cannot be read: "):
        read_models(path)
