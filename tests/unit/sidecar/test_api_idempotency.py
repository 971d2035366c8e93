"""A POST that is sent again with its key is done once."""

import asyncio
from pathlib import Path

import httpx2
import pytest
from fastapi import Response

from sidecar.api.idempotency import GIVEN_UP_AFTER_S, KEPT_S, Answers
from sidecar.errors import Conflict, Impossible
from tests.fakes.state import FakeState
from tests.unit.sidecar.client import OPERATOR, ROLES, VIEWER, ask, bearer, problem, problem_in
from tests.unit.sidecar.rig import Rig

KEY = {"Idempotency-Key": "8e03978e-40d5-43dd-bc93-6894a57f9324"}


class Clock:
    def __init__(self) -> None:
        self.at_s = 1_000_000.0

    def now_s(self) -> float:
        return self.at_s


class Work:
    """Counts how often it was done; `go` lets it end."""

    def __init__(self) -> None:
        self.count = 0
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self) -> Response:
        await self.go.wait()
        self.count += 1
        return Response(str(self.count), 202)


@pytest.fixture
def state() -> FakeState:
    return FakeState()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def answers(state: FakeState, clock: Clock) -> Answers:
    return Answers(state, clock.now_s)


def test_the_same_request_gets_the_same_operation(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        path, body = "/v1/models/m/releases", {"version": 2}
        first = await client.post(path, json=body, headers=KEY)
        again = await client.post(path, json=body, headers=KEY)
        assert first.status_code == again.status_code == 202
        assert first.json() == again.json()
        for header in ("location", "retry-after", "content-type"):
            assert first.headers[header] == again.headers[header]
        assert "idempotency-replayed" not in first.headers
        assert again.headers["idempotency-replayed"] == "true"
        assert rig.told().count("operation_accepted") == 1

    ask(tmp_path, story)


def test_without_a_key_every_request_counts(tmp_path: Path) -> None:
    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        for _ in range(2):
            await client.post("/v1/models/c:load")
        assert rig.told().count("operation_accepted") == 2

    ask(tmp_path, story)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/models/m/releases", {"version": 3}),
        ("/v1/models/c/releases", {"version": 2}),
        ("/v1/models/m/releases?dry_run=true", {"version": 2}),
        ("/v1/models/m:rollback", None),
    ],
)
def test_a_key_belongs_to_one_path_and_body(tmp_path: Path, path: str, body: object) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        await client.post("/v1/models/m/releases", json={"version": 2}, headers=KEY)
        answer = await problem(client, path, body, headers=KEY)
        assert answer[:2] == (422, "idempotency_key_reused")

    ask(tmp_path, story)


def test_what_was_refused_may_be_tried_again_with_its_key(tmp_path: Path) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        path = "/v1/models/c:rollback"
        assert (await problem(client, path, headers=KEY))[:2] == (409, "nothing_to_roll_back")
        assert (await client.post("/v1/models/c:load", headers=KEY)).status_code == 202

    ask(tmp_path, story)


def test_keys_of_different_callers_never_meet(tmp_path: Path) -> None:
    """Nor does a key open anything to somebody who may not ask."""

    async def story(rig: Rig, client: httpx2.AsyncClient) -> None:
        path = "/v1/models/c:load"
        written: list[str] = []
        rig.state.on_put.append(lambda stored: written.append(stored.key))
        assert (await client.post(path, headers=KEY | bearer(OPERATOR))).status_code == 202
        for headers, code in ((KEY, 401), (KEY | bearer(VIEWER), 403)):
            answer = await client.post(path, headers=headers)
            problem_in(answer)
            assert answer.status_code == code
        assert len({key for key in written if key.startswith("idempotency/")}) == 1

    ask(tmp_path, story, ROLES)


@pytest.mark.parametrize("key", ["", "x" * 256])
def test_a_key_is_neither_empty_nor_endless(tmp_path: Path, key: str) -> None:
    async def story(_rig: Rig, client: httpx2.AsyncClient) -> None:
        answer = await problem(client, "/v1/models/c:load", headers={"Idempotency-Key": key})
        assert answer[:2] == (422, "invalid_request")

    ask(tmp_path, story)


async def test_while_the_first_request_runs_the_second_is_told(answers: Answers) -> None:
    work = Work()
    work.go.clear()
    first = asyncio.create_task(answers.once("key", "request", work))
    await asyncio.sleep(0.01)

    with pytest.raises(Conflict, match="still runs"):
        await answers.once("key", "request", work)
    with pytest.raises(Impossible):
        await answers.once("key", "another request", work)

    work.go.set()
    assert (await first).body == b"1"
    assert (await answers.once("key", "request", work)).body == b"1"
    assert work.count == 1


async def test_an_answer_is_replayed_after_a_restart_for_a_day(
    state: FakeState, clock: Clock, answers: Answers
) -> None:
    work = Work()
    await answers.once("key", "request", work)

    clock.at_s += KEPT_S
    restarted = Answers(state, clock.now_s)
    assert (await restarted.once("key", "request", work)).body == b"1"
    clock.at_s += 1
    assert (await restarted.once("key", "another request", work)).body == b"2"


async def test_a_request_that_died_with_its_sidecar_can_be_sent_again(
    state: FakeState, clock: Clock, answers: Answers
) -> None:
    dead = Work()
    dead.go.clear()
    dying = asyncio.create_task(answers.once("key", "request", dead))
    await asyncio.sleep(0.01)
    left = dict(state.objects)
    dying.cancel()
    await asyncio.gather(dying, return_exceptions=True)
    state.objects = left

    restarted, work = Answers(state, clock.now_s), Work()
    with pytest.raises(Conflict):
        await restarted.once("key", "request", work)
    clock.at_s += GIVEN_UP_AFTER_S + 1
    assert (await restarted.once("key", "request", work)).body == b"1"


async def test_old_answers_are_pruned(state: FakeState, clock: Clock, answers: Answers) -> None:
    for key in ("a", "b"):
        await answers.once(key, "request", Work())
    clock.at_s += KEPT_S / 2
    await answers.once("c", "request", Work())

    clock.at_s += KEPT_S / 2 + 1
    await answers.once("d", "request", Work())

    assert sorted(state.objects) == ["idempotency/c", "idempotency/d"]
