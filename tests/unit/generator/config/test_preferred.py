import pytest

from contract.manifest import ShapeCost
from generator.config.preferred import cheapest

SIZES = (1, 2, 4, 8)


def curve(*steady_ms: float, **dims: int) -> list[ShapeCost]:
    """Measured at SIZES."""
    return [
        ShapeCost(batch=batch, dims=dims, first_ms=9, steady_ms=ms, runs_until_steady=1)
        for batch, ms in zip(SIZES, steady_ms, strict=False)
    ]


@pytest.mark.parametrize(
    ("steady_ms", "size"),
    [
        ((1, 1, 1, 1), 8),  # a batch costs what one costs
        ((1, 1.1, 1.5, 3), 4),  # from 4 on twice as many take twice as long
        ((1, 2, 4, 8), 1),  # nothing is gained
        ((1, 2, 4.2, 8.6), 1),  # something is lost
        ((1, 1.9, 3.7, 7.3), 1),  # what is gained could be noise
    ],
)
def test_prefers_the_smallest_size_from_which_an_element_costs_no_less(
    steady_ms: tuple[float, ...], size: int
) -> None:
    assert cheapest(curve(*steady_ms), SIZES) == (size,)


def test_each_length_has_a_say() -> None:
    costs = curve(1, 1, 1, 1, seq=8) + curve(10, 20, 40, 80, seq=512)

    assert cheapest(costs, SIZES) == (1, 8)


def test_a_length_that_was_measured_at_some_sizes_only_has_none() -> None:
    costs = curve(1, 1.1, 1.5, 3, seq=8) + curve(10, 20, seq=512)

    assert cheapest(costs, SIZES) == (4,)
