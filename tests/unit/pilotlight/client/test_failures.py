"""What both clients do when the sidecar refuses, goes away, or is none."""

import asyncio
import pickle
from pathlib import Path
from typing import Any

import pytest

from pilotlight.client import (
    Conflict,
    ConnectionLost,
    Forbidden,
    Invalid,
    NotFound,
    NotUnderstood,
    Problem,
    Silent,
    Spec,
    TimedOut,
    Unauthenticated,
    Unreachable,
    errors,
)
from pilotlight.client.bodies import OperationBody, ProblemBody
from sidecar.api.problems import CODES
from tests.unit.pilotlight.client.conftest import Connect
from tests.unit.pilotlight.client.wires import saying, wire_to
from tests.unit.sidecar.client import OPERATOR, ROLES, VIEWER, app_of
from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_served import Served, serving

NOBODY = "http://127.0.0.1:9"
HTML = (
    "HTTP/1.1 500 Oops\r\nContent-Type: text/html\r\nContent-Length: 11\r\n"
    "Connection: close\r\n\r\n<p>Oops</p>"
)


async def first(items: Any) -> Any:
    return await anext(aiter(items))


async def test_what_the_sidecar_refuses_has_a_class_and_its_words(client: Any) -> None:
    with pytest.raises(NotFound, match="did you mean 'm'") as told:
        await client.models.get("mm")
    assert (told.value.status, told.value.code) == (404, "unknown_model")
    assert (told.value.title, told.value.body.instance) == ("No such model", "/v1/models/mm")
    assert str(told.value) == f"404 unknown_model: {told.value.detail}"

    with pytest.raises(Conflict, match="m is hot and stays loaded"):
        await client.models.unload("m")
    with pytest.raises(Invalid) as flawed:
        await client.models.change_spec("m", Spec(idle_timeout_s=-1))
    assert [flaw.pointer for flaw in flawed.value.body.errors or ()] == ["/body/idle_timeout_s"]


async def test_a_token_comes_from_an_argument_or_a_file(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{OPERATOR}\n")
    rig = Rig(tmp_path)
    async with serving(rig, lambda rig: app_of(rig, ROLES)) as served:
        await rig.until(lambda: rig.sidecar.loop.snapshot is not None, "it has looked")
        with pytest.raises(Unauthenticated):
            await connect(served.url).pause()
        with pytest.raises(Forbidden, match="vera is a viewer") as told:
            await connect(served.url, token=VIEWER).pause()
        assert told.value.body.role == "operator"
        assert (await connect(served.url, token_file=tmp_path / "token").pause()).actor == "otto"


async def test_where_nobody_listens_is_nobody_reachable(connect: Connect) -> None:
    with pytest.raises(Unreachable, match=f"no sidecar at {NOBODY}: .* `pilotlight up`, or give"):
        await connect(NOBODY).devices()
    with pytest.raises(Unreachable, match=f"no sidecar at {NOBODY}: "):
        await first(connect(NOBODY).events())
    with pytest.raises(Unreachable, match="no sidecar at localhost:8080"):
        await connect("localhost:8080").devices()


async def test_who_takes_too_long_to_answer_is_silent(connect: Connect) -> None:
    async with saying("") as url:
        with pytest.raises(
            Silent, match=r"has not answered GET /v1/devices within 1 s; ask again"
        ) as told:
            await connect(url, timeout_s=1.0).devices()
    assert isinstance(told.value, TimedOut)


async def test_an_answer_that_is_no_sidecars_is_shown(connect: Connect) -> None:
    async with saying(HTML) as url:
        with pytest.raises(NotUnderstood, match=r"\(status 500\): '<p>Oops</p>'"):
            await connect(url).devices()
    async with saying(HTML.replace("500 Oops", "200 OK")) as url:
        with pytest.raises(NotUnderstood, match=r"DeviceList: Invalid JSON.*Oops"):
            await connect(url).devices()
        with pytest.raises(NotUnderstood, match=r"text/event-stream.*; is another server there\?"):
            await first(connect(url).events())


async def test_a_proxy_before_nobody_is_nobody(connect: Connect) -> None:
    async with saying(HTML.replace("500 Oops", "502 Bad Gateway")) as url:
        with pytest.raises(Unreachable, match=r"no sidecar behind .*: status 502"):
            await connect(url).devices()


async def test_an_event_that_is_no_sidecars_is_shown(connect: Connect) -> None:
    stream = HTML.replace("500 Oops", "200 OK").replace("text/html", "text/event-stream")
    async with saying(stream.replace("<p>Oops</p>", "data: {}\n\n\n")) as url:
        with pytest.raises(NotUnderstood, match="EntryBody: id: this key is missing"):
            await first(connect(url).events())


async def test_proxies_that_the_environment_names_are_not_asked(
    connect: Connect, at_rest: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", NOBODY)
    assert (await connect(at_rest.url).models.get("m")).name == "m"


async def test_a_request_whose_answer_was_lost_is_carried_out_once(
    connect: Connect, at_rest: Served
) -> None:
    async with wire_to(at_rest.url, breaks=1) as wire:
        operation = await connect(wire.url).models.load("c")
        assert wire.requests == ["POST /v1/models/c:load"] * 2
        assert wire.headers[0]["idempotency-key"] == wire.headers[1]["idempotency-key"]
        listed = [each async for each in connect(at_rest.url).operations.list(model="c")]
    assert [each.id for each in listed] == [operation.id]


async def test_a_request_that_is_lost_twice_is_given_up(connect: Connect, at_rest: Served) -> None:
    async with wire_to(at_rest.url, breaks=2) as wire:
        with pytest.raises(ConnectionLost, match="broke during GET /v1/devices"):
            await connect(wire.url).devices()
    assert len(wire.requests) == 2


async def test_a_change_whose_answer_was_lost_is_not_repeated(
    connect: Connect, at_rest: Served
) -> None:
    unsaid = await connect(at_rest.url).models.spec("c")
    async with wire_to(at_rest.url, breaks=1) as wire:
        with pytest.raises(ConnectionLost, match="broke during PATCH"):
            await connect(wire.url).models.change_spec("c", Spec(pin=True), read=unsaid)
    assert (await connect(at_rest.url).models.spec("c")).overrides.pin is True


async def test_events_go_on_behind_the_last_one_after_a_break(
    connect: Connect, at_rest: Served
) -> None:
    direct = connect(at_rest.url)
    async with wire_to(at_rest.url) as wire:
        events = aiter(connect(wire.url).events(after=0))
        told = [await anext(events)]
        wire.cut()
        told += [await anext(events) for _ in range(3)]
    everything = direct.audit()
    assert told == [await anext(everything) for _ in told]


async def test_a_stream_that_is_left_is_closed(connect: Connect, at_rest: Served) -> None:
    events = connect(at_rest.url).events(after=0)
    await anext(events)
    assert at_rest.readers() == 1
    await events.aclose()
    await at_rest.rig.until(lambda: at_rest.readers() == 0, "it is let go")


async def test_events_end_when_the_sidecar_is_away_for_too_long(
    connect: Connect, at_rest: Served
) -> None:
    async with wire_to(at_rest.url) as wire:
        events = aiter(connect(wire.url).events(after=0, patience_s=0))
        await anext(events)
    with pytest.raises(Unreachable):
        [each async for each in events]


async def test_a_wait_goes_on_when_the_sidecar_was_away(connect: Connect, at_rest: Served) -> None:
    direct = connect(at_rest.url)
    await direct.pause()
    operation = await direct.models.load("c")
    async with wire_to(at_rest.url, breaks=9) as wire:
        waiting = asyncio.create_task(
            connect(wire.url).operations.wait(operation.location, timeout_s=40)
        )
        await at_rest.rig.until(lambda: wire.broken == wire.breaks, "it has looked often")
        await direct.resume()
        assert (await waiting).done


@pytest.mark.parametrize("code", CODES)
def test_each_problem_has_the_class_of_its_status_or_a_closer_one(code: str) -> None:
    found = problem(code, CODES[code].status)
    named = {
        400: "Invalid",
        401: "Unauthenticated",
        403: "Forbidden",
        404: "NotFound",
        405: "Problem",
        409: "Stale" if code == "changed_meanwhile" else "Conflict",
        412: "Stale",
        413: "Invalid",
        415: "Invalid",
        422: "DoesNotFit" if code == "hot_models_do_not_fit" else "Invalid",
        423: "Quarantined" if code == "quarantined" else "RejectedVersion",
        428: "Problem",
        429: "TooManyWaiting",
        500: "Problem",
        503: "Unavailable",
        504: "DeadlinePassed",
        507: "DoesNotFit",
    }
    assert type(found).__name__ == named[CODES[code].status]


def test_a_problem_of_a_newer_sidecar_has_the_class_of_its_status() -> None:
    assert type(problem("gone_fishing", 409)) is Conflict


def test_errors_travel_between_processes() -> None:
    operation = OperationBody.model_validate_json(
        '{"id": "1", "location": "/v1/operations/1", "kind": "load", "model": "m", "actor": "api",'
        '"release": null, "created_at": "2026-11-21T00:00:00Z", "finished_at": null,'
        '"done": false, "error": null}'
    )
    for error in (problem("quarantined", 423), errors.StillRunning(operation, 2.0)):
        assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301


def problem(code: str, status: int) -> Problem:
    said = {"type": f"urn:{code}", "title": "t", "status": status, "code": code}
    return errors.problem_of(ProblemBody(**said, detail="d", instance="/"))
