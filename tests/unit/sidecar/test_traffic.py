"""What the gateway has counted, as evidence against a server."""

import pytest

from sidecar.core.traffic import Answered, Traffic


@pytest.mark.parametrize("code", ["500", "503", "grpc:2", "grpc:13", "grpc:14", "grpc:15"])
def test_what_a_server_fails_is_a_failure(code: str) -> None:
    assert Answered(version=1, code=code, outcome="hit").is_failure


@pytest.mark.parametrize("code", ["200", "400", "404", "grpc:0", "grpc:3", "grpc:4"])
def test_what_is_answered_or_asked_wrongly_is_none(code: str) -> None:
    assert not Answered(version=1, code=code, outcome="hit").is_failure


def test_failures_are_told_by_version_and_what_was_refused_before_any_server_is_none() -> None:
    traffic = Traffic(
        answers={
            Answered(None, "500", "hit"): 2,
            Answered(None, "500", "cold"): 1,
            Answered(None, "503", "refused"): 7,
            Answered(2, "grpc:13", "hit"): 4,
            Answered(2, "200", "hit"): 100,
        }
    )

    assert +traffic.failures == {None: 3, 2: 4}
