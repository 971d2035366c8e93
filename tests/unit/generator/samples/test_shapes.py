from hypothesis import given
from hypothesis import strategies as st

from generator.recipe import ModelRecipe
from generator.samples.shapes import spread, verification_shapes
from tests.unit.generator.entries import TOKENS, entry


@st.composite
def models(draw: st.DrawFn) -> ModelRecipe:
    names = draw(st.lists(st.sampled_from(["seq", "width", "depth"]), unique=True))
    dims = {}
    for name in names:
        smallest, usual, largest = sorted(
            draw(st.lists(st.integers(1, 300), min_size=3, max_size=3, unique=True))
        )
        step = draw(st.sampled_from([1, 2, 8]))
        dims[name] = {
            "min": smallest * step,
            "opt": usual * step,
            "max": largest * step,
            "multiple_of": step,
        }
    return entry(
        inputs=[TOKENS | {"shape": names or [4]}],
        dims=dims,
        max_batch_size=draw(st.integers(0, 64)),
        batching={"preferred": draw(st.lists(st.integers(1, 64), max_size=6))},
    )


@given(models())
def test_verification_meets_every_size_that_matters(model: ModelRecipe) -> None:
    shapes = verification_shapes(model)

    assert len(shapes) >= 4
    largest = max(1, model.max_batch_size)
    assert {shape.batch for shape in shapes} >= {1, min(3, largest), largest}
    assert all(1 <= shape.batch <= largest for shape in shapes)
    for name, dim in model.dims.items():
        sizes = {dict(shape.dims)[name] for shape in shapes}
        assert sizes >= {dim.min, dim.opt, dim.max}
        steps = {size // dim.multiple_of for size in sizes}
        assert any(step % 2 for step in steps) or dim.max - dim.min == dim.multiple_of
        assert all(dim.min <= size <= dim.max for size in sizes)
        assert all(size % dim.multiple_of == 0 for size in sizes)


def test_two_dimensions_never_move_in_step_only() -> None:
    """A graph that takes one dimension for another would pass if they were always equal."""
    dim = {"min": 1, "opt": 16, "max": 64}
    model = entry(inputs=[TOKENS | {"shape": ["seq", "width"]}], dims={"seq": dim, "width": dim})

    sizes = [dict(shape.dims) for shape in verification_shapes(model)]
    assert sum(size["seq"] != size["width"] for size in sizes) >= len(sizes) // 2


def test_spread_keeps_both_ends() -> None:
    assert spread(list(range(10)), 4) == [0, 3, 6, 9]
    assert spread([1, 2], 4) == [1, 2]
