"""What the release that is to serve cannot read."""

from collections.abc import Iterator
from typing import Any

from generator.lint.finding import Problem, Severity, rule
from generator.lint.lines import Step
from generator.lint.repository import Repository
from generator.releases import FIELDS


@rule(
    "PL701",
    Severity.ERROR,
    why="Triton does not load a model whose config has a field that it does not know.",
    remedy="remove the field, or serve with a newer Triton",
)
def field_too_new(repository: Repository) -> Iterator[Problem]:
    unknown = repository.release.unknown_fields
    for config in repository.configs:
        for name, path in _fields(config.message) if unknown else ():
            if name in unknown:
                yield Problem(
                    config.at(*path),
                    f"{name} came with Triton {FIELDS[name]}, this one is "
                    f"{repository.release.name}",
                )


@rule(
    "PL702",
    Severity.ERROR,
    why="ONNX Runtime refuses an opset or an IR version that is newer than itself.",
    remedy="export it with an older opset, or serve with a newer Triton",
)
def graph_too_new(repository: Repository) -> Iterator[Problem]:
    limit = repository.release
    for config in repository.configs:
        for path, graph in config.read_graphs:
            if not limit.reads(opset=graph.opset, ir=graph.ir):
                yield Problem(
                    config.model.at(path),
                    f"it has opset {graph.opset} and IR {graph.ir}; Triton {limit.name} reads up "
                    f"to {limit.max_opset} and {limit.max_ir} (ONNX Runtime {limit.onnxruntime})",
                )


def _fields(message: Any, above: tuple[Step, ...] = ()) -> Iterator[tuple[str, tuple[Step, ...]]]:
    """Every field that is set, with the way to it."""
    for field, value in message.ListFields():
        path = (*above, field.name)
        yield field.name, path
        if field.message_type is None or field.message_type.GetOptions().map_entry:
            continue
        if hasattr(value, "ListFields"):
            yield from _fields(value, path)
        else:
            for index, each in enumerate(value):
                yield from _fields(each, (*path, index))
