from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from generator.errors import StageRefused
from generator.recipe import Input
from generator.reports import GraphFacts
from generator.samples.graph import examine, has_convolutions, load_graph, table_rows

TABLE = np.zeros((30, 4), np.float32)
OFFSETS = np.array([0, 10, 20])
FIRST = np.array(0)
AXIS = np.array([-1])
YES = np.ones((), np.bool_)


def model(*nodes: onnx.NodeProto, functions: Any = (), **constants: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(
        graph,
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("own", 1)],
        functions=list(functions),
    )


def node(kind: str, inputs: str, output: str = "out", **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [output], **attributes)


@pytest.mark.parametrize(
    ("nodes", "rows"),
    [
        ([node("Gather", "table ids")], 30),
        ([node("Gather", "table ids", axis=1)], 4),
        ([node("GatherElements", "table ids", axis=-1)], 4),
        ([node("Gather", "ids first", "one", axis=1), node("Gather", "table one")], 30),
        ([node("Unsqueeze", "ids axis", "at"), node("GatherND", "table at")], 30),
        ([node("Cast", "ids", "short", to=TensorProto.INT32), node("Gather", "table short")], 30),
        ([node("Add", "offsets ids", "moved"), node("Gather", "table moved")], 10),
        ([node("Sub", "ids offsets", "moved"), node("Gather", "table moved")], 30),
        ([node("Cast", "table", "half", to=TensorProto.FLOAT16), node("Gather", "half ids")], 30),
        ([node("Concat", "ids ids", "two", axis=1), node("Gather", "table two")], 30),
        ([node("Gather", "table ids", "large"), node("Gather", "small ids")], 7),
        ([node("Gather", "small ids", "few"), node("Gather", "table ids")], 7),
    ],
)
def test_an_id_is_below_the_rows_of_the_smallest_table(
    nodes: list[onnx.NodeProto], rows: int
) -> None:
    constants = {
        "table": TABLE,
        "small": TABLE[:7],
        "first": FIRST,
        "axis": AXIS,
        "offsets": OFFSETS,
    }

    assert table_rows(model(*nodes, **constants), Path()) == {"ids": rows}


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Clip", "ids first last", "safe"), node("Gather", "table safe")],
        [node("Mod", "ids last", "hashed"), node("Gather", "table hashed")],
        [node("Gather", "table first"), node("Identity", "ids", "same")],
    ],
)
def test_nothing_is_said_of_values_that_are_made_to_fit(nodes: list[onnx.NodeProto]) -> None:
    assert table_rows(model(*nodes, table=TABLE, first=FIRST, last=np.array(29)), Path()) == {}


def test_a_table_in_a_branch_counts() -> None:
    branch = helper.make_graph(
        [node("Gather", "table ids", "inner")],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    choice = node("If", "yes", then_branch=branch, else_branch=branch)

    assert table_rows(model(choice, table=TABLE, yes=YES), Path()) == {"ids": 30}


def test_a_table_behind_a_function_counts() -> None:
    lookup = helper.make_function(
        "own",
        "Lookup",
        ["t", "i"],
        ["o"],
        [node("Gather", "t i", "o")],
        [helper.make_opsetid("", 20)],
    )
    call = node("Lookup", "table ids", domain="own")

    assert table_rows(model(call, table=TABLE, functions=[lookup]), Path()) == {"ids": 30}


def test_shifts_are_read_from_the_file_of_weights_and_tables_are_not(tmp_path: Path) -> None:
    shifted = [node("Add", "ids offsets", "moved"), node("Gather", "table moved")]
    onnx.save(
        model(*shifted, table=TABLE, offsets=OFFSETS),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )

    loaded = load_graph(tmp_path / "model.onnx")

    assert table_rows(loaded, tmp_path) == {"ids": 10}
    (table,) = [tensor for tensor in loaded.graph.initializer if tensor.name == "table"]
    assert not table.raw_data


@pytest.mark.parametrize("damaged", [node("Gather", "table"), node("Add", "ids")])
def test_a_node_without_its_inputs_is_damage(damaged: onnx.NodeProto) -> None:
    with pytest.raises(ValueError, match="lacks inputs or outputs that its operator needs"):
        table_rows(model(damaged, table=TABLE), Path())


def test_a_range_beyond_the_table_is_named_with_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(model(node("Gather", "table ids"), table=TABLE), path)

    assert examine(path, [ids(30)]) == GraphFacts(table_rows={"ids": 30}, has_convolutions=False)
    with pytest.raises(StageRefused, match=r"input ids: range \[0, 31\] goes beyond .* 30 rows"):
        examine(path, [ids(31)])


def ids(high: int) -> Input:
    said = {"name": "ids", "dtype": "INT64", "shape": [3], "range": [0, high]}
    return Input.model_validate(said)


def test_convolutions_are_found_in_branches_too() -> None:
    convolution = node("Conv", "ids table", "inner")
    branch = helper.make_graph(
        [convolution],
        "branch",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, None)],
    )
    choice = node("If", "yes", then_branch=branch, else_branch=branch)

    assert has_convolutions(model(choice, table=TABLE, yes=YES))
    assert not has_convolutions(model(node("Gather", "table ids"), table=TABLE))
