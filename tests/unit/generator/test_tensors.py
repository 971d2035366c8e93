import numpy as np
import pytest

from generator.shapes import Shape, verification_shapes
from generator.tensors import draw_batch, draw_element
from tests.unit.generator.entries import MASK, TOKENS, entry, sequence


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
