"""What a `ports.Peer` does: one suite for another sidecar's real REST API and for the fake."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from sidecar.adapters import peer as sidecar_peer
from sidecar.adapters.peer import SidecarPeer
from sidecar.api.actions import LONGEST_WAIT_S
from sidecar.compose import ApiServer
from sidecar.core.activation import Heat
from sidecar.core.fleet import Mode, Server
from sidecar.core.memory import CPU
from sidecar.core.replicas import Announcement, revision
from sidecar.errors import DoesNotFit, NotNow, PeerLost, Quarantined, TooLate, UnknownObject
from sidecar.ports import Peer
from sidecar.runtime.records import Records
from tests.builders import MIB, publish, quarantine
from tests.eventually import eventually
from tests.fakes.peer import FakePeer
from tests.unit.sidecar.client import OPERATOR, ROLES, VIEWER, app_of
from tests.unit.sidecar.rig import Rig

LOADED, COLD, LARGE = "loaded", "cold", "large"
LARGE_MIB, BUDGET_MIB = 100, 10
LOAD_S = 0.3
SHORT_S, ENOUGH_S = 0.05, 30.0
DEADLINE_S = 30.0
NOWHERE = "127.0.0.1:9"


class Subject(Protocol):
    """A peer that has `LOADED`, knows `COLD`, and has no room for `LARGE`."""

    peer: Peer
    free_bytes: int

    def loads(self, model: str) -> int:
        """How often it has loaded a model."""

    def waiting(self) -> int:
        """How many wait for `COLD`."""

    async def is_loading(self) -> bool:
        """`COLD`."""

    @property
    def may_end_loads(self) -> asyncio.Event: ...

    async def drain(self) -> None: ...

    async def set_aside(self, until_s: float | None) -> None:
        """Have `COLD` in quarantine."""

    async def pause(self) -> None:
        """Load nothing."""

    async def die(self) -> None: ...


class FakeSubject:
    def __init__(self) -> None:
        self.free_bytes = (BUDGET_MIB - 1) * MIB
        self.peer = self._peer = FakePeer(
            LOADED, cold=f"{COLD} {LARGE}", free_bytes=self.free_bytes, load_s=LOAD_S
        )
        self._peer.refuses[LARGE] = DoesNotFit(
            "too large",
            device=CPU,
            needed_bytes=LARGE_MIB * MIB,
            free_bytes=self.free_bytes,
            evictable_bytes=0,
            blocked_by=[],
        )

    def loads(self, model: str) -> int:
        return int(model in self._peer.models)

    def waiting(self) -> int:
        return self._peer.calls.count(f"ensure {COLD}")

    async def is_loading(self) -> bool:
        return self.waiting() > 0

    @property
    def may_end_loads(self) -> asyncio.Event:
        return self._peer.may_end_loads

    async def drain(self) -> None:
        self._peer.joined = False

    async def set_aside(self, until_s: float | None) -> None:
        self._peer.refuses[COLD] = Quarantined(f"{COLD} is in quarantine", until_s=until_s)

    async def pause(self) -> None:
        self._peer.refuses[COLD] = NotNow("the sidecar is paused")

    async def die(self) -> None:
        self._peer.kill()


class RealSubject:
    """A whole sidecar on fake servers, with its API on a port."""

    def __init__(self, rig: Rig, api: "Api", triton: "Api", peer: SidecarPeer) -> None:
        self.rig = rig
        self.peer = peer
        self.triton = triton
        self.free_bytes = (BUDGET_MIB - 1) * MIB
        self.api = api

    def loads(self, model: str) -> int:
        return len(self.rig.loaded(Server.SERVING, model))

    def waiting(self) -> int:
        return self.rig.sidecar.world.waiting.count(COLD)

    async def is_loading(self) -> bool:
        return f"load {COLD}" in self.rig.serving.calls

    @property
    def may_end_loads(self) -> asyncio.Event:
        return self.rig.serving.may_end_loads

    async def drain(self) -> None:
        await self._set(Mode.DRAINING)

    async def set_aside(self, until_s: float | None) -> None:
        rests = replace(quarantine(), until_s=until_s)
        await self.rig.sidecar.world.records.set_aside(COLD, rests)

    async def pause(self) -> None:
        await self._set(Mode.PAUSED)

    async def die(self) -> None:
        await self.api.end()
        await self.triton.end()

    async def _set(self, mode: Mode) -> None:
        await self.rig.sidecar.requests.set_mode(mode, actor="ann")
        loop = self.rig.sidecar.loop
        await self.rig.until(
            lambda: loop.snapshot is not None and loop.snapshot.mode is mode, f"{mode} is seen"
        )


@dataclass(frozen=True, slots=True)
class Api:
    """A REST app on a port."""

    address: str
    server: ApiServer
    serving: asyncio.Task[None]

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    async def end(self) -> None:
        """At once: nobody who waits is answered."""
        self.server.end()
        for connection in self.server.server_state.connections:
            connection.transport.abort()
        for task in self.server.server_state.tasks:
            task.cancel()
        await asyncio.wait_for(self.serving, DEADLINE_S)


@asynccontextmanager
async def served(rig: Rig, app: FastAPI) -> AsyncIterator[Api]:
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off")
    server = ApiServer(config, at_end=rig.sidecar.world.telemetry.close)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        api = Api(
            f"127.0.0.1:{listener.getsockname()[1]}",
            server,
            asyncio.create_task(server.serve(sockets=[listener])),
        )
        await rig.until(lambda: server.started, "it listens", DEADLINE_S)
        yield api
        await api.end()


@asynccontextmanager
async def rig_with_models(home: Path) -> AsyncIterator[Rig]:
    """A sidecar on fake servers that has loaded what is hot."""
    rig = Rig(home)
    publish(rig.store, LOADED, tier="hot")
    publish(rig.store, COLD)
    publish(rig.store, LARGE)
    file = rig.store.version(LARGE, 1).manifest
    manifest = json.loads(file.read_text())
    manifest["cost"] |= dict.fromkeys(("private_bytes", "peak_bytes"), LARGE_MIB * MIB)
    file.write_text(json.dumps(manifest))
    for name in (LOADED, COLD, LARGE):
        await Records(rig.state).set_serving(name, 1)
    rig.policy = replace(rig.policy, budgets={CPU: BUDGET_MIB * MIB}, headroom=0.0)
    rig.start()
    await rig.ready()
    # What is hot is loaded at once.
    rig.serving.load_s = LOAD_S
    yield rig
    await rig.sidecar.die()


@pytest.fixture
async def real(tmp_path: Path, patient: None) -> AsyncIterator[RealSubject]:
    async with (
        rig_with_models(tmp_path) as rig,
        served(rig, app_of(rig, ROLES)) as api,
        served(rig, triton_of(rig)) as triton,
        SidecarPeer(api.url, OPERATOR, triton=triton.address) as peer,
    ):
        yield RealSubject(rig, api, triton, peer)


def triton_of(rig: Rig) -> FastAPI:
    """The little of Triton's HTTP endpoint that is asked for; it must not see the token."""
    app = FastAPI()

    @app.get("/v2/models/{model}/ready")
    def ready(model: str, request: Request) -> Response:
        assert OPERATOR not in request.headers.get("authorization", "")
        return Response(status_code=200 if rig.serving.ready(model) else 400)

    return app


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Client and server live in one loop: on a busy machine an answer takes longer."""
    monkeypatch.setattr(sidecar_peer, "LOOK_TIMEOUT_S", DEADLINE_S)
    monkeypatch.setattr(sidecar_peer, "SLACK_S", DEADLINE_S)


@pytest.fixture(params=["fake", "real"])
def subject(request: pytest.FixtureRequest) -> Subject:
    if request.param == "fake":
        return FakeSubject()
    real: RealSubject = request.getfixturevalue("real")
    return real


def questions(peer: Peer) -> list[Callable[[], Awaitable[object]]]:
    return [lambda: peer.look(""), lambda: peer.ensure(COLD, timeout_s=ENOUGH_S)]


async def test_it_says_what_it_has_and_how_much_more_it_could(subject: Subject) -> None:
    found = await subject.peer.look("")
    assert found == Announcement(
        models={LOADED: (1,)},
        stateful=frozenset(),
        joined=True,
        free_bytes=subject.free_bytes,
    )


async def test_what_is_loaded_is_there_at_once(subject: Subject) -> None:
    assert await subject.peer.ensure(LOADED, timeout_s=SHORT_S) is Heat.HIT


async def test_what_is_cold_is_loaded_and_then_announced(subject: Subject) -> None:
    assert await subject.peer.ensure(COLD, timeout_s=ENOUGH_S) is Heat.COLD

    assert (await subject.peer.look("")).models == {LOADED: (1,), COLD: (1,)}
    assert await subject.peer.ensure(COLD, timeout_s=ENOUGH_S) is Heat.HIT


async def test_two_who_ask_for_the_same_wait_for_one_load(subject: Subject) -> None:
    subject.may_end_loads.clear()
    asking = [asyncio.create_task(subject.peer.ensure(COLD, timeout_s=ENOUGH_S)) for _ in range(2)]

    async def both_wait() -> bool:
        return subject.waiting() == 2

    await eventually(both_wait, "both wait")
    subject.may_end_loads.set()

    assert sorted(await asyncio.gather(*asking)) == [Heat.COLD, Heat.JOINED]
    assert subject.loads(COLD) == 1


async def test_who_cannot_wait_so_long_is_told_and_the_load_goes_on(subject: Subject) -> None:
    subject.may_end_loads.clear()
    # What is left of it when it is asked.
    with pytest.raises(TooLate, match=rf"{COLD} was not loaded within 0\.0\d+ s"):
        await subject.peer.ensure(COLD, timeout_s=SHORT_S)
    subject.may_end_loads.set()

    async def is_there() -> bool:
        return COLD in (await subject.peer.look("")).models

    await eventually(is_there, "it is loaded")


async def test_it_may_be_asked_to_wait_for_longer_than_it_holds_anybody(subject: Subject) -> None:
    assert await subject.peer.ensure(COLD, timeout_s=10 * LONGEST_WAIT_S) is Heat.COLD


async def test_a_model_that_it_does_not_know_is_refused(subject: Subject) -> None:
    with pytest.raises(UnknownObject, match="no model 'nobody' in the store") as refused:
        await subject.peer.ensure("nobody", timeout_s=ENOUGH_S)
    assert refused.value.code == "unknown_model"


@pytest.mark.parametrize("until", [datetime(2099, 1, 2, 3, 4, 5, tzinfo=UTC), None])
async def test_a_model_in_quarantine_is_refused_with_its_end(
    subject: Subject, until: datetime | None
) -> None:
    await subject.set_aside(until.timestamp() if until else None)

    with pytest.raises(Quarantined, match=f"{COLD} is in quarantine") as refused:
        await subject.peer.ensure(COLD, timeout_s=ENOUGH_S)
    assert refused.value.members == ({"until": until} if until else {})


async def test_a_model_that_does_not_fit_is_refused_with_the_numbers(subject: Subject) -> None:
    with pytest.raises(DoesNotFit) as refused:
        await subject.peer.ensure(LARGE, timeout_s=ENOUGH_S)
    limits = ("device", "needed_bytes", "free_bytes")
    found = refused.value.members
    assert found.keys() == {*limits, "evictable_bytes", "blocked_by"}
    assert [found[name] for name in limits] == [CPU, LARGE_MIB * MIB, subject.free_bytes]


async def test_one_that_is_paused_loads_nothing(subject: Subject) -> None:
    await subject.pause()

    with pytest.raises(NotNow, match="the sidecar is paused"):
        await subject.peer.ensure(COLD, timeout_s=ENOUGH_S)
    assert subject.loads(COLD) == 0


async def test_one_that_drains_has_its_models_but_has_not_joined(subject: Subject) -> None:
    await subject.drain()

    found = await subject.peer.look("")
    assert (found.models, found.joined) == ({LOADED: (1,)}, False)


async def test_its_triton_tells_what_it_has_by_itself(subject: Subject) -> None:
    assert await subject.peer.serves(LOADED)
    assert not await subject.peer.serves(COLD)
    await subject.peer.ensure(COLD, timeout_s=ENOUGH_S)
    assert await subject.peer.serves(COLD)


async def test_one_that_has_died_serves_nothing(subject: Subject) -> None:
    await subject.die()

    assert not await asyncio.wait_for(subject.peer.serves(LOADED), DEADLINE_S)


async def test_one_that_has_died_is_lost(subject: Subject) -> None:
    await subject.die()

    for ask in questions(subject.peer):
        with pytest.raises(PeerLost, match="does not answer"):
            await asyncio.wait_for(ask(), DEADLINE_S)


async def test_one_that_dies_while_it_loads_is_lost(subject: Subject) -> None:
    subject.may_end_loads.clear()
    asking = asyncio.create_task(subject.peer.ensure(COLD, timeout_s=ENOUGH_S))
    await eventually(subject.is_loading, "the load has begun")
    await subject.die()

    with pytest.raises(PeerLost, match="does not answer"):
        await asyncio.wait_for(asking, DEADLINE_S)


# The real one alone.


async def test_a_model_is_unloaded_only_when_the_gateway_has_let_it_go(real: RealSubject) -> None:
    await real.peer.ensure(COLD, timeout_s=ENOUGH_S)
    both, one = revision(frozenset({LOADED, COLD})), revision(frozenset({LOADED}))
    await real.peer.look(both)
    unload = await real.rig.sidecar.requests.unload(COLD, actor="ann")

    async def has_withdrawn() -> bool:
        return (await real.peer.look(both)).models == {LOADED: (1,)}

    await eventually(has_withdrawn, "it does not answer for it any more")
    assert real.rig.serving.ready(COLD) == {1}

    await real.peer.look(one)
    await real.rig.ended(unload)
    assert real.rig.serving.ready(COLD) == set()


async def test_a_token_that_it_does_not_know_is_a_matter_for_people(real: RealSubject) -> None:
    async with SidecarPeer(real.api.url, "wrong", triton=real.triton.address) as peer:
        for ask in questions(peer):
            with pytest.raises(PeerLost, match=r"401: .*; check gateway.replicas, its token"):
                await ask()


async def test_a_token_that_may_only_look_is_a_matter_for_people(real: RealSubject) -> None:
    async with SidecarPeer(real.api.url, VIEWER, triton=real.triton.address) as peer:
        assert (await peer.look("")).models == {LOADED: (1,)}
        with pytest.raises(PeerLost, match=r"403: .*operator"):
            await peer.ensure(COLD, timeout_s=ENOUGH_S)


@pytest.mark.usefixtures("patient")
async def test_one_that_has_not_looked_at_its_triton_yet_is_lost(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.start()
    await rig.sidecar.die()
    async with served(rig, app_of(rig)) as api, SidecarPeer(api.url, None, triton=NOWHERE) as peer:
        with pytest.raises(PeerLost, match="503"):
            await peer.look("")


async def test_a_triton_whose_sidecar_has_died_tells_what_it_has(real: RealSubject) -> None:
    await real.api.end()

    assert await real.peer.serves(LOADED)
    assert not await real.peer.serves(COLD)


# Who is no sidecar at all.


async def test_where_nothing_listens_it_is_lost() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    async with SidecarPeer(f"http://127.0.0.1:{port}", None, triton=NOWHERE) as peer:
        with pytest.raises(PeerLost, match=f"127.0.0.1:{port} does not answer"):
            await asyncio.wait_for(peer.look(""), DEADLINE_S)


async def test_where_nothing_is_answered_it_is_lost_within_a_second() -> None:
    """Whoever asks for a model asks two such questions."""
    assert 2 * sidecar_peer.LOOK_TIMEOUT_S <= 1.0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with SidecarPeer(url, None, triton=NOWHERE) as peer:
            with pytest.raises(PeerLost, match="does not answer"):
                await asyncio.wait_for(peer.look(""), DEADLINE_S)


@pytest.mark.parametrize("body", ["<html>", '{"models": []}', "[]", "7", '{"models": 7}'])
async def test_where_something_else_answers_it_is_lost(body: str) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write((head + body).encode())
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with SidecarPeer(f"http://127.0.0.1:{port}", None, triton=NOWHERE) as peer:
            for ask in questions(peer):
                with pytest.raises(PeerLost, match=str(port)):
                    await ask()
