from pathlib import Path

import pytest

from contract.dtypes import Datatype
from generator.errors import RecipeError
from generator.recipe import load_recipe
from generator.scaffold.found import Found, FoundDim, FoundInput, FoundModel
from generator.scaffold.text import recipe_text, to_fill_in, together

IDS = FoundInput(name="ids", datatype=Datatype.INT64, shape=("seq",), range=(0, 9))
KNOWN = FoundModel(
    name="ranker",
    source={"source": "ranker:create"},
    inputs=(IDS,),
    dims=(FoundDim(name="seq", sizes=(1, 4, 8)),),
    outputs=("score",),
    max_batch_size=8,
    keys={"batching": {"preferred": [4, 8]}},
    notes=("Ranker: ids to a score.",),
)
UNKNOWN = FoundModel(
    name="tower", source={"source": "tower:create"}, inputs=(FoundInput(name="x"),)
)


def text_of(*models: FoundModel, left_out: tuple[str, ...] = ()) -> str:
    found = Found(models=models, left_out=left_out)
    return recipe_text(found, origin="ranker.py", triton="24.10", target="cpu")


def test_what_is_known_is_a_recipe_that_loads(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text_of(KNOWN, left_out=("train() needs arguments",)))

    (model,) = load_recipe(path).models

    assert (model.name, model.source, model.max_batch_size) == ("ranker", "ranker:create", 8)
    assert (model.inputs[0].range, model.dims["seq"].opt) == ((0, 9), 4)
    assert model.batching is not None
    assert model.batching.preferred == (4, 8)
    assert "# Ranker: ids to a score." in path.read_text()
    assert "# - train() needs arguments" in path.read_text()
    assert to_fill_in(path.read_text()) == []


def test_what_is_not_known_is_refused_by_name_until_it_is_filled_in(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text_of(KNOWN, UNKNOWN))

    waiting = to_fill_in(path.read_text())
    with pytest.raises(RecipeError) as refused:
        load_recipe(path)

    for line, key in zip(
        waiting, ("x: dtype", "x: shape", "outputs", "max_batch_size"), strict=True
    ):
        assert line.startswith(f"tower: {key}: ")
    for key in ("input x: dtype", "input x: shape", "outputs", "max_batch_size"):
        assert f"model tower: {key}: this key is missing; its meaning: " in str(refused.value)

    filled = path.read_text()
    for line in ("dtype: FP32", "shape: [3]", "outputs: [y]", "max_batch_size: 4"):
        key = line.partition(":")[0]
        todo = next(each for each in filled.splitlines() if f"# TODO {key}:" in each)
        filled = filled.replace(todo, todo.partition("#")[0] + line)
    path.write_text(filled)
    assert [model.name for model in load_recipe(path).models] == ["ranker", "tower"]


def test_a_dimension_of_unknown_sizes_waits_for_its_range(tmp_path: Path) -> None:
    path = tmp_path / "models.yaml"
    path.write_text(text_of(KNOWN.model_copy(update={"dims": (FoundDim(name="seq"),)})))

    (waiting,) = to_fill_in(path.read_text())
    with pytest.raises(RecipeError) as refused:
        load_recipe(path)

    assert waiting.endswith("such as {seq: {min: 1, opt: 32, max: 128}}")
    assert "add seq: {min, opt, max}" in str(refused.value)


def test_what_many_models_wait_for_is_told_once() -> None:
    dims = "dims: the sizes that inputs take, such as {seq: {min: 1, opt: 32, max: 128}}"
    names = [f"text_{number}" for number in range(1, 7)]

    assert together([f"{name}: {dims}" for name in names] + ["tower: x: dtype: FP32"]) == [
        f"text_1 … text_6 (6 models): {dims}",
        "tower: x: dtype: FP32",
    ]
    assert together(["a: outputs: one name", "b: outputs: one name", "b: dims: sizes"]) == [
        "a, b: outputs: one name",
        "b: dims: sizes",
    ]
