"""Triton without a gateway: what it does not have is loaded, then asked for again.

Triton's clients are small ones here, in front of the rig's fake Triton and with a real one's words;
`tests/e2e/test_lazy.py` has the real ones.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from typing import Any, Self

import pytest
from tritonclient.utils import InferenceServerException

from pilotlight.client import AsyncClient, Client, NotFound, TimedOut, Unreachable
from pilotlight.client.lazy import NotLoaded, on_demand
from tests.unit.pilotlight.client.wires import Wire, wire_to
from tests.unit.sidecar.rig import Rig
from tests.unit.sidecar.test_api_served import Served

NOBODY = "http://127.0.0.1:9"
HERD = 8


class BlockingTriton:
    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.asked: list[dict[str, Any]] = []
        self.is_closed = False

    def infer(self, model_name: str, inputs: object, **named: Any) -> str:
        self.asked.append(named)
        return answer(self.rig, model_name)

    def get_model_metadata(self, model_name: str) -> str:
        return answer(self.rig, model_name)

    def get_model_config(self, model_name: str) -> str:
        return answer(self.rig, model_name)

    def is_server_live(self) -> bool:
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closed = True


class AwaitedTriton:
    def __init__(self, rig: Rig) -> None:
        self.blocking = BlockingTriton(rig)

    async def infer(self, model_name: str, inputs: object, **named: Any) -> str:
        return self.blocking.infer(model_name, inputs, **named)

    async def get_model_metadata(self, model_name: str) -> str:
        return self.blocking.get_model_metadata(model_name)

    async def get_model_config(self, model_name: str) -> str:
        return self.blocking.get_model_config(model_name)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.blocking.is_closed = True


def answer(rig: Rig, model: str) -> str:
    """In Triton's own words."""
    if model == "broken":
        raise InferenceServerException("Stub process 'o_0_0' is not healthy.", "500")
    if not rig.serving.ready(model):
        text = f"Request for unknown model: '{model}' has no available versions"
        raise InferenceServerException(text, "StatusCode.NOT_FOUND")
    return f"{model} answers"


class Awaited:
    """A client of Triton that awaits, or one that blocks, each call in a thread of its own."""

    def __init__(self, triton: Any, threads: ThreadPoolExecutor | None) -> None:
        self.triton = triton
        self._threads = threads

    async def infer(self, model: str, **named: Any) -> str:
        return await self.call("infer", model, "x", **named)

    async def call(self, method: str, *arguments: str, **named: Any) -> str:
        found = getattr(self.triton, method)
        if self._threads is None:
            result: str = await found(*arguments, **named)
            return result
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: found(*arguments, **named))


@pytest.fixture
async def wire(at_rest: Served) -> AsyncIterator[Wire]:
    """Between the program and the sidecar."""
    async with wire_to(at_rest.url) as wire:
        yield wire


@pytest.fixture(params=["blocking", "awaited"])
async def lazily(request: pytest.FixtureRequest, at_rest: Served) -> AsyncIterator[Any]:
    """`lazily(url)` is a client of Triton that loads by the sidecar at that address."""
    async with AsyncExitStack() as cleanup:
        threads = cleanup.enter_context(ThreadPoolExecutor(HERD))

        def awaited(url: str, **how: Any) -> Awaited:
            client = AsyncClient(url)
            cleanup.push_async_callback(client.close)
            return Awaited(on_demand(AwaitedTriton(at_rest.rig), client, **how), None)

        def blocking(url: str, **how: Any) -> Awaited:
            client = cleanup.enter_context(Client(url))
            return Awaited(on_demand(BlockingTriton(at_rest.rig), client, **how), threads)

        yield awaited if request.param == "awaited" else blocking


async def test_what_is_loaded_is_answered_without_the_sidecar(lazily: Any) -> None:
    assert await lazily(NOBODY).infer("m") == "m answers"


async def test_what_is_not_loaded_is_loaded_and_asked_again(lazily: Any, wire: Wire) -> None:
    triton = lazily(wire.url)
    assert await triton.infer("c") == "c answers"
    assert await triton.infer("c") == "c answers"
    (request,) = wire.requests
    assert request.startswith("POST /v1/models/c:ensure?timeout=")


@pytest.mark.parametrize("method", ["get_model_metadata", "get_model_config"])
async def test_what_a_model_is_like_can_be_asked_too(
    lazily: Any, at_rest: Served, method: str
) -> None:
    assert await lazily(at_rest.url).call(method, "c") == "c answers"


async def test_callers_that_wait_for_the_same_model_join(lazily: Any, wire: Wire) -> None:
    triton = lazily(wire.url)
    answers = await asyncio.gather(*(triton.infer("c") for _ in range(HERD)))
    assert answers == ["c answers"] * HERD
    assert len(wire.requests) == 1


async def test_a_model_that_has_left_is_loaded_again(
    lazily: Any, wire: Wire, at_rest: Served
) -> None:
    triton = lazily(wire.url)
    await triton.infer("c")
    async with AsyncClient(at_rest.url) as client:
        await client.operations.wait(await client.models.unload("c"), timeout_s=20)
    assert await triton.infer("c") == "c answers"
    assert len(wire.requests) == 2


async def test_why_it_cannot_be_loaded_is_the_cause(lazily: Any, at_rest: Served) -> None:
    with pytest.raises(NotLoaded, match="did you mean 'm'") as unknown:
        await lazily(at_rest.url).infer("mm")
    assert isinstance(unknown.value, InferenceServerException)
    assert unknown.value.status() == "StatusCode.NOT_FOUND"
    assert isinstance(unknown.value.__cause__, NotFound)

    with pytest.raises(NotLoaded, match="no sidecar at") as away:
        await lazily(NOBODY).infer("c")
    assert isinstance(away.value.__cause__, Unreachable)


async def test_a_call_keeps_its_deadline(lazily: Any, at_rest: Served) -> None:
    at_rest.rig.serving.add_faults("load c: slow 60s")
    triton = lazily(at_rest.url)
    calls = [triton.infer("c", client_timeout=0.3), triton.infer("c", client_timeout=0.2)]
    for late in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(late, NotLoaded)
        assert isinstance(late.__cause__, TimedOut)


async def test_the_second_try_has_what_is_left_of_the_deadline(
    lazily: Any, at_rest: Served
) -> None:
    triton = lazily(at_rest.url, timeout_s=50)
    await triton.infer("c", client_timeout=90)
    inner = triton.triton._triton
    first, second = getattr(inner, "blocking", inner).asked
    assert first["client_timeout"] == 90
    assert 20 < second["client_timeout"] < 50


async def test_other_errors_are_left_alone(lazily: Any) -> None:
    with pytest.raises(InferenceServerException, match="is not healthy") as told:
        await lazily(NOBODY).infer("broken")
    assert not isinstance(told.value, NotLoaded)


async def test_everything_else_is_the_clients_own(at_rest: Served) -> None:
    inner = BlockingTriton(at_rest.rig)
    with Client(NOBODY) as client, on_demand(inner, client) as triton:
        assert triton.is_server_live()
    assert inner.is_closed
    awaited = AwaitedTriton(at_rest.rig)
    async with AsyncClient(NOBODY) as waiting, on_demand(awaited, waiting):
        pass
    assert awaited.blocking.is_closed


async def test_a_client_that_blocks_and_one_that_awaits_do_not_fit(at_rest: Served) -> None:
    with pytest.raises(TypeError, match="BlockingTriton blocks; give it a Client"):
        on_demand(BlockingTriton(at_rest.rig), AsyncClient(NOBODY))
    with pytest.raises(TypeError, match="AwaitedTriton is awaited; give it an AsyncClient"):
        on_demand(AwaitedTriton(at_rest.rig), Client(NOBODY))
