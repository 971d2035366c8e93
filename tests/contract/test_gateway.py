"""What a `ports.Gateway` does: one suite for the real Envoy and for the fake."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Protocol

import pytest

from sidecar.adapters.envoy import gateway as envoy_gateway
from sidecar.core.routing import Replica, Routes
from sidecar.core.traffic import Traffic
from sidecar.errors import GatewayLost, GatewayRefused
from sidecar.ports import Gateway
from tests.contract.upstreams import (
    FINAL,
    Front,
    Upstream,
    always,
    client_of,
    envoy_before,
    running,
)
from tests.eventually import eventually
from tests.fakes.gateway import ACTIVATOR, FakeGateway
from tests.fixtures.embedded import LIVE_TIMEOUT_S


class Subject(Protocol):
    """A gateway, its clients, and who supervises it."""

    @property
    def gateway(self) -> Gateway: ...

    def replica(self, name: str, *models: str) -> Replica:
        """Of one that runs: `a` or `b`."""

    async def asked(self, model: str) -> str:
        """Who answers a request: a replica, or `ACTIVATOR`."""

    def impossible(self) -> Routes:
        """Something that the gateway finds a mistake in."""

    def kill(self) -> None: ...
    async def restart(self) -> None: ...


class FakeSubject:
    def __init__(self) -> None:
        self.gateway = FakeGateway()

    def replica(self, name: str, *models: str) -> Replica:
        return Replica(name=name, http="t:1", grpc="t:2", models=frozenset(models))

    async def asked(self, model: str) -> str:
        return self.gateway.asked(model)

    def impossible(self) -> Routes:
        return Routes(stateful=frozenset({self.gateway.impossible}))

    def kill(self) -> None:
        self.gateway.kill()

    async def restart(self) -> None:
        self.gateway.restart()


class RealSubject:
    def __init__(self, front: Front, replicas: dict[str, Upstream]) -> None:
        self.gateway = front.gateway
        self._front = front
        self._replicas = replicas

    def replica(self, name: str, *models: str) -> Replica:
        return self._replicas[name].replica(*models)

    async def asked(self, model: str) -> str:
        async with client_of(self._front) as client:
            return str((await client.ask("http", model)).server)

    def impossible(self) -> Routes:
        return Routes(stateful=frozenset({"x" * 20_000}))

    def kill(self) -> None:
        self._front.server.kill()

    async def restart(self) -> None:
        self._front.server.start()
        await asyncio.to_thread(self._front.server.wait_live, LIVE_TIMEOUT_S)


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.triton)])
async def subject(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Subject]:
    """With two replicas that are live, and have no models."""
    if request.param == "fake":
        yield FakeSubject()
        return
    monkeypatch.setattr(envoy_gateway, "APPLIED_WITHIN_S", 1.0)
    async with AsyncExitStack() as stack:
        a, b, activator = [
            await stack.enter_async_context(running(Upstream(name)))
            for name in ("a", "b", ACTIVATOR)
        ]
        activator.answers = always(FINAL)
        binary = request.getfixturevalue("envoy_binary")
        before = envoy_before(activator, Upstream("canary"), binary=binary, home=tmp_path)
        front = await stack.enter_async_context(before)
        await front.route(a.replica(), b.replica())
        for replica in (a, b):
            await front.is_live(replica.http)
        yield RealSubject(front, {"a": a, "b": b})


async def test_requests_go_where_the_gateway_was_told_as_soon_as_it_says_so(
    subject: Subject,
) -> None:
    assert await subject.asked("m") == ACTIVATOR

    for first, second in [("m", "n"), ("n", "m")] * 3:
        routes = Routes(replicas=(subject.replica("a", first), subject.replica("b", second)))
        await subject.gateway.apply(routes)
        assert [await subject.asked(first), await subject.asked(second)] == ["a", "b"]


async def test_a_model_that_is_withdrawn_goes_to_the_activator_and_the_others_stay(
    subject: Subject,
) -> None:
    await subject.gateway.apply(Routes(replicas=(subject.replica("a", "m", "n"),)))

    await subject.gateway.apply(Routes(replicas=(subject.replica("a", "n"),)))

    assert [await subject.asked("m"), await subject.asked("n")] == [ACTIVATOR, "a"]


async def test_telling_the_same_again_changes_nothing(subject: Subject) -> None:
    routes = Routes(replicas=(subject.replica("a", "m"), subject.replica("b")))

    await subject.gateway.apply(routes)
    await subject.gateway.apply(routes)

    assert await subject.asked("m") == "a"


async def test_a_gateway_that_is_lost_takes_up_what_it_was_told_when_it_is_back(
    subject: Subject,
) -> None:
    await subject.gateway.apply(Routes(replicas=(subject.replica("a", "m"),)))
    subject.kill()

    with pytest.raises(GatewayLost):
        await subject.gateway.apply(Routes(replicas=(subject.replica("a", "n"),)))
    with pytest.raises(GatewayLost):
        await subject.gateway.traffic()

    await subject.restart()
    assert [await subject.asked("m"), await subject.asked("n")] == [ACTIVATOR, "a"]


async def test_a_gateway_that_finds_a_mistake_goes_on_as_before(subject: Subject) -> None:
    good = Routes(replicas=(subject.replica("a", "m"), subject.replica("b")))
    await subject.gateway.apply(good)

    with pytest.raises(GatewayRefused):
        await subject.gateway.apply(subject.impossible())

    assert await subject.asked("m") == "a"
    assert await subject.gateway.models("a") == {"m"}
    subject.kill()
    await subject.restart()
    assert await subject.asked("m") == "a"


async def test_what_a_replica_is_sent_is_remembered_also_while_the_gateway_is_lost(
    subject: Subject,
) -> None:
    assert await subject.gateway.models("a") == frozenset()
    replicas = (subject.replica("a", "m", "n"), subject.replica("b", "o"))
    await subject.gateway.apply(Routes(replicas=replicas))
    subject.kill()

    assert await subject.gateway.models("a") == {"m", "n"}
    assert await subject.gateway.models("b") == {"o"}
    assert await subject.gateway.models("c") == frozenset()


async def test_requests_are_counted_whoever_answers_them_until_the_gateway_is_restarted(
    subject: Subject,
) -> None:
    await subject.gateway.apply(Routes(replicas=(subject.replica("a", "m"),)))
    for model in ("m", "m", "m", "cold"):
        await subject.asked(model)
    await counted(subject, {"m": 3, "cold": 1})

    subject.kill()
    await subject.restart()
    await subject.asked("m")
    await counted(subject, {"m": 1})


async def counted(subject: Subject, expected: dict[str, int]) -> None:
    """A gateway counts a moment after it answered."""

    async def says_so() -> bool:
        seen = await subject.gateway.traffic()
        return {model: of_model.requests for model, of_model in seen.items()} == expected

    await eventually(says_so, f"{expected} are counted")
    seen: dict[str, Traffic] = dict(await subject.gateway.traffic())
    assert {of_model.open_streams for of_model in seen.values()} == {0}
