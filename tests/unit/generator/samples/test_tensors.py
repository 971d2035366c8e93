import numpy as np
import pytest

from generator.recipe import ModelRecipe
from generator.samples.shapes import Shape, verification_shapes
from generator.samples.tensors import complete, draw_batch, draw_element
from tests.unit.generator.entries import DENSE, MASK, TOKENS, entry, sequence


def test_ids_reach_both_ends_of_the_table() -> None:
    ids = draw_batch(entry(), Shape(3, ()), draw=5)["ids"]

    assert (ids.min(), ids.max()) == (0, 99)
    assert (ids.shape, ids.dtype) == ((3, 6), np.int64)


def test_the_same_request_has_the_same_values_and_another_draw_others() -> None:
    first, again, other = (
        draw_batch(entry(), Shape(2, ()), draw=draw)["dense"] for draw in (0, 0, 1)
    )

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_warm_up_data_do_not_depend_on_model_version_or_seed() -> None:
    """Otherwise a new version could not replace the old one without a reload of both."""
    old, new = entry(version=1), entry(version=2, seed=7, args={"retrained": True})

    for one, other in zip(old.inputs, new.inputs, strict=True):
        assert np.array_equal(draw_element(one, Shape(1, ())), draw_element(other, Shape(1, ())))


@pytest.mark.parametrize("dtype", ["BOOL", "INT64", "FP32"])
def test_a_mask_is_ones_and_then_zeros_and_never_empty(dtype: str) -> None:
    model = sequence(inputs=[TOKENS, MASK | {"dtype": dtype}])

    for draw, shape in enumerate(verification_shapes(model)):
        mask = draw_batch(model, shape, draw=draw)["mask"].astype(int)
        assert (np.diff(mask, axis=-1) <= 0).all()
        assert mask[:, 0].all()
        assert mask[0].all()


def test_some_verified_masks_hide_something() -> None:
    model = sequence()

    assert any(
        not draw_batch(model, shape, draw=draw)["mask"].all()
        for draw, shape in enumerate(verification_shapes(model))
    )


def test_a_warm_up_mask_is_all_ones() -> None:
    mask = sequence().inputs[1]

    assert draw_element(mask, Shape(8, (("seq", 64),))).tolist() == [True] * 64


def test_a_model_without_batch_dimension_gets_none() -> None:
    assert draw_batch(entry(max_batch_size=0), Shape(1, ()), draw=0)["dense"].shape == (13,)


def test_floats_stay_in_their_range() -> None:
    model = entry(inputs=[DENSE | {"range": [5, 6]}])

    dense = draw_batch(model, Shape(64, ()), draw=0)["dense"]

    assert ((dense >= 5) & (dense < 6)).all()
    assert len(np.unique(dense)) > 1


def test_texts_are_those_that_the_recipe_gives() -> None:
    texts = {"name": "text", "dtype": "BYTES", "shape": [2], "values": ["cat", "é"]}
    model = entry(source=None, onnx="m.onnx", inputs=[texts])

    drawn = draw_batch(model, Shape(64, ()), draw=0)["text"]

    assert (drawn.shape, drawn.dtype) == ((64, 2), np.object_)
    assert set(drawn.ravel().tolist()) == {b"cat", "é".encode()}


@pytest.mark.parametrize("dtype", ["BOOL", "INT32", "FP32"])
def test_a_control_flag_is_set_or_not(dtype: str) -> None:
    start = {"name": "start", "control": "start", "dtype": dtype}
    model = entry(inputs=[DENSE, start], sequence={})

    drawn = draw_batch(model, Shape(64, ()), draw=0)["start"]

    assert (drawn.shape, set(drawn.ravel().tolist())) == ((64, 1), {0, 1})


@pytest.fixture
def forgiving() -> ModelRecipe:
    optional = {"name": "bias", "dtype": "FP32", "shape": ["seq", 2], "optional": True}
    return sequence(
        inputs=[optional | {"default": 0.5}, TOKENS], outputs=["score"], max_batch_size=0
    )


def test_every_second_request_leaves_optional_inputs_out(forgiving: ModelRecipe) -> None:
    shape = Shape(1, (("seq", 4),))

    assert [list(draw_batch(forgiving, shape, draw=draw)) for draw in (0, 1)] == [
        ["bias", "tokens"],
        ["tokens"],
    ]


def test_what_is_left_out_is_filled_with_one_default_for_each_dynamic_size(
    forgiving: ModelRecipe,
) -> None:
    request = draw_batch(forgiving, Shape(1, (("seq", 4),)), draw=1)

    filled = complete(forgiving, request)

    assert list(filled) == ["bias", "tokens"]
    assert filled["bias"].tolist() == [[0.5, 0.5]]


@pytest.mark.parametrize(("max_batch_size", "batch"), [(0, 1), (4, 1), (4, 3)])
def test_some_rows_are_a_whole_sequence_without_a_state(max_batch_size: int, batch: int) -> None:
    """As such a row servers are asked; the others are in the midst of a sequence."""
    memory = {"name": "before", "dtype": "FP32", "shape": [2]}
    controls = [{"name": name, "control": name} for name in ("start", "end", "ready")]
    model = entry(
        inputs=[DENSE, memory, *controls],
        outputs=["score", "after"],
        max_batch_size=max_batch_size,
        sequence={"states": {"before": "after"}},
    )

    whole, other = (draw_batch(model, Shape(batch, ()), draw=draw) for draw in (0, 1))

    first = (0,) if max_batch_size else ()
    assert all(whole[name][first].all() for name in ("start", "end", "ready"))
    assert not whole["before"][first].any()
    assert other["before"][-1:].all()
