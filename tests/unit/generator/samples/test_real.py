from pathlib import Path
from typing import Any

import numpy as np
import pytest

from generator.errors import StageRefused
from generator.recipe import ModelRecipe
from generator.samples.real import read_real
from generator.samples.shapes import Shape
from generator.samples.tensors import draw_batch, draw_element
from tests.unit.generator.entries import IDS, entry, sequence

TOKENS = np.arange(1, 13).reshape(3, 4)


def read(folder: Path, model: ModelRecipe, **arrays: Any) -> dict[str, Any]:
    np.savez(folder / "real.npz", **arrays)
    return read_real(model, folder)


def refusal(folder: Path, model: ModelRecipe, **arrays: Any) -> str:
    with pytest.raises(StageRefused) as refused:
        read(folder, model, **arrays)
    return str(refused.value)


def test_a_recipe_without_samples_has_none(tmp_path: Path) -> None:
    assert read_real(entry(), tmp_path) == {}


def test_batches_go_round_the_samples(tmp_path: Path) -> None:
    model = entry(samples="real.npz")
    real = read(tmp_path, model, ids=np.arange(18).reshape(3, 6))

    batches = [draw_batch(model, Shape(2, ()), draw=draw, real=real)["ids"] for draw in (0, 1, 2)]

    assert [batch[:, 0].tolist() for batch in batches] == [[0, 6], [12, 0], [6, 12]]


def test_a_dynamic_dimension_is_cut_and_begun_again(tmp_path: Path) -> None:
    model = sequence(samples="real.npz")
    real = read(tmp_path, model, tokens=TOKENS)

    short, long = (
        draw_batch(model, Shape(1, (("seq", size),)), draw=0, real=real)["tokens"][0].tolist()
        for size in (2, 6)
    )

    assert (short, long) == ([1, 2], [1, 2, 3, 4, 1, 2])


def test_an_input_without_samples_is_drawn_beside_them(tmp_path: Path) -> None:
    model = sequence(samples="real.npz")
    real = read(tmp_path, model, tokens=TOKENS)

    assert draw_batch(model, Shape(1, (("seq", 4),)), draw=0, real=real)["mask"].all()


def test_warm_up_takes_the_first_sample(tmp_path: Path) -> None:
    model = sequence(samples="real.npz")
    real = read(tmp_path, model, tokens=TOKENS)

    assert draw_element(model.inputs[0], Shape(8, (("seq", 3),)), real=real).tolist() == [1, 2, 3]


def test_texts_are_bytes(tmp_path: Path) -> None:
    texts = {"name": "text", "dtype": "BYTES", "shape": [1]}
    model = entry(source=None, onnx="m.onnx", samples="real.npz", inputs=[texts])

    real = read(tmp_path, model, text=np.array([[b"cat"], [b"horse"]]))

    assert draw_batch(model, Shape(2, ()), draw=0, real=real)["text"].tolist() == [
        [b"cat"],
        [b"horse"],
    ]


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"idx": np.zeros((1, 6), np.int64)}, "the model has no input 'idx'; did you mean 'ids'?"),
        (
            {"ids": np.zeros((1, 6), np.int32)},
            "ids is INT32[1, 6], the recipe says INT64[6] with a first axis of samples before it",
        ),
        ({"ids": np.zeros(6, np.int64)}, "ids is INT64[6], the recipe says INT64[6] with a first"),
        ({"ids": np.zeros((1, 7), np.int64)}, "ids is INT64[1, 7], the recipe says INT64[6]"),
        ({"ids": np.zeros((0, 6), np.int64)}, "ids is empty; one sample at least"),
        ({"ids": np.full((1, 6), 100)}, "ids goes from 100 to 100, its range is [0, 100]"),
        ({"dense": np.zeros((1, 13), complex)}, "dense cannot be sent: no Triton datatype"),
        (
            {"ids": np.zeros((1, 6), np.int64), "dense": np.zeros((2, 13), np.float32)},
            "not as many samples of each input: ids 1, dense 2",
        ),
        ({"dense": np.array([object()])}, "cannot be read: Object arrays cannot be loaded"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    tmp_path: Path, arrays: dict[str, Any], said: str
) -> None:
    assert said in refusal(tmp_path, entry(samples="real.npz"), **arrays)


def test_samples_must_hold_what_nothing_else_says(tmp_path: Path) -> None:
    model = entry(samples="real.npz", inputs=[IDS | {"range": None}, IDS | {"name": "more"}])

    assert "ids has neither range nor samples" in refusal(
        tmp_path, model, more=np.zeros((1, 6), np.int64)
    )


def test_samples_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(StageRefused, match=r"samples .*real\.npz cannot be read: "):
        read_real(entry(samples="real.npz"), tmp_path)


def test_one_array_without_a_name_is_refused_with_the_remedy(tmp_path: Path) -> None:
    np.save(tmp_path / "real.npy", np.zeros((2, 6), np.int64))

    with pytest.raises(StageRefused, match=r"real\.npy cannot be read: it is one array .*savez"):
        read_real(entry(samples="real.npy"), tmp_path)
