"""A repository that somebody else made; its ONNX files have a few bytes."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper

from generator.errors import NothingFound
from generator.lint.check import lint
from generator.lint.read import read_repository
from generator.lint.rules.tensors import tensor_unknown
from generator.recipe import ModelRecipe, Recipe, load_recipe
from generator.releases import release
from generator.scaffold.begin import begin
from generator.scaffold.text import left_out

TABLE = numpy_helper.from_array(np.zeros((7, 2), np.float32), "table")

LOOKUP = """
backend: "onnxruntime"
max_batch_size: 16
input [{ name: "ids" data_type: TYPE_INT64 dims: [-1] }]
output [{ name: "rows" data_type: TYPE_FP32 dims: [-1, 2] label_filename: "labels.txt" }]
instance_group [{ kind: KIND_GPU count: 2 gpus: [0, 1] }, { kind: KIND_CPU }]
version_policy { all {} }
dynamic_batching {
  preferred_batch_size: [4, 16]
  max_queue_delay_microseconds: 300
  priority_levels: 2
  default_priority_level: 1
}
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
model_warmup {
  name: "small" batch_size: 1
  inputs { key: "ids" value { data_type: TYPE_INT64 dims: [2] zero_data: true } }
}
model_warmup {
  name: "large" batch_size: 16
  inputs { key: "ids" value { data_type: TYPE_INT64 dims: [30] zero_data: true } }
}
"""

CHAINED = """
platform: "ensemble"
max_batch_size: 16
input [{{ name: "IDS" data_type: TYPE_INT64 dims: [-1] }}]
output [{{ name: "ROWS" data_type: TYPE_FP32 dims: [-1, 2] }}]
ensemble_scheduling {{
  step {{
    model_name: "{model}" model_version: -1
    input_map {{ key: "ids" value: "IDS" }}
    output_map {{ key: "rows" value: "ROWS" }}
  }}
}}
"""


def lookup() -> onnx.ModelProto:
    node = helper.make_node("Gather", ["table", "ids"], ["rows"], axis=0)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch", "seq"])
    rows = helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["batch", "seq", 2])
    graph = helper.make_graph([node], "lookup", [ids], [rows], [TABLE])
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def put(root: Path, name: str, config: str | None, *versions: int) -> None:
    for version in versions:
        (root / name / str(version)).mkdir(parents=True)
        onnx.save(lookup(), root / name / str(version) / "model.onnx")
    if config is not None:
        (root / name).mkdir(exist_ok=True)
        (root / name / "config.pbtxt").write_text(config)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "repository").mkdir()
    return tmp_path / "repository"


def begun(repository: Path) -> Recipe:
    path = repository.parent / "models.yaml"
    path.write_text(begin(repository, recipe_folder=path.parent, triton="25.08"))
    return load_recipe(path)


def only_model(repository: Path) -> ModelRecipe:
    (model,) = begun(repository).models
    return model


def test_what_a_config_says_becomes_the_words_of_a_recipe(repository: Path) -> None:
    put(repository, "lookup", LOOKUP, 1, 10, 2)

    recipe = begun(repository)
    (model,) = recipe.models

    assert recipe.target == "auto"
    assert model.onnx == "repository/lookup/10/model.onnx"
    (ids,) = model.inputs
    assert (ids.name, ids.dtype, ids.shape) == ("ids", "INT64", ("seq",))
    assert model.dims["seq"].model_dump(include={"min", "opt", "max"}) == {
        "min": 2,
        "opt": 30,
        "max": 30,
    }
    assert model.max_batch_size == 16
    assert [(output.name, output.labels) for output in model.outputs] == [
        ("rows", "repository/lookup/labels.txt")
    ]
    assert model.batching is not None
    assert (model.batching.preferred, model.batching.max_queue_delay_us) == ((4, 16), 300)
    assert isinstance(model.instances, tuple)
    assert [(group.kind, group.count, group.gpus) for group in model.instances] == [
        ("gpu", 2, (0, 1)),
        ("cpu", 1, ()),
    ]
    assert model.version_policy == "all"
    assert model.config["dynamic_batching"] == {
        "priority_levels": 2,
        "default_priority_level": 1,
    }
    assert model.config["parameters"] == {"intra_op_thread_count": {"string_value": "1"}}


def test_clients_may_go_on_to_name_the_newest_version(repository: Path) -> None:
    put(repository, "lookup", LOOKUP, 1, 10, 2)
    put(repository, "first", LOOKUP, 1)
    put(repository, "both", CHAINED.format(model="lookup"))
    (repository / "both/4").mkdir()
    text = begin(repository, recipe_folder=repository.parent, triton="25.08")

    recipe = begun(repository)

    assert [(model.name, model.version) for model in recipe.models] == [
        ("first", None),
        ("lookup", 10),
    ]
    assert [(chain.name, chain.version) for chain in recipe.ensembles] == [("both", 4)]
    assert "  # Of its versions 1, 2, 10 the newest is taken over; an entry for another " in text
    assert text.count("is taken over") == 1


def test_an_output_that_the_graph_lacks_is_left_out_in_lints_words(repository: Path) -> None:
    more = 'output [{ name: "score" data_type: TYPE_FP32 dims: [1] }]'
    put(repository, "lookup", LOOKUP + more, 3)

    text = begin(repository, recipe_folder=repository.parent, triton="25.08")

    assert [output.name for output in only_model(repository).outputs] == ["rows"]
    (why,) = left_out(text)
    assert why == "lookup: output score is not in 3/model.onnx, which has rows"
    found = lint(read_repository(repository, release("25.08")), [tensor_unknown])
    assert [f"lookup: {finding.problem.what}" for finding in found] == [why]


def test_a_model_without_a_config_is_as_triton_makes_it_up(repository: Path) -> None:
    put(repository, "lookup", None, 1)

    model_text = begin(repository, recipe_folder=repository.parent, triton="25.08")

    assert "max_batch_size: 4" in model_text
    assert "{name: ids, dtype: INT64, shape: [seq]}" in model_text
    assert (
        "# TODO dims: the sizes that inputs take, such as {seq: {min: 1, opt: 32, max" in model_text
    )
    assert "instances:" not in model_text
    assert "target: auto" in model_text


def test_what_is_no_onnx_model_is_told_and_left_as_it_is(repository: Path) -> None:
    put(repository, "lookup", LOOKUP, 1)
    put(repository, "engine", 'platform: "tensorrt_plan"')
    put(repository, "empty", None)
    (repository / "empty").mkdir()
    chained = 'platform: "ensemble" ensemble_scheduling { step { model_name: "engine" } }'
    put(repository, "chained", chained)
    put(repository, "stateful", "sequence_batching { }", 1)

    text = begin(repository, recipe_folder=repository.parent, triton="25.08")

    assert [model.name for model in begun(repository).models] == ["lookup"]
    for said in (
        "# - engine: tensorrt_plan; it stays as it is",
        "# - empty: no version has an ONNX file",
        "# - chained: an ensemble with engine, of which there is no entry; it stays as it is",
        "# - stateful: in a recipe the control tensors of a sequence are inputs",
    ):
        assert said in text


def test_what_cannot_be_read_is_left_out_with_the_reason(repository: Path) -> None:
    put(repository, "lookup", LOOKUP, 1)
    put(repository, "unclosed", 'backend: "onnxruntime', 1)
    put(repository, "damaged", LOOKUP, 1)
    damaged = repository / "damaged/1/model.onnx"
    damaged.write_bytes(b"no model")

    text = begin(repository, recipe_folder=repository.parent, triton="25.08")

    assert [model.name for model in begun(repository).models] == ["lookup"]
    unclosed, unreadable = left_out(text)
    assert unclosed.startswith(f"unclosed: {repository}/unclosed/config.pbtxt is no config that")
    assert unreadable.startswith(f"damaged: {damaged} cannot be read as an ONNX model: ")


def test_a_batch_size_is_kept_where_nothing_else_is_listed(repository: Path) -> None:
    put(repository, "lookup", 'backend: "onnxruntime" max_batch_size: 32', 1)

    assert "max_batch_size: 32" in begin(
        repository, recipe_folder=repository.parent, triton="25.08"
    )


def test_an_onnx_file_alone_is_an_entry(tmp_path: Path) -> None:
    onnx.save(lookup(), tmp_path / "lookup.onnx")

    text = begin(tmp_path / "lookup.onnx", recipe_folder=tmp_path, triton="25.08")

    (model,) = yaml.safe_load(text)["models"]
    assert "target: cpu" in text
    assert (model["name"], model["onnx"], model["outputs"]) == ("lookup", "lookup.onnx", ["rows"])
    assert model["inputs"] == [{"name": "ids", "dtype": "INT64", "shape": ["seq"]}]
    assert "instances" not in model


def test_a_file_that_is_no_onnx_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "lookup.onnx").write_text("none")

    with pytest.raises(NothingFound, match=r"lookup\.onnx cannot be read as an ONNX model"):
        begin(tmp_path / "lookup.onnx", recipe_folder=tmp_path, triton="25.08")


def test_paths_outside_of_the_recipes_folder_are_absolute(repository: Path, tmp_path: Path) -> None:
    put(repository, "lookup", LOOKUP, 1)

    text = begin(repository, recipe_folder=tmp_path / "elsewhere", triton="25.08")

    assert f"onnx: {repository}/lookup/1/model.onnx" in text


@pytest.mark.parametrize("there", ["nothing", "file", "folder"])
def test_where_nothing_can_begin_it_says_what_was_wanted(repository: Path, there: str) -> None:
    what = repository if there == "folder" else repository / "models.txt"
    if there == "file":
        what.touch()

    with pytest.raises(NothingFound) as refused:
        begin(what, recipe_folder=repository, triton="25.08")

    wanted = (
        "holds no ONNX model" if there == "folder" else "is no Python file, no ONNX file and no"
    )
    assert f"{what} {wanted}" in str(refused.value)


def test_a_repository_beside_the_recipe_is_named_by_its_whole_path(repository: Path) -> None:
    put(repository, "lookup", LOOKUP, 1)
    folder = repository.parent / "recipes"
    folder.mkdir()
    path = folder / "models.yaml"
    path.write_text(begin(folder / ".." / "repository", recipe_folder=folder, triton="25.08"))

    (model,) = load_recipe(path).models

    assert model.onnx == str(repository / "lookup" / "1" / "model.onnx")


def test_of_many_models_without_an_onnx_file_the_first_are_told(repository: Path) -> None:
    for number in range(200):
        put(repository, f"m{number:03}", 'platform: "pytorch_libtorch"')

    with pytest.raises(NothingFound, match=r"m002: pytorch_libtorch; it stays as it is and 197"):
        begun(repository)
