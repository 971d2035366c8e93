"""The activator as Envoy meets it over HTTP: a real server, real connections."""

import asyncio
import json
import re
import time
import tracemalloc
from collections.abc import AsyncIterator

import httpx2
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from sidecar.activator import serve
from sidecar.activator.holding import Holding
from sidecar.activator.serve import Activator
from sidecar.errors import InvalidSettings, NotNow, Quarantined
from tests.unit.sidecar.activated import ANY_PORT, PATIENCE_S, HandHold, NoSamples, activated

INFER = "/v2/models/m/infer"
CHUNK = b"x" * 2**16
MANY = 200


pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(loop_scope="module")
async def client(activator: Activator, hold: HandHold) -> AsyncIterator[httpx2.AsyncClient]:
    host, port = activator.http
    address, limits = f"http://{host}:{port}", httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=address, limits=limits, timeout=PATIENCE_S) as client:
        yield client


def told(answer: httpx2.Response) -> tuple[int, str | None, bool, bool]:
    """Status, code, whether Envoy asks again, whether it never does."""
    headers = answer.headers
    code = answer.json().get("code") if answer.content else None
    return (
        answer.status_code,
        code,
        headers.get("x-pilotlight-again") == "1",
        headers.get("x-envoy-ratelimited") == "1",
    )


AGAIN = (503, "again", True, False)
UNKNOWN = (404, None, False, True)


async def test_a_request_is_held_until_its_model_is_loaded(
    hold: HandHold, client: httpx2.AsyncClient
) -> None:
    asking = asyncio.create_task(client.post(INFER, json={"inputs": []}))
    await hold.has(lambda hold: hold.waiting == 1)
    assert not asking.done()

    hold.release()

    answer = await asking
    assert told(answer) == AGAIN
    assert answer.headers["x-warmth"] == "cold"
    assert hold.asked == [("m", None)]


async def test_a_herd_is_held_and_sent_back_together(
    hold: HandHold, client: httpx2.AsyncClient
) -> None:
    asking = [asyncio.create_task(client.post(INFER, content=b"x")) for _ in range(MANY)]
    await hold.has(lambda hold: hold.waiting == MANY)

    hold.release()

    answers = await asyncio.gather(*asking)
    assert {told(answer) for answer in answers} == {AGAIN}
    assert sorted(answer.headers["x-warmth"] for answer in answers) == [
        "cold",
        *["joined"] * (MANY - 1),
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/v2/models/m",
        "/v2/models/%6D/infer",
        "/v2/models/m/config?x=/ready",
        "/v2/models/m/versions/3",
        "/v2/models/m/versions/3/infer",
        "/v2/models/m/generate_stream",
    ],
)
async def test_whatever_needs_the_model_is_held(
    hold: HandHold, client: httpx2.AsyncClient, path: str
) -> None:
    hold.release()
    assert told(await client.get(path)) == AGAIN
    assert hold.asked == [("m", None)]


async def test_who_hangs_up_is_held_no_longer(hold: HandHold, client: httpx2.AsyncClient) -> None:
    asking = asyncio.create_task(client.post(INFER, content=b"x"))
    await hold.has(lambda hold: hold.waiting == 1)

    asking.cancel()

    await hold.has(lambda hold: (hold.waiting, hold.gone) == (0, 1))


@pytest.mark.parametrize(("given", "timeout_s"), [("2.5s", 2.5), ("5m", 300.0)])
async def test_the_clients_deadline_is_handed_on(
    hold: HandHold, client: httpx2.AsyncClient, given: str, timeout_s: float
) -> None:
    hold.release()
    await client.post(INFER, headers={"x-request-timeout": given})
    assert hold.asked == [("m", timeout_s)]


async def test_a_request_under_which_one_server_died_is_held(
    hold: HandHold, client: httpx2.AsyncClient
) -> None:
    hold.release()
    tries = ["own:0:0:0", "activator:9:200:0"]
    answer = await client.post(INFER, headers=[("x-pilotlight-tries", each) for each in tries])
    assert told(answer) == AGAIN


async def test_a_request_under_which_two_servers_died_is_refused_and_logged(
    hold: HandHold, client: httpx2.AsyncClient
) -> None:
    hold.release()
    tries = ["own:0:0:0", "activator:9:200:0", "own:20:400:120", "activator:30:600:120"]
    with capture_logs() as logs:
        answer = await client.post(INFER, headers=[("x-pilotlight-tries", each) for each in tries])

    assert told(answer) == (503, "server_died", False, True)
    assert answer.json()["error"].startswith("2 times a server died while it answered this request")
    assert hold.asked == []
    (line,) = [line for line in logs if line["event"] == "request_given_up"]
    assert (line["model"], line["servers_lost"], line["log_level"]) == ("m", 2, "warning")


async def test_what_a_request_has_waited_before_is_handed_on(
    hold: HandHold, client: httpx2.AsyncClient
) -> None:
    hold.release()
    tries = ["own:0:0:0", "activator:500:9:0", "own:1500:19:5", "activator:4000:29:9"]
    await client.post(INFER, headers=[("x-pilotlight-tries", each) for each in tries])
    assert hold.pasts == [(4.0, 1.0)]


async def test_a_deadline_that_passes_is_told(client: httpx2.AsyncClient) -> None:
    answer = await client.post(INFER, headers={"x-request-timeout": "20ms"})
    assert told(answer) == (504, "deadline_passed", False, True)


@pytest.mark.parametrize("given", ["", "soon", "5", "-1s", "1e3s"])
async def test_a_deadline_that_is_none_is_refused(
    hold: HandHold, client: httpx2.AsyncClient, given: str
) -> None:
    answer = await client.post(INFER, headers={"x-request-timeout": given})
    assert told(answer) == (400, "malformed_request", False, True)
    assert "x-request-timeout" in answer.json()["error"]
    assert hold.asked == []


async def test_a_refusal_is_told_with_all_that_it_says(
    hold: HandHold, client: httpx2.AsyncClient
) -> None:
    hold.refuses = NotNow("the sidecar is paused and loads nothing; resume it first")

    answer = await client.post(INFER, content=b"x")

    assert told(answer) == (503, "not_now", False, True)
    assert answer.headers["retry-after"] == "5"
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["error"] == str(hold.refuses)


async def test_a_bug_is_logged_and_not_shown(hold: HandHold, client: httpx2.AsyncClient) -> None:
    hold.refuses = ZeroDivisionError("secret")

    with capture_logs() as logs:
        answer = await client.post(INFER, content=b"x")

    assert told(answer) == (500, "internal_error", False, True)
    assert "secret" not in answer.text
    (line,) = [line for line in logs if line["event"] == "hold_crashed"]
    assert (line["model"], line["exc_info"]) == ("m", hold.refuses)


async def test_readiness_is_told_without_a_load(hold: HandHold, client: httpx2.AsyncClient) -> None:
    answer = await client.get("/v2/models/m/ready")
    assert (answer.status_code, answer.content) == (200, b"")
    assert told(await client.get("/v2/models/x/versions/1/ready")) == UNKNOWN
    hold.refuses = Quarantined("rests", until_s=None)
    assert told(await client.get("/v2/models/m/versions/1/ready")) == (
        503,
        "quarantined",
        False,
        True,
    )
    assert hold.asked == []


async def test_a_model_that_is_not_loaded_has_no_statistics(
    hold: HandHold, client: httpx2.AsyncClient
) -> None:
    hold.refuses = Quarantined("rests", until_s=None)
    assert (await client.get("/v2/models/m/stats")).json() == {"model_stats": []}
    assert told(await client.get("/v2/models/x/stats")) == UNKNOWN
    assert hold.asked == []


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("a%2Fb", "a/b"),
        ("..", ".."),
        ("%2e%2e", ".."),
        ("%256D", "%6D"),
        ("%FF%FE", "\ufffd\ufffd"),
        ("%00", "\0"),
        ("a b%0Ax: 1", "a b\nx: 1"),
        ("%C3%A9", "é"),
        ("m" * 10_000, "m" * 10_000),
    ],
)
async def test_an_odd_name_is_unknown(activator: Activator, part: str, name: str) -> None:
    path = f"/v2/models/{part.replace(' ', '%20')}/infer"
    status, answer = await raw_answer(activator, f"POST {path} HTTP/1.1\r\nhost: x\r\n\r\n")
    expected = f"Request for unknown model: '{name}' is not found"
    assert (status, answer["error"]) == (404, expected)


async def raw_answer(activator: Activator, request: str) -> tuple[int, dict[str, str]]:
    """Clients would clean up the path, and read no answer before they have sent all."""
    reader, writer = await asyncio.open_connection(*activator.http)
    writer.write(request.encode())
    answer = await answer_in(reader)
    writer.close()
    await writer.wait_closed()
    return answer


async def answer_in(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    found = re.search(r"content-length: (\d+)", head)
    assert found
    return int(head.split()[1]), json.loads(await reader.readexactly(int(found[1])))


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/models", "/v2/models/", "/v2/models//infer"])
async def test_a_path_without_a_model_is_none(client: httpx2.AsyncClient, path: str) -> None:
    assert told(await client.get(path)) == (404, "unknown_path", False, True)


async def test_a_large_body_is_not_kept(hold: HandHold, client: httpx2.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(512):
            yield CHUNK

    tracemalloc.start()
    try:
        asking = asyncio.create_task(client.post(INFER, content=body()))
        await hold.has(lambda hold: hold.waiting == 1)
        hold.release()
        assert told(await asking) == AGAIN
        assert tracemalloc.get_traced_memory()[1] < 64 * len(CHUNK)
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("model", "status"), [("m", 503), ("x", 404)])
async def test_the_load_begins_with_the_head_and_the_answer_waits_for_the_body(
    hold: HandHold, activator: Activator, client: httpx2.AsyncClient, model: str, status: int
) -> None:
    hold.release()
    reader, writer = await asyncio.open_connection(*activator.http)
    writer.write(f"POST /v2/models/{model}/infer HTTP/1.1\r\nhost: x\r\n".encode())
    writer.write(b"content-length: 2\r\n\r\nx")
    answering = asyncio.create_task(answer_in(reader))
    await hold.has(lambda hold: len(hold.asked) == 1)
    assert (await client.get("/v2/models/m/ready")).status_code == 200
    assert not answering.done()

    writer.write(b"x")

    assert (await answering)[0] == status
    writer.close()
    await writer.wait_closed()


async def test_who_hangs_up_in_the_middle_of_a_body_is_held_no_longer(
    hold: HandHold, activator: Activator
) -> None:
    _, writer = await asyncio.open_connection(*activator.http)
    writer.write(f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\nx".encode())
    await hold.has(lambda hold: hold.waiting == 1)

    writer.close()
    await writer.wait_closed()

    await hold.has(lambda hold: (hold.waiting, hold.gone) == (0, 1))


async def test_a_stop_sends_back_what_is_held_also_in_the_middle_of_a_body(
    hold: HandHold, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "GRACE_S", PATIENCE_S)
    head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n"
    async with activated(hold) as activator:
        asking = [asyncio.create_task(raw_answer(activator, head + body)) for body in ("xx", "x")]
        await hold.has(lambda hold: hold.waiting == 2)

    assert [answer["code"] for _, answer in await asyncio.gather(*asking)] == ["again", "again"]


async def test_an_answer_on_a_used_connection_waits_for_no_acknowledgement(
    client: httpx2.AsyncClient,
) -> None:
    took_s = []
    for _ in range(9):
        began_s = time.perf_counter()
        await client.get("/v2/models/x")
        took_s.append(time.perf_counter() - began_s)
    # Linux delays them by 40 ms, each of them.
    assert min(took_s) < 0.03


async def test_who_comes_after_the_stop_began_is_not_held(hold: HandHold) -> None:
    holding = Holding(hold)  # type: ignore[arg-type]
    holding.close()
    assert await holding.unless_closed(holding.held("m", "", None)) is None
    assert hold.asked == []


@pytest.mark.parametrize("protocol", ["http", "grpc"])
async def test_a_port_that_is_taken_is_told_with_the_setting(
    hold: HandHold, activator: Activator, protocol: str
) -> None:
    taken = getattr(activator, protocol)
    addresses = {"http": ANY_PORT, "grpc": ANY_PORT, protocol: taken}
    with pytest.raises(InvalidSettings, match=rf"{taken[1]}.*gateway\.activator\.{protocol}"):
        await Activator(hold, NoSamples(), **addresses).__aenter__()  # type: ignore[arg-type]
