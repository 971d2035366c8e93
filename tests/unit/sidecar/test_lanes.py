"""Unloads one at a time, and never right after a load: both can kill a real server."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from sidecar.runtime.lanes import REST_AFTER_LOAD_S, Lane
from tests.fakes.virtual_time import START_S, run_virtually

Log = list[tuple[str, float]]


def play(*works: Callable[[Lane, Log], Coroutine[Any, Any, None]]) -> Log:
    """What happened when, in milliseconds."""
    log: Log = []

    async def main() -> None:
        lane = Lane()
        await asyncio.gather(*(work(lane, log) for work in works))

    run_virtually(main())
    return [(what, round((at_s - START_S) * 1000)) for what, at_s in log]


def load(name: str, *, begins_s: float, takes_s: float, drops: bool = False) -> Any:
    async def work(lane: Lane, log: Log) -> None:
        await asyncio.sleep(begins_s)
        async with lane.loading(drops=drops):
            log.append((f"{name} begins", asyncio.get_running_loop().time()))
            await asyncio.sleep(takes_s)
            log.append((f"{name} ends", asyncio.get_running_loop().time()))

    return work


def unload(name: str, *, begins_s: float, takes_s: float) -> Any:
    async def work(lane: Lane, log: Log) -> None:
        await asyncio.sleep(begins_s)
        async with lane.unloading():
            log.append((f"{name} begins", asyncio.get_running_loop().time()))
            await asyncio.sleep(takes_s)
            log.append((f"{name} ends", asyncio.get_running_loop().time()))

    return work


def test_loads_run_beside_each_other() -> None:
    log = play(load("a", begins_s=0, takes_s=1), load("b", begins_s=0, takes_s=2))

    assert log == [("a begins", 0), ("b begins", 0), ("a ends", 1000), ("b ends", 2000)]


def test_unloads_run_one_after_the_other() -> None:
    log = play(unload("a", begins_s=0, takes_s=1), unload("b", begins_s=0, takes_s=1))

    assert log == [("a begins", 0), ("a ends", 1000), ("b begins", 1000), ("b ends", 2000)]


def test_an_unload_rests_after_a_load() -> None:
    log = play(load("a", begins_s=0, takes_s=1), unload("b", begins_s=1.01, takes_s=0))

    rest_ms = REST_AFTER_LOAD_S * 1000
    assert log == [("a begins", 0), ("a ends", 1000)] + [
        (f"b {what}", 1000 + rest_ms) for what in ("begins", "ends")
    ]


def test_the_rest_begins_anew_when_another_load_ends_meanwhile() -> None:
    log = play(
        load("a", begins_s=0, takes_s=1),
        load("b", begins_s=0, takes_s=1.03),
        unload("c", begins_s=1.01, takes_s=0),
    )

    assert log[-2:] == [("c begins", 1080), ("c ends", 1080)]


def test_a_load_that_drops_a_version_is_an_unload_too() -> None:
    log = play(
        load("a", begins_s=0, takes_s=1),
        load("b", begins_s=1.01, takes_s=1, drops=True),
        unload("c", begins_s=1.02, takes_s=0),
    )

    assert log[2:] == [("b begins", 1050), ("b ends", 2050), ("c begins", 2100), ("c ends", 2100)]


def test_a_load_that_fails_counts_as_one_that_ended() -> None:
    """The server may have made the model and thrown it away again."""

    async def fail(lane: Lane, _log: Log) -> None:
        with pytest.raises(ConnectionError):
            async with lane.loading(drops=False):
                raise ConnectionError

    log = play(fail, unload("b", begins_s=0.01, takes_s=0))

    assert log == [("b begins", 50), ("b ends", 50)]
