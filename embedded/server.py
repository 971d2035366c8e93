"""A process that serves: its ports are free before it starts, its log says why it did not."""

import http.client
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from embedded.diagnosis import likely_cause
from embedded.errors import ServerDidNotStart
from embedded.ports import taken_ports
from embedded.process import Process

_POLL_S = 0.05
_SHOWN_LINES = 15


class Server(Process, ABC):
    """A process with ports of 127.0.0.1 to itself."""

    def __init__(
        self,
        *,
        name: str,
        command: Sequence[str],
        log: Path,
        ports: Sequence[int],
        environment: Mapping[str, str] | None = None,
        shared_memory_prefix: str = "",
    ) -> None:
        super().__init__(
            name=name,
            command=command,
            log=log,
            environment=environment,
            shared_memory_prefix=shared_memory_prefix,
        )
        self._ports = tuple(ports)
        self._log_start = 0

    def start(self) -> None:
        """Start unless it runs; what a crash left behind is cleared first.

        Raises:
            ServerDidNotStart: another process listens at one of its ports.
        """
        if self.is_running:
            return
        # Children that outlive their server still hold its sockets.
        self._clear()
        # Triton says that it started before it finds out, and Envoy shares the port with
        # another Envoy: in both cases somebody else answers.
        if taken := taken_ports(self._ports):
            raise ServerDidNotStart(
                f"{self.name} did not start: port {_listed(taken)} of 127.0.0.1 is "
                "taken by another process; choose another port or stop what listens there"
            )
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        super().start()

    def wait_live(self, timeout_s: float) -> None:
        """Return when the server answers on all its ports.

        Raises:
            ServerDidNotStart: it ended, or the time is up.
        """
        deadline = time.monotonic() + timeout_s
        while not self._is_live():
            if not self.is_running:
                raise self._did_not_start(f"ended with {self.returncode}")
            if time.monotonic() > deadline:
                raise self._did_not_start(f"did not answer within {timeout_s:g} s")
            time.sleep(_POLL_S)

    @abstractmethod
    def _is_live(self) -> bool: ...

    def _own_log(self) -> str:
        """What the log holds since the last start."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")

    def _did_not_start(self, how: str) -> ServerDidNotStart:
        text = self._own_log()
        cause = likely_cause(text) or "no cause that we know is in the log"
        lines = "\n  ".join(text.splitlines()[-_SHOWN_LINES:])
        return ServerDidNotStart(
            f"{self.name} (port {_listed(self._ports)}) {how}: {cause}. "
            f"Last lines of {self.log}:\n  {lines}"
        )


def answers_ok(port: int, path: str) -> bool:
    """Whether a GET at 127.0.0.1 is answered with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _listed(ports: Sequence[int]) -> str:
    return ", ".join(map(str, ports))
