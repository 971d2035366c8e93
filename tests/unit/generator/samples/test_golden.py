import numpy as np

from contract.samples import GoldenSample
from generator.samples.golden import select


def sample(rows: int) -> GoldenSample:
    values = np.zeros((rows, 1024), np.float32)
    return GoldenSample({"x": values}, {"y": values[:, :1]})


def test_takes_a_few_from_the_smallest_to_the_largest_that_is_small() -> None:
    chosen = select([sample(rows) for rows in (512, 1, 2, 3, 4, 5, 6, 7, 8, 9, 64)])

    assert [len(golden.inputs["x"]) for golden in chosen] == [1, 2, 4, 6, 8, 64]


def test_a_model_with_huge_inputs_ships_its_smallest_case() -> None:
    assert [len(golden.inputs["x"]) for golden in select([sample(900), sample(700)])] == [700]
