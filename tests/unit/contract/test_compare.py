import numpy as np
import pytest
from numpy.typing import NDArray

from contract.compare import Difference, compare, farthest, same_top, scaled_error

INF, NAN = float("inf"), float("nan")


def difference(
    got: NDArray[np.generic], reference: NDArray[np.generic], limit: float = 0.01
) -> Difference:
    (found,) = compare({"y": got}, {"y": reference}, {"y": limit})
    return found


def test_the_error_is_scaled_by_the_largest_value_of_the_reference() -> None:
    """So values near zero do not blow it up."""
    found = difference(np.float32([100.0, 0.5]), np.float32([100.0, 0.0]))

    assert found == Difference(output="y", scaled_error=0.005, limit=0.01, reason=None)


def test_an_error_at_the_limit_passes_and_one_above_does_not() -> None:
    assert difference(np.float64([101.0]), np.float64([100.0])).reason is None
    found = difference(np.float64([101.5]), np.float64([100.0]))
    assert found.reason == "output y: scaled error 1.50e-02 is above 1.00e-02"


def test_an_all_zero_reference_is_compared_absolutely() -> None:
    assert scaled_error(np.float32([0.25]), np.float32([0.0])) == 0.25


def test_empty_outputs_are_equal() -> None:
    assert difference(np.zeros((0, 3)), np.zeros((0, 3))).reason is None


def test_half_precision_does_not_overflow() -> None:
    assert scaled_error(np.float16([-60000]), np.float16([60000])) == 2.0


@pytest.mark.parametrize("special", [NAN, INF, -INF])
def test_what_is_not_finite_must_stand_where_the_reference_has_it(special: float) -> None:
    assert difference(np.float32([1, special]), np.float32([1, special])).reason is None
    for got, reference in (([1, special], [1, 2]), ([1, 2], [1, special])):
        found = difference(np.float32(got), np.float32(reference), limit=1e9)
        assert found.scaled_error == INF
        assert found.reason is not None
        assert "NaN or infinity" in found.reason


def test_opposite_infinities_are_not_equal() -> None:
    assert difference(np.float32([INF]), np.float32([-INF]), limit=1e9).reason is not None


@pytest.mark.parametrize(
    ("got", "reason"),
    [
        (np.float32([[1, 2]]), "output y: shape [1, 2], expected [2]"),
        (np.float32(1), "output y: shape [], expected [2]"),
        (np.float64([1, 2]), "output y: dtype float64, expected float32"),
    ],
)
def test_another_shape_or_dtype_never_passes(got: NDArray[np.generic], reason: str) -> None:
    found = difference(got, np.float32([1, 2]), limit=1e9)

    assert found == Difference(output="y", scaled_error=INF, limit=1e9, reason=reason)


@pytest.mark.parametrize(
    ("got", "reference"),
    [
        (np.int64([1, 2, 4]), np.int64([1, 2, 3])),
        (np.array([True, False, True]), np.array([True, False, False])),
        (np.array([b"a", b"b", b"x"], np.object_), np.array([b"a", b"b", b"c"], np.object_)),
    ],
)
def test_what_is_no_float_must_be_equal_whatever_the_limit(
    got: NDArray[np.generic], reference: NDArray[np.generic]
) -> None:
    assert difference(reference, reference).reason is None
    assert difference(got, reference, limit=1e9).reason == (
        "output y: 1 of 3 elements are not equal"
    )


def test_an_output_that_is_missing_is_wrong_and_one_too_many_is_not() -> None:
    found = compare({"z": np.float32([1])}, {"y": np.float32([1])}, {})

    assert [each.reason for each in found] == ["output y: missing in the answer"]


def test_an_output_without_a_limit_must_be_exact() -> None:
    (found,) = compare({"y": np.float32([1.0001])}, {"y": np.float32([1])}, {})

    assert found.reason is not None


@pytest.mark.parametrize(
    ("got", "reference", "place"),
    [
        (np.float32([[1, 2], [3, 9]]), np.float32([[1, 2], [3, 4]]), "[1, 1] is 9.0, expected 4.0"),
        (np.float32([1, NAN]), np.float32([1e9, 2]), "[1] is nan, expected 2.0"),
        (np.float32([NAN, 2]), np.float32([NAN, 3]), "[1] is 2.0, expected 3.0"),
        (np.float32([INF, 2]), np.float32([INF, 3]), "[1] is 2.0, expected 3.0"),
        (np.int64([5, 7]), np.int64([5, 6]), "[1] is 7, expected 6"),
        (np.array([b"a", b"x"], np.object_), np.array([b"a", b"b"], np.object_), "[1] is b'x'"),
        (np.float16([-60000]), np.float16([60000]), "[0] is -6e+04, expected 6e+04"),
    ],
)
def test_the_element_that_is_farthest_off_is_named(
    got: NDArray[np.generic], reference: NDArray[np.generic], place: str
) -> None:
    assert farthest(got, reference).startswith(place)


def test_rows_agree_that_have_the_same_largest_elements_in_whatever_order() -> None:
    reference = np.float32([[3, 2, 1, 0], [3, 2, 1, 0]])
    got = np.float32([[2, 3, 1, 0], [3, 0, 1, 2]])

    assert same_top(got, reference, 1, limit=0) == 0.5
    assert same_top(got, reference, 2, limit=0) == 0.5
    assert same_top(got, reference, 3, limit=0) == 0.5
    assert same_top(got, reference, 9, limit=0) == 1.0


def test_a_tie_within_the_limit_is_no_disagreement() -> None:
    reference = np.float32([[1.0, 0.999, -100.0]])
    got = reference[:, [1, 0, 2]]

    assert same_top(got, reference, 1, limit=1e-4) == 1.0
    assert same_top(got, reference, 1, limit=1e-6) == 0.0


def test_masked_classes_neither_count_nor_widen_what_is_a_tie() -> None:
    reference = np.float32([[1.0, 2.0, -INF]])

    assert same_top(reference, reference, 2, limit=1e-4) == 1.0
    assert same_top(reference[:, [1, 0, 2]], reference, 1, limit=1e-4) == 0.0


def test_no_rows_agree_all() -> None:
    assert same_top(np.zeros((0, 3)), np.zeros((0, 3)), 1, limit=0) == 1.0


def test_a_number_per_element_may_come_as_a_list_of_one() -> None:
    wanted = np.float32([1, 2])

    (same,) = compare({"level": wanted[:, np.newaxis]}, {"level": wanted}, {})
    (other,) = compare({"level": wanted[np.newaxis]}, {"level": wanted}, {})

    assert same.reason is None
    assert other.reason == "output level: shape [1, 2], expected [2]"
