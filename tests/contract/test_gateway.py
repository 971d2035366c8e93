"""What a `ports.Gateway` does: one suite for the real Envoy and for the fake."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest
from structlog.testing import capture_logs

from sidecar.adapters.envoy.admin import Admin
from sidecar.adapters.envoy.gateway import EnvoyGateway, Plan
from sidecar.adapters.envoy.listeners import Edge
from sidecar.adapters.envoy.names import GRPC, HTTP
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
    impatient,
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

    def with_a_mistake(self, good: Routes) -> Routes:
        """The same, with something that the gateway refuses."""

    def kill(self) -> None: ...
    async def restart(self) -> None: ...


class FakeSubject:
    def __init__(self) -> None:
        self.gateway = FakeGateway()

    def replica(self, name: str, *models: str) -> Replica:
        return Replica(name=name, http="t:1", grpc="t:2", models=frozenset(models))

    async def asked(self, model: str) -> str:
        return self.gateway.asked(model)

    def with_a_mistake(self, good: Routes) -> Routes:
        return replace(good, stateful=frozenset({self.gateway.impossible}))

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

    def with_a_mistake(self, good: Routes) -> Routes:
        return replace(good, stateful=frozenset({"x" * 20_000}))

    def kill(self) -> None:
        self._front.server.kill()

    async def restart(self) -> None:
        self._front.server.start()
        await asyncio.to_thread(self._front.server.wait_live, LIVE_TIMEOUT_S)
        await self._front.is_live(self.replica("a"))


@pytest.fixture(
    params=["fake", pytest.param("real", marks=[pytest.mark.triton, pytest.mark.timeout(180)])]
)
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    """With two replicas that are live, and have no models."""
    if request.param == "fake":
        yield FakeSubject()
        return
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
        await front.is_live(a.replica(), b.replica())
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

    with impatient(), pytest.raises(GatewayRefused):
        await subject.gateway.apply(subject.with_a_mistake(good))

    assert await subject.asked("m") == "a"
    assert await subject.gateway.models("a") == {"m"}
    subject.kill()
    await subject.restart()
    assert await subject.asked("m") == "a"


@pytest.mark.triton
async def test_a_port_that_is_taken_is_told_and_used_as_soon_as_it_is_free(
    tmp_path: Path, envoy_binary: Path
) -> None:
    async with running(Upstream(ACTIVATOR)) as activator:
        activator.answers = always(FINAL)
        before = envoy_before(activator, Upstream("canary"), binary=envoy_binary, home=tmp_path)
        async with before as front:
            await front.route()
            with socket.create_server(("127.0.0.1", 0)) as taken:
                port = taken.getsockname()[1]
                gateway = moved(front, port)
                refused = pytest.raises(GatewayRefused, match="already in use; stop what listens")
                with impatient(), refused:
                    await gateway.apply(Routes())

            await gateway.apply(Routes())
            async with client_of(replace(front, http=f"127.0.0.1:{port}")) as client:
                assert (await client.ask("http", "m")).server == ACTIVATOR


def moved(front: Front, http_port: int) -> EnvoyGateway:
    """The same Envoy, told to take HTTP elsewhere."""
    plan = front.gateway._plan
    addresses = {**plan.edge.addresses, HTTP: ("127.0.0.1", http_port)}
    edge = replace(plan.edge, addresses=addresses)
    return EnvoyGateway(front.folder, replace(plan, edge=edge), front.admin)


async def test_routes_that_cannot_be_written_are_told_and_written_when_they_can(
    tmp_path: Path,
) -> None:
    (tmp_path / "gateway").write_text("a file stands here")
    async with without_envoy(tmp_path) as gateway:
        with pytest.raises(GatewayLost, match=r"cannot be written to .*gateway: .*; free its disk"):
            await gateway.write(Routes())

        (tmp_path / "gateway").unlink()
        await gateway.write(Routes())
    assert (tmp_path / "gateway" / "bootstrap.json").is_file()


@pytest.mark.parametrize("host", ["triton..local", "x" * 64])
async def test_an_address_that_is_none_is_told_with_its_name(tmp_path: Path, host: str) -> None:
    replica = Replica(name="a", http=f"{host}:1", grpc=f"{host}:2", models=frozenset())
    refused = pytest.raises(GatewayLost, match=f"{host}: it is no name of a host; mend the name")
    async with without_envoy(tmp_path) as gateway:
        with refused:
            await gateway.write(Routes(replicas=(replica,)))


@pytest.mark.parametrize("left", ["", "\0" * 512, '{"version_info": "1", "resou'])
async def test_of_a_file_that_a_power_failure_has_cut_off_nothing_counts_as_told(
    tmp_path: Path, left: str
) -> None:
    replica = Replica(name="a", http="127.0.0.1:1", grpc="127.0.0.1:2", models=frozenset("m"))
    async with without_envoy(tmp_path) as gateway:
        await gateway.write(Routes(replicas=(replica,)))
        assert await gateway.models("a") == {"m"}

        (tmp_path / "gateway" / "endpoints_serving_http.json").write_text(left)
        with capture_logs() as logs:
            assert await gateway.models("a") == frozenset()
        (line,) = logs
        assert line["event"] == "gateway_file_unreadable"
        assert line["path"].endswith("/gateway/endpoints_serving_http.json")

        await gateway.write(Routes(replicas=(replica,)))
        assert await gateway.models("a") == {"m"}


@asynccontextmanager
async def without_envoy(tmp_path: Path) -> AsyncIterator[EnvoyGateway]:
    """One whose Envoy does not run; it writes into `gateway`."""
    plan = Plan(
        seen_folder=str(tmp_path / "gateway"),
        edge=Edge(
            addresses={HTTP: ("127.0.0.1", 3), GRPC: ("127.0.0.1", 4)}, largest_request_bytes=1
        ),
        admin=("127.0.0.1", 5),
        activator={HTTP: "127.0.0.1:1", GRPC: "127.0.0.1:2"},
        canary=None,
        largest_heap_bytes=2**30,
    )
    async with Admin("http://127.0.0.1:5") as admin:
        yield EnvoyGateway(tmp_path / "gateway", plan, admin)


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
