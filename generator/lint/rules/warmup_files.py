"""The data of warm-up samples."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from contract.dtypes import Datatype
from contract.layout import WARMUP
from generator.lint.finding import Problem, Severity, rule
from generator.lint.repository import Repository, type_name
from generator.lint.rules.samples import Sample, given_inputs

_BY_NAME = {datatype.config_name: datatype for datatype in Datatype}
# In front of each string.
_LENGTH_BYTES = 4


@rule(
    "PL320",
    Severity.ERROR,
    why="Triton refuses the load.",
    remedy="write the file, one element without batch dimension",
)
def warmup_file_missing(repository: Repository) -> Iterator[Problem]:
    for sample, name, given in _with_files(repository):
        if sample.config.warmup_entry(given.input_data_file) is None:
            yield Problem(
                sample.at("inputs", name, "input_data_file"),
                f"{sample}: input {name} has its data in {WARMUP}/{given.input_data_file}, which "
                "does not exist",
            )


@rule(
    "PL321",
    Severity.ERROR,
    why="Triton refuses the load.",
    remedy="write the file again, one element without batch dimension",
)
def warmup_file_too_short(repository: Repository) -> Iterator[Problem]:
    for sample, name, given in _with_files(repository):
        entry = sample.config.warmup_entry(given.input_data_file)
        needed = _bytes_needed(given)
        if entry is not None and needed is not None and entry.bytes < needed:
            yield _of_other_size(sample, name, given, entry.bytes)


@rule(
    "PL322",
    Severity.WARNING,
    why=(
        "Triton takes as much as it needs and ignores the rest; a file of several elements is not "
        "a batch of them."
    ),
    remedy="write the file again, one element without batch dimension",
)
def warmup_file_too_long(repository: Repository) -> Iterator[Problem]:
    for sample, name, given in _with_files(repository):
        entry = sample.config.warmup_entry(given.input_data_file)
        needed = _bytes_needed(given)
        is_text = type_name(given.data_type) == Datatype.BYTES.config_name
        if entry is not None and needed is not None and entry.bytes > needed and not is_text:
            yield _of_other_size(sample, name, given, entry.bytes)


@rule(
    "PL323",
    Severity.ERROR,
    why=(
        "ONNX Runtime fails on an id that its table does not have; a model that fails in warm-up "
        "killed the server in 14 of 38 starts measured."
    ),
    remedy="write ids that the table has",
)
def warmup_ids_outside(repository: Repository) -> Iterator[Problem]:
    for sample, name, given in _with_files(repository):
        found = (graph.table_rows or {} for _, graph in sample.config.read_graphs)
        rows = [tables[name] for tables in found if name in tables]
        ids = _ids(sample, given) if rows else []
        if len(ids) and (max(ids) >= min(rows) or min(ids) < -min(rows)):
            yield Problem(
                sample.at("inputs", name, "input_data_file"),
                f"{sample}: {WARMUP}/{given.input_data_file} has ids from {min(ids)} to "
                f"{max(ids)}, the table of input {name} has {min(rows)} rows",
            )


def _with_files(repository: Repository) -> Iterator[tuple[Sample, str, Any]]:
    for sample, name, given, _ in given_inputs(repository):
        if given.input_data_file:
            yield sample, name, given


def _of_other_size(sample: Sample, name: str, given: Any, found: int) -> Problem:
    return Problem(
        sample.at("inputs", name, "input_data_file"),
        f"{sample}: input {name} needs {_bytes_needed(given)} bytes for one element of "
        f"{list(given.dims)}, {WARMUP}/{given.input_data_file} has {found} bytes",
    )


def _bytes_needed(given: Any) -> int | None:
    """None where dims or type are none; of strings the least."""
    datatype = _BY_NAME.get(type_name(given.data_type))
    if datatype is None or any(size < 1 for size in given.dims):
        return None
    is_text = datatype is Datatype.BYTES
    elements: int = math.prod(given.dims)
    return elements * (_LENGTH_BYTES if is_text else datatype.numpy.itemsize)


def _ids(sample: Sample, given: Any) -> list[int]:
    file, needed = given.input_data_file, _bytes_needed(given)
    entry = sample.config.warmup_entry(file)
    if entry is None or needed is None or entry.bytes < needed:
        return []
    data = sample.config.model.contents.data(f"{WARMUP}/{file}")[:needed]
    ids: list[int] = np.frombuffer(data, _BY_NAME[type_name(given.data_type)].numpy).tolist()
    return ids
