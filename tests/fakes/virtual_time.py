"""Time that stands still while anything can run, and jumps when everything waits.

An hour of a sidecar's life then takes milliseconds and is the same in every run: work that
would go to a thread runs at once, and the runtime's clock is the loop's.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

T = TypeVar("T")
# Small enough for a nanosecond, the loop's resolution, to make a difference.
START_S = 1_000_000.0
_CLOCKED = (
    "activate",
    "board",
    "check",
    "collect",
    "drain",
    "drive",
    "execute",
    "gateway_gauges",
    "gauges",
    "hold",
    "lanes",
    "learn",
    "loop",
    "mode",
    "releases",
    "requests",
    "route",
    "telemetry",
    "trains",
    "trials",
    "warm",
)


class _JumpingSelector(selectors.DefaultSelector):
    """Instead of waiting it moves the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = START_S

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everything waits for something that cannot happen any more")
        self.now_s += max(0.0, timeout)
        return super().select(0)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._virtual = _JumpingSelector()
        super().__init__(self._virtual)
        self.clock_error_s = 0.0

    def time(self) -> float:
        return self._virtual.now_s


class _Clock:
    """What the runtime takes for the module `time`."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        self._loop = loop

    def time(self) -> float:
        return self._loop.time() + self._loop.clock_error_s

    def monotonic(self) -> float:
        return self._loop.time()

    def thread_time(self) -> float:
        """Computing takes no time here."""
        return 0.0


def set_clock(by_s: float) -> None:
    """Move the wall clock on, or back if negative; what only measures intervals goes on."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.clock_error_s += by_s


async def _at_once(work: Callable[..., T], /, *args: Any, **named: Any) -> T:
    return work(*args, **named)


def run_virtually(main: Coroutine[Any, Any, T], *, limit_s: float = 86_400.0) -> T:
    """Run `main` in virtual time; it must end within `limit_s` of it."""
    with pytest.MonkeyPatch.context() as patch, asyncio.Runner(loop_factory=VirtualTimeLoop) as run:
        loop = run.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        clock = _Clock(loop)
        for module in _CLOCKED:
            patch.setattr(f"sidecar.runtime.{module}.time", clock)
        patch.setattr(asyncio, "to_thread", _at_once)
        return run.run(asyncio.wait_for(main, limit_s))
