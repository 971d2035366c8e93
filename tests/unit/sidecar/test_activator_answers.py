"""What a client is told in either protocol, and what Envoy does with it."""

import json
from datetime import UTC, datetime

import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode
from tritonclient.grpc import service_pb2

from sidecar.activator.answers import (
    CLOSING,
    CRASHED,
    MAX_GRPC_TEXT,
    Answer,
    again,
    malformed,
    refusal,
    unknown,
)
from sidecar.activator.wire import MAX_FIELDS, names
from sidecar.core.activation import Heat
from sidecar.errors import (
    Conflict,
    DoesNotFit,
    HeldTooLong,
    InvariantBroken,
    NotNow,
    Quarantined,
    RequestRefused,
    TooLate,
    TooManyWaiting,
    UnknownObject,
)
from tests.builders import NOW_S

FULL = DoesNotFit(
    "m needs 2.0 GiB",
    device="cpu",
    needed_bytes=2,
    free_bytes=1,
    evictable_bytes=0,
    blocked_by=("a",),
)
REFUSALS = [
    (UnknownObject("unknown_model", "no"), 404, StatusCode.NOT_FOUND, None),
    (TooManyWaiting("full", retry_after_s=2.5), 429, StatusCode.RESOURCE_EXHAUSTED, 2.5),
    (Quarantined("rests", until_s=NOW_S + 90), 503, StatusCode.FAILED_PRECONDITION, 90.0),
    (Quarantined("rests", until_s=None), 503, StatusCode.FAILED_PRECONDITION, None),
    (NotNow("paused"), 503, StatusCode.UNAVAILABLE, 5.0),
    (HeldTooLong("slow", retry_after_s=7.0), 503, StatusCode.UNAVAILABLE, 7.0),
    (TooLate("late"), 504, StatusCode.DEADLINE_EXCEEDED, None),
    (FULL, 507, StatusCode.RESOURCE_EXHAUSTED, None),
]


def retry_delay_s(answer: Answer) -> float | None:
    """As a gRPC client reads it."""
    details = dict(answer.trailing_metadata()).get("grpc-status-details-bin")
    if details is None:
        return None
    assert isinstance(details, bytes)
    status = Status.FromString(details)
    assert (status.code, status.message) == (answer.grpc_code.value[0], answer.grpc_text)
    (packed,) = status.details
    info = RetryInfo()
    assert packed.Unpack(info)
    return info.retry_delay.ToTimedelta().total_seconds()


@pytest.mark.parametrize(("error", "status", "code", "retry_after_s"), REFUSALS)
def test_a_refusal_has_its_status_in_both_protocols_and_is_final(
    error: RequestRefused, status: int, code: StatusCode, retry_after_s: float | None
) -> None:
    answer = refusal("m", error, NOW_S)
    response = answer.as_http()

    assert (response.status_code, answer.grpc_code) == (status, code)
    assert response.headers["x-envoy-ratelimited"] == "1"
    assert dict(answer.trailing_metadata())["x-envoy-ratelimited"] == "1"
    assert "x-pilotlight-again" not in response.headers
    whole = None if retry_after_s is None else f"{-(-retry_after_s // 1):g}"
    assert response.headers.get("retry-after") == whole
    assert retry_delay_s(answer) == retry_after_s
    assert json.loads(response.body).get("code", "unknown_model") == error.code


def test_an_unknown_model_is_refused_in_tritons_words() -> None:
    expected = "Request for unknown model: 'x' is not found"
    assert unknown("x").text == expected
    assert unknown("x").grpc_text == expected
    assert refusal("x", UnknownObject("unknown_model", "did you mean y?"), NOW_S) == unknown("x")


def test_an_unknown_model_or_version_is_told_to_the_byte_as_triton_does() -> None:
    absent = UnknownObject("unknown_version", "it answers in 1", version="7")
    assert bytes(unknown("x").as_http().body) == (
        b"""{"error":"Request for unknown model: 'x' is not found"}"""
    )
    assert bytes(refusal("x", absent, NOW_S).as_http().body) == (
        b"""{"error":"Request for unknown model: 'x' version 7 is not found"}"""
    )


def test_what_a_program_wants_to_know_is_in_the_body() -> None:
    assert json.loads(refusal("m", FULL, NOW_S).as_http().body) == {
        "error": "m needs 2 B on cpu, where 1 B are free and 0 B can be freed; who runs it can see "
        "why (`pilotlight explain m`)",
        "code": "insufficient_memory",
        "device": "cpu",
        "needed_bytes": 2,
        "free_bytes": 1,
        "evictable_bytes": 0,
    }


def test_the_models_that_are_in_the_way_are_not_named_to_clients() -> None:
    secret = DoesNotFit("m lacks room beside ours", **(FULL.members | {"blocked_by": ["ours"]}))
    answer = refusal("m", secret, NOW_S)

    assert "ours" not in str(answer)
    assert b"ours" not in answer.as_http().body


def test_the_end_of_a_quarantine_is_told_as_a_date_and_never_as_a_past_one() -> None:
    answer = refusal("m", Quarantined("rests", until_s=NOW_S), NOW_S + 10).as_http()

    until = datetime.fromtimestamp(NOW_S, tz=UTC)
    assert datetime.fromisoformat(json.loads(answer.body)["until"]) == until
    assert answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("error", [InvariantBroken("secret"), Conflict("c", "secret")])
def test_an_error_that_no_request_should_meet_is_told_without_its_text(error: Exception) -> None:
    answer = refusal("m", error, NOW_S)

    assert answer is CRASHED
    assert (answer.status, answer.grpc_code) == (500, StatusCode.INTERNAL)
    assert b"secret" not in answer.as_http().body


@pytest.mark.parametrize("answer", [again("m", Heat.COLD), CLOSING])
def test_an_answer_that_envoy_repeats_is_not_final(answer: Answer) -> None:
    assert (answer.status, answer.grpc_code) == (503, StatusCode.UNAVAILABLE)
    assert answer.headers["x-pilotlight-again"] == "1"
    assert "x-envoy-ratelimited" not in answer.headers


def test_how_warm_the_model_was_is_told() -> None:
    assert again("m", Heat.JOINED).headers["x-warmth"] == "joined"


def test_a_long_text_does_not_burst_the_trailers() -> None:
    answer = refusal("m", HeldTooLong("é" * 10_000, retry_after_s=1.0), NOW_S)

    assert len(answer.grpc_text) == MAX_GRPC_TEXT
    assert sum(len(value) for _, value in answer.trailing_metadata()) < 4096


def test_a_malformed_request_is_the_clients_fault() -> None:
    answer = malformed("no")
    assert (answer.status, answer.grpc_code) == (400, StatusCode.INVALID_ARGUMENT)
    assert answer.headers["x-envoy-ratelimited"] == "1"


def field(number: int, wire_type: int, value: bytes) -> bytes:
    return bytes([number << 3 | wire_type]) + value


def text(number: int, value: bytes) -> bytes:
    return field(number, 2, bytes([len(value)]) + value)


def test_the_name_is_found_where_tritons_own_messages_have_it() -> None:
    request = service_pb2.ModelInferRequest(
        model_name="größe", model_version="3", id="a", raw_input_contents=[b"\x0a\x01x" * 1000]
    )
    request.parameters["priority"].int64_param = 2**63 - 1
    assert names(request.SerializeToString()) == ("größe", "3")
    for kind in ("ModelReady", "ModelConfig", "ModelMetadata", "ModelStatistics"):
        message = getattr(service_pb2, f"{kind}Request")(name="m", version="1")
        assert names(message.SerializeToString()) == ("m", "1")


@pytest.mark.parametrize(
    ("message", "name"),
    [
        (b"", ""),
        (text(2, b"1"), ""),
        (text(1, b""), ""),
        (text(2, b"1") + text(1, b"m"), "m"),
        (text(1, b"m") + text(1, b"last"), "last"),
        (field(15, 0, b"\xff" * 9 + b"\x01") + text(1, b"m"), "m"),
        (field(15, 1, b"8 bytes.") + field(15, 5, b"four") + text(1, b"m"), "m"),
        # A value of another type is an unknown field to a parser.
        (text(1, b"m") + field(1, 0, b"\x05"), "m"),
        # Numbers may be longer than they must be.
        (b"\x8a\x80\x00" + b"\x81\x00" + b"m", "m"),
    ],
)
def test_the_name_is_found_wherever_the_wire_format_allows_it(message: bytes, name: str) -> None:
    parsed = service_pb2.ModelReadyRequest.FromString(message)
    assert names(message) == (name, parsed.version)
    assert parsed.name == name


@pytest.mark.parametrize(
    "message",
    [
        b"\x0a",
        b"\x0a\x05m",
        b"\x0a\xff",
        b"\xff" * 11,
        b"\x0a" + b"\xff" * 10 + b"\x01",
        # A number of eleven bytes, where ten are all that 64 bits take.
        b"\x78" + b"\x80" * 10 + b"\0",
        b"\x09four",
        b"\x00\x00",
        b"\x02\x00",
        b"\x0f",
        text(1, b"\xff\xfe"),
    ],
)
def test_bytes_that_are_no_message_are_an_error(message: bytes) -> None:
    with pytest.raises(ValueError, match=r"message of Triton|utf-8"):
        names(message)


def test_a_message_of_countless_fields_is_not_walked_through() -> None:
    with pytest.raises(ValueError, match=f"more than {MAX_FIELDS} fields"):
        names(b"\x78\x00" * 1_000_000 + text(1, b"m"))
