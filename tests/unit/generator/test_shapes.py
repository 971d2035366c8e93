from hypothesis import given
from hypothesis import strategies as st

from generator.recipe import ModelRecipe
from generator.shapes import Shape, spread, verification_shapes, warmup_shapes
from tests.unit.generator.entries import TOKENS, entry, sequence


@st.composite
def models(draw: st.DrawFn) -> ModelRecipe:
    names = draw(st.lists(st.sampled_from(["seq", "width", "depth"]), unique=True))
    dims = {}
    for name in names:
        smallest, usual, largest = sorted(
            draw(st.lists(st.integers(1, 300), min_size=3, max_size=3, unique=True))
        )
        dims[name] = {"min": smallest, "opt": usual, "max": largest}
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
        assert any(size % 2 for size in sizes) or dim.max - dim.min == 1
        assert all(dim.min <= size <= dim.max for size in sizes)


@given(models())
def test_warm_up_is_bounded_and_largest_first(model: ModelRecipe) -> None:
    shapes = warmup_shapes(model)
    sizes = [shape.elements for shape in shapes]

    assert 1 <= len(shapes) <= 8
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(shapes)) == len(shapes)
    dims = tuple((name, dim.min) for name, dim in model.dims.items())
    assert shapes[-1] == Shape(1, dims)


def test_warm_up_of_a_table_model() -> None:
    shapes = warmup_shapes(entry(batching={"preferred": [16, 64]}))

    assert [str(shape) for shape in shapes] == ["b64", "b16", "b1"]


def test_warm_up_of_a_sequence_model() -> None:
    assert [str(shape) for shape in warmup_shapes(sequence())] == [
        "b8-seq64",
        "b8-seq16",
        "b1-seq64",
        "b1-seq16",
        "b8-seq1",
        "b1-seq1",
    ]


def test_two_dimensions_never_move_in_step_only() -> None:
    """A graph that takes one dimension for another would pass if they were always equal."""
    dim = {"min": 1, "opt": 16, "max": 64}
    model = entry(inputs=[TOKENS | {"shape": ["seq", "width"]}], dims={"seq": dim, "width": dim})

    sizes = [dict(shape.dims) for shape in verification_shapes(model)]
    assert sum(size["seq"] != size["width"] for size in sizes) >= len(sizes) // 2


def test_spread_keeps_both_ends() -> None:
    assert spread(list(range(10)), 4) == [0, 3, 6, 9]
    assert spread([1, 2], 4) == [1, 2]
