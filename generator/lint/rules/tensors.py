"""A config against the ONNX graph that it is for."""

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from generator.lint.finding import Append, Problem, Severity, rule
from generator.lint.repository import (
    Config,
    Graph,
    Place,
    Repository,
    Tensor,
    Unreadable,
    type_name,
)

# Triton's own, of `--backend-config=default-max-batch-size`.
_COMPLETED_MAX_BATCH_SIZE = 4


@rule(
    "PL401",
    Severity.ERROR,
    why="ONNX Runtime will not read it either.",
    remedy="export or copy the model again",
)
def graph_unreadable(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        for path, graph in config.graphs.items():
            # Of pointers, PL116 tells.
            if isinstance(graph, Unreadable) and not config.model.is_pointer(path):
                yield Problem(config.model.at(path), f"it is no ONNX file: {graph.reason}")


@rule(
    "PL402",
    Severity.WARNING,
    why="Triton loads the model once more, at each load, to find out its inputs and outputs.",
    remedy="list all inputs and outputs",
)
def tensors_not_listed(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        missing = [kind for kind in ("input", "output") if not getattr(config.message, kind)]
        for _, graph in itertools.islice(config.read_graphs, 1 if missing else 0):
            yield Problem(
                config.at(), f"no {' and no '.join(missing)} is listed", _completed(config, graph)
            )


@rule(
    "PL403",
    Severity.ERROR,
    why="Triton's ONNX Runtime backend wants every input of the graph in the config.",
    remedy="list exactly the inputs that the graph has",
)
def inputs_incomplete(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        listed = {tensor.name for tensor in config.message.input}
        for path, graph in config.read_graphs if listed else ():
            for tensor in graph.inputs:
                if tensor.name not in listed and tensor.name not in config.filled_in:
                    yield Problem(
                        config.at("input"), f"input {tensor.name} of {path} is not listed"
                    )


@rule(
    "PL404",
    Severity.ERROR,
    why="The backend asks the graph for it and is refused.",
    remedy="use a name that the graph has",
)
def tensor_unknown(repository: Repository) -> Iterator[Problem]:
    for listed in _listed(repository):
        if why := unknown(listed.kind, listed.said.name, listed.known, listed.path):
            yield Problem(listed.at("name"), why)


def unknown(kind: str, name: str, known: Collection[str], path: str) -> str | None:
    """What is wrong with a tensor that a config lists; None where the graph at `path` has it."""
    return (
        None if name in known else f"{kind} {name} is not in {path}, which has {', '.join(known)}"
    )


@rule(
    "PL405",
    Severity.ERROR,
    why="The backend compares the types and refuses the load.",
    remedy="use the graph's type",
)
def tensor_type(repository: Repository) -> Iterator[Problem]:
    for listed, tensor in _pairs(repository):
        said = type_name(listed.said.data_type)
        if said != tensor.data_type:
            yield Problem(
                listed.at("data_type"), f"{listed} is {said}, in {listed.path} {tensor.data_type}"
            )


@rule(
    "PL406",
    Severity.ERROR,
    why=(
        "The backend compares the shapes and refuses the load. Where the graph's size varies, an "
        "input may be listed with a fixed one, an output may not."
    ),
    remedy="use the graph's sizes, -1 where they vary; or `reshape`",
)
def tensor_shape(repository: Repository) -> Iterator[Problem]:
    for listed, tensor in _pairs(repository):
        said = listed.said
        dims = list(said.reshape.shape if said.HasField("reshape") else said.dims)
        batch = [-1] if listed.batches else []
        # Of a batch that is fixed, PL407 tells.
        is_told = listed.batches and tensor.shape[:1] != (-1,)
        if not is_told and not _agree(batch + dims, tensor.shape, listed.kind):
            yield Problem(
                listed.at("dims"),
                f"{listed} has dims {dims}, in {listed.path} the shape {list(tensor.shape)}"
                + (", which begins with the batch" if listed.batches else ""),
            )


@rule(
    "PL407",
    Severity.ERROR,
    why=(
        "With max_batch_size above 0 the first dimension of every tensor is the batch and has to "
        "vary."
    ),
    remedy="export it with a batch that varies, or set max_batch_size: 0",
)
def batch_is_fixed(repository: Repository) -> Iterator[Problem]:
    for listed, tensor in _pairs(repository):
        if listed.batches and tensor.shape[:1] != (-1,):
            yield Problem(
                listed.config.at("max_batch_size"),
                f"max_batch_size is {listed.config.message.max_batch_size}, and {listed} has the "
                f"shape {list(tensor.shape)} in {listed.path}",
            )


@dataclass(frozen=True, slots=True)
class _Listed:
    """A tensor as a config lists it, and a graph to compare it with."""

    config: Config
    path: str
    graph: Graph
    kind: Literal["input", "output"]
    index: int
    said: Any

    def __str__(self) -> str:
        return f"{self.kind} {self.said.name}"

    def at(self, field: str) -> Place:
        return self.config.at(self.kind, self.index, field)

    @property
    def batches(self) -> bool:
        return bool(self.config.message.max_batch_size > 0)

    @property
    def known(self) -> dict[str, Tensor]:
        inputs = (*self.graph.inputs, *self.graph.defaults)
        return {
            tensor.name: tensor
            for tensor in (inputs if self.kind == "input" else self.graph.outputs)
        }


def _listed(repository: Repository) -> Iterator[_Listed]:
    for config in repository.configs:
        for path, graph in config.read_graphs:
            for index, said in enumerate(config.message.input):
                yield _Listed(config, path, graph, "input", index, said)
            for index, said in enumerate(config.message.output):
                yield _Listed(config, path, graph, "output", index, said)


def _pairs(repository: Repository) -> Iterator[tuple[_Listed, Tensor]]:
    """With the graph's tensor of that name."""
    for listed in _listed(repository):
        if tensor := listed.known.get(listed.said.name):
            yield listed, tensor


def _agree(dims: Sequence[int], shape: Sequence[int], kind: str) -> bool:
    if not shape:
        return all(size == 1 for size in dims)
    return len(dims) == len(shape) and all(
        ours == theirs or (theirs == -1 and kind == "input")
        for ours, theirs in zip(dims, shape, strict=True)
    )


def _completed(config: Config, graph: Graph) -> Append | None:
    """What Triton would complete; None without a config that could be completed."""
    if config.path not in config.model.texts:
        return None
    said, lines = config.message, []
    batches = all(tensor.shape[:1] == (-1,) for tensor in (*graph.inputs, *graph.outputs))
    size = said.max_batch_size
    if batches and size == 0:
        size = _COMPLETED_MAX_BATCH_SIZE
        lines.append(f"max_batch_size: {size}")
    schedules = said.WhichOneof("scheduling_choice") is not None
    if batches and size > 1 and not schedules:
        lines.append("dynamic_batching {}")
    for kind, tensors in (("input", graph.inputs), ("output", graph.outputs)):
        if not getattr(said, kind):
            lines += [_entry(kind, tensor, batches=size > 0) for tensor in tensors]
    return Append(f"{config.model.name}/{config.path}", "\n".join(["", *lines, ""]))


def _entry(kind: str, tensor: Tensor, *, batches: bool) -> str:
    dims = list(tensor.shape[1 if batches else 0 :])
    # What has nothing but the batch; Triton has no scalars.
    reshape = " reshape { shape: [] }" if batches and not dims else ""
    return (
        f'{kind} {{ name: "{tensor.name}" data_type: {tensor.data_type} '
        f"dims: {dims or [1]}{reshape} }}"
    )
