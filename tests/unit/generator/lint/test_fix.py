from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from generator.lint.fix import fix
from tests.e2e.tiny import contents
from tests.unit.generator.lint.trees import CONFIG, FOLDER, RANKER, Link, found, graph, said, write


def fixed(root: Path) -> list[str]:
    return fix(root, found(root))


@pytest.mark.parametrize("name", ["3.tmp", "2abc", "99999999999999999999"])
def test_a_folder_that_triton_takes_for_a_version_is_hidden(name: str, tmp_path: Path) -> None:
    root = write(tmp_path, {**RANKER, f"ranker/{name}/part": "kept"})

    assert fixed(root) == [f"ranker/{name} is now called .{name}"]

    assert (root / f"ranker/.{name}/part").read_text() == "kept"
    assert said(root) == []


def test_nothing_is_renamed_to_what_exists(tmp_path: Path) -> None:
    root = write(tmp_path, {**RANKER, "ranker/3.tmp/part": "one", "ranker/.3.tmp/part": "other"})
    before = contents(root)

    assert fixed(root) == []

    assert contents(root) == before


def test_a_model_without_any_version_gets_the_one_with_zeros(tmp_path: Path) -> None:
    root = write(tmp_path, {"ranker/config.pbtxt": CONFIG.split("model_warmup")[0]})
    write(root, {"ranker/007/model.onnx": graph()})

    assert fixed(root) == ["ranker/007 is now called 7"]

    assert said(root) == []


def test_a_version_with_zeros_does_not_take_the_place_of_another(tmp_path: Path) -> None:
    root = write(tmp_path, {**RANKER, "ranker/007/model.onnx": graph()})

    assert fixed(root) == []


def test_a_config_gets_what_triton_would_complete(tmp_path: Path) -> None:
    root = write(tmp_path, {"bare/config.pbtxt": 'name: "bare"', "bare/1/model.onnx": graph()})

    assert fixed(root) == ["bare/config.pbtxt has 4 more lines"]

    assert (root / "bare/config.pbtxt").read_text() == (
        'name: "bare"\n'
        "max_batch_size: 4\n"
        "dynamic_batching {}\n"
        'input { name: "ids" data_type: TYPE_INT64 dims: [6] }\n'
        'output { name: "score" data_type: TYPE_FP32 dims: [6] }\n'
    )
    assert said(root) == []


def test_what_a_config_says_stays(tmp_path: Path) -> None:
    inputs_only = CONFIG[: CONFIG.index("output {")] + CONFIG[CONFIG.index("dynamic_batching") :]
    root = write(tmp_path, {**RANKER, "ranker/config.pbtxt": inputs_only})

    fixed(root)

    assert (root / "ranker/config.pbtxt").read_text() == (
        f'{inputs_only}\noutput {{ name: "score" data_type: TYPE_FP32 dims: [6] }}\n'
    )
    assert said(root) == []


def test_a_model_without_batches_is_completed_without(tmp_path: Path) -> None:
    made = helper.make_graph(
        [helper.make_node("ReduceSum", ["x"], ["y"], keepdims=0)],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, "n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [])],
    )
    model = helper.make_model(made, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    root = write(tmp_path, {"bare/config.pbtxt": "", "bare/1": FOLDER})
    onnx.save_model(model, root / "bare/1/model.onnx")

    fixed(root)

    assert (root / "bare/config.pbtxt").read_text() == (
        '\ninput { name: "x" data_type: TYPE_FP32 dims: [2, -1] }\n'
        'output { name: "y" data_type: TYPE_FP32 dims: [1] }\n'
    )
    assert said(root) == []


def test_a_config_behind_a_link_is_completed_where_it_is(tmp_path: Path) -> None:
    tree = {"bare/config.pbtxt": Link("1/config.pbtxt"), "bare/1/config.pbtxt": ""}
    root = write(tmp_path, {**tree, "bare/1/model.onnx": graph()})
    (root / "bare/1/config.pbtxt").chmod(0o640)

    fixed(root)

    assert (root / "bare/config.pbtxt").is_symlink()
    assert (root / "bare/1/config.pbtxt").stat().st_mode & 0o777 == 0o640
    assert said(root) == []


def test_what_is_fixed_is_not_fixed_again(tmp_path: Path) -> None:
    tree = {"bare/config.pbtxt": "", "bare/1/model.onnx": graph(), "bare/2.old": FOLDER}
    root = write(tmp_path, tree)
    assert len(fixed(root)) == 2
    before = contents(root)

    assert fixed(root) == []

    assert contents(root) == before
