"""Keep processes alive."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from embedded.errors import EmbeddedError

_POLL_S = 0.1
_FIRST_DELAY_S = 0.2
_LONGEST_DELAY_S = 5.0
# Who lived this long did not die of its start.
_STEADY_S = 30.0


class Supervised(Protocol):
    """What can be kept alive: a `Process`, a `TritonServer`."""

    name: str

    @property
    def is_running(self) -> bool: ...

    def start(self) -> None: ...

    def stop(self, timeout_s: float = ...) -> None: ...


@dataclass(slots=True)
class _Watched:
    process: Supervised
    started_at: float
    delay_s: float = _FIRST_DELAY_S
    restart_at: float | None = None


class Supervisor:
    """Starts processes in order, restarts those that end on their own, stops them in reverse.

    The pause before a restart doubles from 0.2 s to 5 s and begins anew for a process that
    lived 30 s. `on_event` gets one line per event, in the supervisor's thread.
    """

    def __init__(self, processes: Sequence[Supervised], on_event: Callable[[str], None]) -> None:
        self._processes = tuple(processes)
        self._on_event = on_event
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._watched: list[_Watched] = []

    def start(self) -> None:
        """Start all; once in a supervisor's life. What started is stopped again if one fails."""
        try:
            for process in self._processes:
                process.start()
                self._watched.append(_Watched(process, time.monotonic()))
                self._on_event(f"{process.name} started")
        except BaseException:
            self._stop_all(timeout_s=0.0)
            raise
        self._thread.start()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Stop all, the last started first; each gets `timeout_s` before it is killed."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._stop_all(timeout_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _stop_all(self, timeout_s: float) -> None:
        while self._watched:
            process = self._watched.pop().process
            process.stop(timeout_s)
            self._on_event(f"{process.name} stopped")

    def _watch(self) -> None:
        while not self._stopping.wait(_POLL_S):
            for watched in self._watched:
                self._look_after(watched, time.monotonic())

    def _look_after(self, watched: _Watched, now: float) -> None:
        if watched.restart_at is None:
            if not watched.process.is_running:
                self._schedule(watched, now)
        elif now >= watched.restart_at:
            watched.started_at, watched.restart_at = now, None
            try:
                watched.process.start()
            except (EmbeddedError, OSError) as error:
                self._on_event(f"{watched.process.name} could not be started: {error}")
                self._schedule(watched, now)
            else:
                self._on_event(f"{watched.process.name} started again")

    def _schedule(self, watched: _Watched, now: float) -> None:
        lived_s = now - watched.started_at
        if lived_s >= _STEADY_S:
            watched.delay_s = _FIRST_DELAY_S
        self._on_event(
            f"{watched.process.name} ended after {lived_s:.1f} s; "
            f"starting it again in {watched.delay_s:g} s"
        )
        watched.restart_at = now + watched.delay_s
        watched.delay_s = min(2 * watched.delay_s, _LONGEST_DELAY_S)
