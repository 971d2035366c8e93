"""Whom the gateway does not hold, or not for long; and what it knows of them afterwards."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from embedded.provision import Installation
from tests.builders import MIB
from tests.e2e.gateway.clients import (
    Crowd,
    Reply,
    crowd,
    json_body,
    message,
    over_grpc,
    over_http,
)
from tests.e2e.gateway.conftest import House, house
from tests.e2e.gateway.models import Shelf
from tests.eventually import eventually

pytestmark = [pytest.mark.triton, pytest.mark.timeout(180)]

AT_ONCE_S = 20.0
"""However busy the machine is; who is held waits for two minutes."""
UNKNOWN = 1000
MAY_GROW_BYTES = 12 * MIB
LONGEST_HOLD_S = 8.0
PER_MODEL, IN_ALL = 4, 6


@pytest.fixture(scope="module")
def narrow(
    installation: Installation, envoy_binary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """A gateway that holds few requests, and not for long; its models load until `open`."""
    home = tmp_path_factory.mktemp("narrow")
    shelf = Shelf(home)
    for name in ("late", "queued", "one", "other", "further"):
        shelf.publish(name, is_closed=True)
    limits = {
        "longest_hold_s": LONGEST_HOLD_S,
        "most_waiting_per_model": PER_MODEL,
        "most_waiting": IN_ALL,
    }
    with house(installation, envoy_binary, home / "home", shelf, gateway=limits) as built:
        yield built


@pytest.fixture
async def queue(narrow: House) -> AsyncIterator[Crowd]:
    async with crowd(narrow.http, narrow.grpc) as clients:
        yield clients


async def test_nobody_is_held_longer_than_our_limit(narrow: House, queue: Crowd) -> None:
    over_h, over_g = await asyncio.gather(queue.http("late"), queue.grpc("late"))
    assert (over_h.code, over_g.code) == (503, "UNAVAILABLE")
    assert over_h.headers["retry-after"] == "1"
    assert retry_delay_s(over_g) == 1.0
    text = "late was not loaded within 8 s, and no request is held for longer; the load goes on"
    assert over_h.error.startswith(text)
    assert over_g.error.startswith(text)
    assert all(reply.seconds > LONGEST_HOLD_S - 0.1 for reply in (over_h, over_g))
    narrow.shelf.open("late")

    async def is_loaded() -> bool:
        return (await queue.http("late")).is_right

    await eventually(is_loaded, "the load went on")
    assert narrow.shelf.loads("late") == 1


async def test_the_queue_of_a_model_is_bounded(narrow: House, queue: Crowd) -> None:
    crowding = [asyncio.create_task(queue.grpc("queued")) for _ in range(PER_MODEL + 1)]
    (first,), waiting = await asyncio.wait(crowding, return_when=asyncio.FIRST_COMPLETED)
    over_h, over_g = await queue.both("queued", 1)
    assert (over_h.code, over_g.code) == (429, "RESOURCE_EXHAUSTED")
    assert over_h.headers["retry-after"] == "1"
    assert retry_delay_s(over_g) == 1.0
    for reply in (first.result(), over_h, over_g):
        assert reply.error.startswith(f"{PER_MODEL} requests wait for queued already")
    assert not any(task.done() for task in waiting)
    narrow.shelf.open("queued")
    await asyncio.gather(*waiting)


async def test_the_queue_of_all_models_is_bounded(narrow: House, queue: Crowd) -> None:
    models = ("one", "other", "further")
    asking = [
        asyncio.create_task(ask(model)) for model in models for ask in (queue.http, queue.grpc) * 2
    ]

    async def are_refused() -> bool:
        return sum(task.done() for task in asking) == len(asking) - IN_ALL

    await eventually(are_refused, f"all but {IN_ALL} are refused")
    refused = [task.result() for task in asking if task.done()]
    assert {reply.code for reply in refused} <= {429, "RESOURCE_EXHAUSTED"}
    assert all("requests wait for models already" in reply.error for reply in refused)
    for model in models:
        narrow.shelf.open(model)
    await asyncio.gather(*asking)


async def test_a_name_that_nobody_knows_is_refused_in_tritons_words(gateway: House) -> None:
    for path in ("/v2/models/nobody/infer", "/v2/models/nobody/versions/3/infer"):
        through, direct = (
            over_http(url, path, json_body(1, 3)) for url in (gateway.http, gateway.triton_http)
        )
        assert through.code == 404
        assert through.seconds < AT_ONCE_S
        if "versions" not in path:
            assert (through.code, through.body) == (direct.code, direct.body)
    through, direct = (
        over_grpc(address, "ModelInfer", message("nobody"))
        for address in (gateway.grpc, gateway.triton_grpc)
    )
    assert through.code == "NOT_FOUND"
    assert through.untouched == direct.untouched


@pytest.mark.parametrize(
    "name",
    ["..", "%2e%2e", "a%2Fb", "a%00b", "hot%20", "HOT", "x" * 1000, "%F0%9F%98%80", "hot%0d%0ax:y"],
)
def test_tricks_with_names_end_in_a_refusal(gateway: House, name: str) -> None:
    reply = over_http(gateway.http, f"/v2/models/{name}/infer", json_body(1, 3))
    assert reply.code in (400, 403, 404)
    assert reply.seconds < AT_ONCE_S


@pytest.mark.parametrize("name", ["", "..", "a/b", "hot ", "x" * 1000, "\N{GRINNING FACE}", '"]'])
def test_tricks_with_names_in_messages_end_in_a_refusal(gateway: House, name: str) -> None:
    reply = over_grpc(gateway.grpc, "ModelInfer", message(name))
    assert reply.code in ("NOT_FOUND", "INVALID_ARGUMENT")
    assert reply.seconds < AT_ONCE_S


async def test_a_thousand_unknown_names_load_nothing_and_leave_nothing(
    gateway: House, clients: Crowd
) -> None:
    await flood(clients, "first")
    loaded, before = gateway.admin.models(), memory(gateway)
    slowest = [await flood(clients, f"wave{number}") for number in range(3)]
    after = memory(gateway)
    assert max(slowest) < AT_ONCE_S
    grown = {name: after[name] - before[name] for name in before}
    assert all(bytes_ < MAY_GROW_BYTES for bytes_ in grown.values()), grown
    assert "wave" not in statistics(gateway), "Envoy keeps no counter of theirs"
    assert [model["name"] for model in gateway.admin.models()] == [m["name"] for m in loaded]
    assert (await clients.http("hot")).is_right


async def flood(clients: Crowd, prefix: str) -> float:
    """Unknown names, each only once; returns the longest wait in seconds."""
    at_once = asyncio.Semaphore(32)

    async def ask(number: int) -> Reply:
        async with at_once:
            one = clients.http if number % 2 else clients.grpc
            return await one(f"{prefix}-{number}")

    replies = await asyncio.gather(*(ask(number) for number in range(UNKNOWN)))
    assert {reply.code for reply in replies} == {404, "NOT_FOUND"}
    return max(reply.seconds for reply in replies)


def memory(gateway: House) -> dict[str, int]:
    """Resident bytes of those whom the flood meets."""
    stack = gateway.stack
    assert stack.gateway is not None
    processes = (stack.sidecar, stack.gateway)
    return {each.name: psutil.Process(each.pid).memory_info().rss for each in processes}


def statistics(gateway: House) -> str:
    assert gateway.stack.gateway is not None
    admin = f"http://127.0.0.1:{gateway.stack.gateway.admin_port}"
    return over_http(admin, "/stats?usedonly").body.decode()


def retry_delay_s(reply: Reply) -> float:
    """What a gRPC refusal says about when to ask again."""
    details = reply.headers["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    info = RetryInfo()
    assert Status.FromString(details).details[0].Unpack(info)
    return float(info.retry_delay.ToTimedelta().total_seconds())
