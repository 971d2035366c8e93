"""What a call comes to, without any connection: requests out, answers in."""

import json
from collections.abc import Iterable
from typing import Any, TypeVar

import pytest

from pilotlight.client import ConnectionLost, DeadlinePassed, Invalid, Unreachable
from pilotlight.client.bodies import EnsuredBody, Strategy
from pilotlight.client.errors import ClientError
from pilotlight.client.steps import Steps, ended, ensured, exchange
from pilotlight.client.wire import Answer, Request, post, said

T = TypeVar("T")
LOST = ConnectionLost("lost")
AWAY = Unreachable("away")


def play(steps: Steps[T], answers: Iterable[Answer | ClientError]) -> tuple[T, list[Request]]:
    """What the steps come to, and what they asked."""
    asked = [next(steps)]
    try:
        for answer in answers:
            if isinstance(answer, ClientError):
                asked.append(steps.throw(answer))
            else:
                asked.append(steps.send(answer))
    except StopIteration as end:
        return end.value, asked
    raise AssertionError(f"it asks on: {asked[-1]}")


def answer(status: int, body: dict[str, Any], **headers: str) -> Answer:
    content = json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(source="http://sidecar/", status=status, headers=named, content=content)


def problem(status: int, code: str, **headers: str) -> Answer:
    body = {"type": "", "title": "", "detail": "", "instance": "/", "status": status, "code": code}
    return answer(status, body, **headers)


RUNNING = problem(409, "request_running", retry_after="1")
DEADLINE = problem(504, "deadline_passed")
ENSURED = answer(200, {"model": "m", "outcome": "cold", "waited_s": 3})


def test_a_repeated_request_waits_until_the_first_one_has_its_answer() -> None:
    found, asked = play(exchange(post("/v1/models/m:load")), [LOST, RUNNING, RUNNING, ENSURED])

    assert found is ENSURED
    assert [request.after_s for request in asked] == [0, 0, 1, 1]
    assert len({request.headers["Idempotency-Key"] for request in asked}) == 1


def test_each_request_has_a_key_of_its_own() -> None:
    one, other = post("/v1/models/m:load"), post("/v1/models/m:load")
    assert one.headers["Idempotency-Key"] != other.headers["Idempotency-Key"]


def test_a_long_wait_for_a_model_goes_in_rounds_that_the_sidecar_takes() -> None:
    found, asked = play(ensured("m", 120), [DEADLINE, DEADLINE, ENSURED])

    assert found == EnsuredBody(model="m", outcome="cold", waited_s=3)
    rounds_s = [float(request.query["timeout"].removesuffix("s")) for request in asked]
    assert rounds_s == [50, 50, 50]
    assert all(request.wait_s >= 50 for request in asked)


def test_the_last_round_ends_the_wait() -> None:
    with pytest.raises(DeadlinePassed):
        play(ensured("m", 5), [DEADLINE])


class Hurrying:
    """Instead of `time`: each look at the clock is 8 s after the one before."""

    def __init__(self) -> None:
        self._now_s = 0.0

    def monotonic(self) -> float:
        self._now_s += 8.0
        return self._now_s


def test_a_wait_asks_the_less_often_the_longer_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilotlight.client.steps.time", Hurrying())

    def is_over(found: dict[str, Any]) -> bool:
        return bool(found["done"])

    goes_on, over = answer(200, {"done": False}), answer(200, {"done": True})
    steps = ended("/v1/operations/1", Answer.json, is_over, 60)
    found, asked = play(steps, [goes_on, AWAY, problem(503, "not_now"), over])

    assert found == {"done": True}
    assert [request.path for request in asked] == ["/v1/operations/1"] * 4
    assert [request.after_s for request in asked] == pytest.approx([0, 0.4, 0.8, 1.0])


def test_a_wait_ends_with_what_keeps_it_when_its_time_is_over() -> None:
    def never(_: object) -> bool:
        return False

    with pytest.raises(Unreachable, match="away"):
        play(ended("/v1/operations/1", Answer.json, never, 0), [AWAY])
    with pytest.raises(Invalid):
        play(ended("/v1/operations/1", Answer.json, never, 60), [problem(422, "invalid_request")])


def test_only_what_was_set_is_said() -> None:
    assert said(Strategy(shift=(5, 25), soak_s=None)) == {"shift": [5, 25], "soak_s": None}
