"""Two versions' answers to the same requests."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.samples import Tensors
from sidecar.core.agreement import Agreement, Answer, Finding, findings
from sidecar.core.comparison import KEPT_LATENCIES, Comparison, Missed
from tests.builders import CANARY, SERVING

LIMITS = {"y": 0.01}
NEW = Comparison.between({SERVING: 1, CANARY: 2})


def asked(
    comparison: Comparison,
    serving: Tensors | str,
    canary: Tensors | str,
    latencies_ms: tuple[float, float] = (1.0, 1.0),
) -> Comparison:
    """With one more request; a text is why a server failed."""
    answers = {
        server: Answer(latency_ms=latency_ms, failure=said)
        if isinstance(said, str)
        else Answer(latency_ms=latency_ms, outputs=said)
        for server, said, latency_ms in zip(
            (SERVING, CANARY), (serving, canary), latencies_ms, strict=True
        )
    }
    return comparison.with_(answers, findings(answers[SERVING], answers[CANARY], LIMITS))


def y(*values: float, dtype: Any = np.float32) -> dict[str, NDArray[Any]]:
    return {"y": np.array([values], dtype=dtype)}


def finding(serving: Tensors, canary: Tensors) -> Finding:
    (found,) = findings(
        Answer(latency_ms=1.0, outputs=serving), Answer(latency_ms=1.0, outputs=canary), LIMITS
    )
    return found


def test_nothing_is_known_before_the_first_request() -> None:
    assert NEW.versions == {SERVING: 1, CANARY: 2}
    assert (NEW.compared, NEW.agreeing, NEW.outputs, NEW.missed) == (0, 0, {}, {})
    assert NEW.sides[SERVING].median_ms is None


def test_answers_agree_within_the_tolerance_of_the_manifest() -> None:
    found = asked(NEW, y(1, 100), y(1, 102))
    found = asked(found, y(1, 100), y(1, 100.5))

    assert (found.compared, found.agreeing) == (2, 1)
    assert found.outputs["y"] == Agreement(
        requests=2,
        agreeing=1,
        largest_error=pytest.approx(0.02),
        reason="output y: scaled error 2.00e-02 is above 1.00e-02",
        rows=2,
        same_top=2,
        errors=pytest.approx((0.02, 0.005)),
    )


def test_a_request_agrees_only_if_all_of_its_outputs_do() -> None:
    found = asked(NEW, {**y(1, 2), "n": np.int64([1])}, {**y(1, 2), "n": np.int64([2])})

    assert (found.compared, found.agreeing) == (1, 0)
    assert found.outputs["y"].agreeing == 1
    assert found.outputs["n"].agreeing == 0
    assert found.outputs["n"].largest_error == 1.0
    assert found.outputs["n"].not_comparable == 0
    assert found.outputs["n"].rows == 0


def test_the_largest_element_is_looked_for_in_each_row() -> None:
    serving = {"y": np.float32([[[1, 2, 3], [3, 2, 1]]])}
    canary = {"y": np.float32([[[1, 2, 9], [2, 3, 1]]])}

    found = finding(serving, canary)

    assert (found.rows, found.same_top) == (2, 1)


@pytest.mark.parametrize(
    "output",
    [np.float32([[1]]), np.float32(1), np.int64([[1, 2]]), np.array([[b"a", b"b"]], np.object_)],
    ids=["one number", "no dimension", "integers", "bytes"],
)
def test_there_is_no_largest_element_where_no_choice_is_made(output: NDArray[Any]) -> None:
    found = finding({"y": output}, {"y": output})
    assert (found.reason, found.rows, found.same_top) == (None, 0, 0)


@pytest.mark.parametrize(
    ("canary", "reason"),
    [({}, "missing in the answer"), (y(1, 2, 3), "shape"), (y(1, math.nan), "NaN")],
)
def test_an_answer_of_another_kind_does_not_agree(canary: Tensors, reason: str) -> None:
    found = finding(y(1, 2), canary)
    assert found.reason is not None
    assert reason in found.reason
    assert (found.scaled_error, found.rows) == (math.inf, 1)


def test_the_failures_of_each_server_are_its_own() -> None:
    found = asked(NEW, y(1), "Internal: no")
    found = asked(found, "Internal: never", "Internal: still no")
    found = asked(found, y(1), y(1))

    assert (found.compared, found.agreeing) == (1, 1)
    assert found.outputs["y"].requests == 1
    serving, canary = found.sides[SERVING], found.sides[CANARY]
    assert (serving.answers, serving.failures, serving.failure) == (2, 1, "Internal: never")
    assert (canary.answers, canary.failures, canary.failure) == (1, 2, "Internal: still no")


def test_the_median_is_of_the_latest_answers_and_not_of_failures() -> None:
    found = asked(NEW, y(1), "Internal: no", (1000.0, 1000.0))
    for _ in range(KEPT_LATENCIES):
        found = asked(found, y(1), y(1), (2.0, 3.0))

    serving, canary = found.sides[SERVING], found.sides[CANARY]
    assert (serving.median_ms, canary.median_ms) == (2.0, 3.0)
    assert len(serving.latest_ms) == len(canary.latest_ms) == KEPT_LATENCIES
    assert (serving.answers, canary.answers) == (KEPT_LATENCIES + 1, KEPT_LATENCIES)


def test_what_was_missed_is_counted_by_its_reason() -> None:
    found = NEW.without(Missed.TOO_MANY).without(Missed.UNREADABLE, "no JSON")
    found = found.without(Missed.TOO_MANY)

    assert found.missed == {Missed.TOO_MANY: 2, Missed.UNREADABLE: 1}
    assert found.unreadable == "no JSON"
