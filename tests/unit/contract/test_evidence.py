"""What the answers to golden samples are worth."""

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.evidence import Finding, examine, worst
from contract.manifest import OutputEvidence

EXPECTED = {"y": np.float32([[1, 2], [4, 3]])}


def finding(got: dict[str, NDArray[np.generic]], *, limit: float = 0, k: int = 1) -> Finding:
    (found,) = examine(got, EXPECTED, limits={"y": limit}, top_k={"y": k})
    return found


def test_a_right_answer_has_its_evidence_and_no_reason() -> None:
    assert finding(EXPECTED) == Finding(
        output="y",
        evidence=OutputEvidence(scaled_error=0, limit=0, top_k=1, same_top=1),
        reason=None,
    )


def test_a_wrong_answer_is_explained_by_the_element_that_is_farthest_off() -> None:
    assert finding({"y": np.float32([[1, 2], [4, 2]])}).reason == (
        "output y: scaled error 2.50e-01 is above 0.00e+00: [1, 1] is 2.0, expected 3.0"
    )


@pytest.mark.parametrize(
    ("got", "reason"),
    [
        ({"y": np.float32([1])}, "output y: shape [1], expected [2, 2]"),
        ({"y": np.float64([[1, 2], [4, 3]])}, "output y: dtype float64, expected float32"),
        ({}, "output y: missing in the answer"),
    ],
)
def test_what_cannot_be_compared_has_no_element(
    got: dict[str, NDArray[np.generic]], reason: str
) -> None:
    found = finding(got)

    assert (found.reason, found.evidence.same_top) == (reason, None)


def test_other_classes_on_top_are_wrong_within_the_limit_too() -> None:
    """Each is off by 0.6 of 0.8, and they are 1 apart."""
    found = finding({"y": np.float32([[1.6, 1.4], [4, 3]])}, limit=0.2)

    assert found.evidence.same_top == 0.5
    assert found.reason == "output y: its top 1 are others in 50.0% of the rows"


def test_an_output_that_is_no_classifiers_has_no_top() -> None:
    (found,) = examine(EXPECTED, EXPECTED, limits={}, top_k={})

    assert (found.evidence.top_k, found.evidence.same_top) == (None, None)


def test_the_worst_of_many_has_the_largest_error_and_the_smallest_agreement() -> None:
    little = finding({"y": np.float32([[1.6, 1.4], [4, 3]])}, limit=0.2)
    much = finding({"y": np.float32([[1, 2], [8, 3]])}, limit=0.2)
    right = finding(EXPECTED, limit=0.2)

    for order in ([little, much, right], [right, much, little]):
        (found,) = worst(order).values()
        assert found.evidence == OutputEvidence(scaled_error=1.0, limit=0.2, top_k=1, same_top=0.5)
        assert found.reason == much.reason


def test_one_wrong_answer_among_right_ones_keeps_its_reason() -> None:
    other = finding({"y": np.float32([[1.6, 1.4], [4, 3]])}, limit=0.2)
    farther_but_right = finding({"y": np.float32([[1, 2], [4.7, 3]])}, limit=0.2)

    (found,) = worst([other, farther_but_right]).values()

    assert found.reason == other.reason
