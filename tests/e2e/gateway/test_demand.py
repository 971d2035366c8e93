"""What the planner knows of requests that come through the gateway."""

import asyncio

import pytest

from tests.e2e.gateway.clients import PATIENCE_S, Crowd, over_http, wrong
from tests.e2e.gateway.conftest import House
from tests.eventually import eventually

pytestmark = [pytest.mark.triton, pytest.mark.timeout(180)]

QUESTIONS = ("", "/config", "/ready", "/stats")
LOOKS = 2


async def test_demand_is_what_clients_asked_for_and_nothing_else(
    gateway: House, clients: Crowd
) -> None:
    """Warm-up, probes and questions are nobody's wish; what was refused is one."""
    await looks(gateway, clients)
    assert asked(gateway) == {"counted": 0, "counted-hot": 0, "counted-large": 0}

    await clients.both("counted-large", 2)
    answered = [*await clients.both("counted-hot", 10), *await clients.both("counted", 3)]
    assert wrong(answered) == []
    for question in QUESTIONS:
        await asyncio.to_thread(over_http, gateway.http, f"/v2/models/counted-hot{question}")
    await counts(gateway, {"counted": 6, "counted-hot": 20, "counted-large": 4})

    await asyncio.to_thread(reload, gateway, "counted")
    await looks(gateway, clients)
    assert asked(gateway)["counted"] == 6
    assert wrong(await clients.both("counted", 1)) == []
    await counts(gateway, {"counted": 8, "counted-hot": 20, "counted-large": 4})
    await looks(gateway, clients)
    assert asked(gateway) == {"counted": 8, "counted-hot": 20, "counted-large": 4}


async def looks(gateway: House, clients: Crowd) -> None:
    """Return when the sidecar has looked some times; each finds a request to another model."""
    for _ in range(LOOKS):
        before = await asyncio.to_thread(requests, gateway, "counting")
        await clients.http("counting")

        async def is_seen(before: int = before) -> bool:
            return await asyncio.to_thread(requests, gateway, "counting") > before

        await eventually(is_seen, "the sidecar sees a request")


async def counts(gateway: House, expected: dict[str, int]) -> None:
    """Envoy counts a request after it is answered."""

    async def says_so() -> bool:
        return await asyncio.to_thread(asked, gateway) == expected

    await eventually(says_so, f"{expected} are counted")


def reload(gateway: House, model: str) -> None:
    for action in ("unload", "load"):
        gateway.admin.wait(gateway.admin.ask(f"/v1/models/{model}:{action}"), PATIENCE_S)


def asked(gateway: House) -> dict[str, int]:
    return {name: requests(gateway, name) for name in ("counted", "counted-hot", "counted-large")}


def requests(gateway: House, model: str) -> int:
    """Of the last hour; what is a few seconds old weighs a little less than one."""
    return round(float(gateway.admin.model(model)["requests_per_hour"]))
