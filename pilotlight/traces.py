"""Recorded requests and the models they ask for, as CSV."""

import csv
import gzip
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from sidecar.core.replay import ReplayedModel, Request

TRACE_COLUMNS = ("timestamp_s", "model_id")
MODEL_COLUMNS = ("model_id", "size_bytes", "load_cold_s")


class BadTrace(Exception):
    """A file of a trace cannot be read, or a line of it says something impossible."""


def read_trace(path: Path, models: Mapping[str, ReplayedModel]) -> list[Request]:
    """Requests in the order of their times, each for a known model; `.gz` is unpacked.

    Raises:
        BadTrace: with the file, the line and what is wrong there.
    """
    requests: list[Request] = []
    before_s = float("-inf")
    for line, (time, model) in _rows(path, TRACE_COLUMNS):
        at_s = _number(path, line, TRACE_COLUMNS[0], time)
        if at_s < before_s:
            raise BadTrace(
                f"{path}:{line}: {at_s:g} s is before the line above, {before_s:g} s; sort by time"
            )
        if model not in models:
            raise BadTrace(f"{path}:{line}: model {model!r} is not in the list of models")
        requests.append((at_s, model))
        before_s = at_s
    if not requests:
        raise BadTrace(f"{path} holds no requests")
    return requests


def read_models(path: Path) -> dict[str, ReplayedModel]:
    """Bytes held and seconds to load of each model.

    Raises:
        BadTrace: with the file, the line and what is wrong there.
    """
    models: dict[str, ReplayedModel] = {}
    for line, (model, size, load) in _rows(path, MODEL_COLUMNS):
        if model in models:
            raise BadTrace(f"{path}:{line}: model {model!r} is listed twice")
        models[model] = ReplayedModel(
            held_bytes=int(_number(path, line, MODEL_COLUMNS[1], size)),
            load_s=_number(path, line, MODEL_COLUMNS[2], load),
        )
    if not models:
        raise BadTrace(f"{path} lists no models")
    return models


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and the named columns; others are ignored."""
    with _opened(path) as file:
        reader = csv.reader(file)
        header = next(reader, [])
        missing = [column for column in columns if column not in header]
        if missing:
            raise BadTrace(
                f"{path}:1: no column {', '.join(missing)}; the first line must name "
                f"{', '.join(columns)}"
            )
        places = [header.index(column) for column in columns]
        for row in reader:
            if len(row) != len(header):
                raise BadTrace(
                    f"{path}:{reader.line_num}: {len(row)} fields where the first line names "
                    f"{len(header)}"
                )
            yield reader.line_num, [row[place] for place in places]


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    try:
        with (
            gzip.open(path, "rt", encoding="utf-8", newline="")
            if path.suffix == ".gz"
            else path.open(encoding="utf-8", newline="")
        ) as file:
            yield file
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise BadTrace(f"{path} cannot be read: {error}") from error


def _number(path: Path, line: int, column: str, text: str) -> float:
    """Finite and not negative."""
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not 0 <= number < float("inf"):
        raise BadTrace(f"{path}:{line}: {column} is {text!r}, not a number of 0 or more")
    return number
