"""What an ONNX graph says about the values it takes. For workers, and for lint."""

from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import inliner, numpy_helper

from generator.errors import StageRefused
from generator.recipe import Input
from generator.reports.graph import GraphFacts

# What changes the shape or the type of ids, or picks among them: they still are ids.
_CARRY = (
    frozenset(("Cast", "Expand", "Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"))
    | frozenset(("Gather", "GatherElements", "GatherND", "Slice", "Split", "Tile", "Transpose"))
)  # fmt: skip
_JOIN = frozenset(("Concat", "Where"))
_KEEP_SHAPE = frozenset(("Cast", "CastLike", "DequantizeLinear", "Identity"))
_INTEGERS = frozenset(
    number for name, number in onnx.TensorProto.DataType.items() if name.startswith(("INT", "UINT"))
)

# Of a value that consists of ids: the inputs they come from, and the most that was added to them.
_Shifts = dict[str, int]


def load_graph(path: Path) -> onnx.ModelProto:
    """The model without its weights: milliseconds, whatever they weigh."""
    return onnx.load(path, load_external_data=False)


def examine(path: Path, inputs: Sequence[Input]) -> GraphFacts:
    """What a model's file says about the values of its inputs.

    Raises:
        StageRefused: the recipe gives an input a range that goes beyond its table.
    """
    model = load_graph(path)
    rows = table_rows(model, path.parent)
    for spec in inputs:
        if spec.range and spec.name in rows and spec.range[1] > rows[spec.name]:
            raise StageRefused(
                f"input {spec.name}: range {list(spec.range)} goes beyond the table that it "
                f"points into, which has {rows[spec.name]} rows; write range: "
                f"[{spec.range[0]}, {rows[spec.name]}]"
            )
    return GraphFacts(table_rows=rows, has_convolutions=has_convolutions(model))


def table_rows(model: onnx.ModelProto, folder: Path) -> dict[str, int]:
    """How many rows the smallest table has that an integer input picks from, by input.

    An id is valid from 0 to below that. Followed through what reshapes, picks, joins and shifts
    ids; an input that is clipped, hashed or computed with has no entry. `folder` holds the
    model's external data, of which only shifts are read.

    Raises:
        ValueError: the file is damaged: a node lacks inputs that its operator needs.
    """
    model = inliner.inline_local_functions(model) if model.functions else model
    given = {tensor.name for tensor in model.graph.initializer}
    ids = {
        item.name: {item.name: 0}
        for item in model.graph.input
        if item.name not in given and item.type.tensor_type.elem_type in _INTEGERS
    }
    rows: dict[str, int] = {}
    try:
        for name, found in _Scope(folder, ChainMap(ids), ChainMap()).picks(model.graph):
            rows[name] = min(found, rows.get(name, found))
    except IndexError as error:
        raise ValueError("a node lacks inputs or outputs that its operator needs") from error
    return rows


def has_convolutions(model: onnx.ModelProto) -> bool:
    """Whether cuDNN would look for an algorithm at each new shape."""
    graphs: list[onnx.GraphProto | onnx.FunctionProto] = [model.graph, *model.functions]
    return any("Conv" in node.op_type for graph in graphs for node in _all_nodes(graph))


class _Scope:
    """What is known of the values that a graph's nodes see; inner graphs see the outer's too."""

    def __init__(
        self,
        folder: Path,
        ids: ChainMap[str, _Shifts],
        constants: ChainMap[str, onnx.TensorProto],
    ) -> None:
        self._folder = folder
        self._ids = ids
        self._constants = constants

    def picks(self, graph: onnx.GraphProto) -> Iterator[tuple[str, int]]:
        """An input and the rows it may point to, for each node that picks from a constant."""
        self._constants.update((tensor.name, tensor) for tensor in graph.initializer)
        unsqueezed = {node.output[0] for node in graph.node if node.op_type == "Unsqueeze"}
        for node in graph.node:
            attributes = {item.name: item for item in node.attribute}
            axis = _picking_axis(node, attributes, unsqueezed)
            if axis is not None and node.input[0] in self._constants:
                rows = self._constants[node.input[0]].dims[axis]
                for name, shift in self._ids.get(node.input[1], {}).items():
                    yield name, rows - shift
            self._learn(node, attributes)
            for inner in _inner_graphs(node):
                scope = _Scope(self._folder, self._ids.new_child(), self._constants.new_child())
                yield from scope.picks(inner)

    def _learn(self, node: onnx.NodeProto, attributes: Mapping[str, onnx.AttributeProto]) -> None:
        if node.op_type == "Constant" and "value" in attributes:
            self._constants[node.output[0]] = attributes["value"].t
        elif node.op_type in _KEEP_SHAPE and node.input[0] in self._constants:
            self._constants[node.output[0]] = self._constants[node.input[0]]
        if shifts := self._shifts_after(node):
            self._ids.update(dict.fromkeys(node.output, shifts))

    def _shifts_after(self, node: onnx.NodeProto) -> _Shifts:
        if node.op_type in _CARRY:
            return self._ids.get(node.input[0], {})
        if node.op_type in _JOIN:
            joined = [self._ids.get(name, {}) for name in node.input]
            return {
                name: max(shifts[name] for shifts in joined if name in shifts)
                for name in {name for shifts in joined for name in shifts}
            }
        if node.op_type in ("Add", "Sub"):
            ids, by = node.input[0], node.input[1]
            if node.op_type == "Add" and ids in self._constants:
                ids, by = by, ids
            if ids in self._ids and by in self._constants:
                values = numpy_helper.to_array(self._constants[by], str(self._folder))
                signed = values.astype(np.int64) * (1 if node.op_type == "Add" else -1)
                return {name: shift + int(signed.max()) for name, shift in self._ids[ids].items()}
        return {}


def _picking_axis(
    node: onnx.NodeProto, attributes: Mapping[str, onnx.AttributeProto], unsqueezed: set[str]
) -> int | None:
    """The axis of its first input along which a node picks by its second."""
    if node.op_type in ("Gather", "GatherElements"):
        return attributes["axis"].i if "axis" in attributes else 0
    # With one coordinate per pick, as PyTorch writes `table[ids]`.
    if node.op_type == "GatherND" and node.input[1] in unsqueezed:
        return attributes["batch_dims"].i if "batch_dims" in attributes else 0
    return None


def _all_nodes(graph: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for inner in _inner_graphs(node):
            yield from _all_nodes(inner)


def _inner_graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.GRAPH:
            yield attribute.g
        yield from attribute.graphs
