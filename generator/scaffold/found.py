"""What was found out about models that somebody has. What is None has to be filled in."""

from pathlib import Path

from pydantic import Field, JsonValue

from contract.dtypes import Datatype
from generator.reports.message import Message


class FoundInput(Message):
    """`shape` without the batch dimension, with names where sizes vary; `hints` are keys to add.

    `fill` is as in a recipe.
    """

    name: str
    datatype: Datatype | None = None
    shape: tuple[int | str, ...] | None = None
    range: tuple[int, int] | None = None
    fill: str | None = None
    hints: tuple[str, ...] = ()


class FoundDim(Message):
    """`sizes`: smallest, usual and largest, where they could be seen."""

    name: str
    sizes: tuple[int, int, int] | None = None


class FoundModel(Message):
    """`keys` are further keys of the entry; `notes` are printed above it.

    `version` is None where the build is to count from 1.
    """

    name: str
    version: int | None = None
    source: dict[str, str]
    inputs: tuple[FoundInput, ...]
    dims: tuple[FoundDim, ...] = ()
    outputs: tuple[JsonValue, ...] | None = None
    max_batch_size: int | None = None
    keys: dict[str, JsonValue] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()


class FoundStep(Message):
    model: str
    inputs: dict[str, str]
    outputs: dict[str, str]


class FoundEnsemble(Message):
    """`version` is as a model's."""

    name: str
    version: int | None = None
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    steps: tuple[FoundStep, ...]


class Found(Message):
    """`left_out`: what is there, too, and why no entry was made of it."""

    models: tuple[FoundModel, ...]
    ensembles: tuple[FoundEnsemble, ...] = ()
    left_out: tuple[str, ...] = ()


class LookJob(Message):
    """`module` is a file; its folder is where it is imported from."""

    module: Path


class Tensor(Message):
    """Of a graph, with the batch dimension; None where a size has neither value nor name."""

    name: str
    datatype: Datatype | None
    shape: tuple[int | str | None, ...]


class Graph(Message):
    """`rows`: of the tables that integer inputs pick from."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    rows: dict[str, int]


class GraphsJob(Message):
    files: tuple[Path, ...]


class GraphsReport(Message):
    """In the order of the job's files; why, where one is no ONNX model."""

    graphs: tuple[Graph | str, ...]
