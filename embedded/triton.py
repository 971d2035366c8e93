"""The real tritonserver as a process on this machine."""

import http.client
import re
import time
import uuid
from pathlib import Path
from typing import Literal

from embedded.diagnosis import likely_cause
from embedded.errors import ServerDidNotStart
from embedded.ports import taken_ports
from embedded.process import Process
from embedded.provision import Installation

_POLL_S = 0.05
_SHOWN_LINES = 15
# The last of the three services to come up.
_STARTED = "Started Metrics Service at"
# Idle keep-alive connections make Triton wait the whole of it.
_EXIT_TIMEOUT_S = 3
# Above the sidecar's limit of concurrent loads: rollbacks queue in the same pool.
_LOAD_THREADS = 16


class TritonServer:
    """One tritonserver in a process group of its own, its ports bound to 127.0.0.1.

    With `admin_key`, loading, unloading and the index need the header
    `triton-grpc-protocol-admin-key` (gRPC) or `admin-key` (HTTP).
    """

    def __init__(
        self,
        *,
        installation: Installation,
        name: str,
        repository: Path,
        log: Path,
        http_port: int,
        grpc_port: int,
        metrics_port: int,
        admin_key: str | None = None,
        control_mode: Literal["explicit", "poll", "none"] = "explicit",
    ) -> None:
        self.name = name
        self.http_port = http_port
        self.grpc_port = grpc_port
        self.metrics_port = metrics_port
        self.repository = repository
        self.log = log
        shared_memory = f"{re.sub(r'[^A-Za-z0-9]', '-', name)}-{uuid.uuid4().hex[:12]}-"
        command = [
            str(installation.tritonserver),
            f"--model-repository={repository}",
            f"--model-control-mode={control_mode}",
            f"--backend-directory={installation.backend_directory}",
            f"--backend-config=python,shm-region-prefix-name={shared_memory}",
            "--strict-readiness=false",
            f"--model-load-thread-count={_LOAD_THREADS}",
            f"--exit-timeout-secs={_EXIT_TIMEOUT_S}",
            "--http-address=127.0.0.1",
            f"--http-port={http_port}",
            "--grpc-address=127.0.0.1",
            f"--grpc-port={grpc_port}",
            "--metrics-address=127.0.0.1",
            f"--metrics-port={metrics_port}",
        ]
        if admin_key is not None:
            command += [
                f"--http-restricted-api=model-repository:admin-key={admin_key}",
                f"--grpc-restricted-protocol=model-repository:admin-key={admin_key}",
            ]
        self._process = Process(
            name=name,
            command=command,
            log=log,
            environment=installation.environment(),
            shared_memory_prefix=shared_memory,
        )
        self._log_start = 0

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.is_running

    def start(self) -> None:
        """Start unless it runs; what a crash left behind is cleared first.

        Raises:
            ServerDidNotStart: another process listens at one of its ports.
        """
        if self.is_running:
            return
        # Stubs that outlive their server still hold its sockets.
        self._process.stop()
        # Triton says that it started before it finds out, and then another server answers.
        if taken := taken_ports((self.http_port, self.grpc_port, self.metrics_port)):
            raise ServerDidNotStart(
                f"{self.name} did not start: port {', '.join(map(str, taken))} of 127.0.0.1 is "
                "taken by another process; choose another port or stop what listens there"
            )
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process.start()

    def wait_live(self, timeout_s: float) -> None:
        """Return when the server answers on all its ports.

        Raises:
            ServerDidNotStart: it ended, or the time is up.
        """
        deadline = time.monotonic() + timeout_s
        while _STARTED not in self._own_log() or not self._answers():
            if not self.is_running:
                raise self._did_not_start(f"ended with {self._process.returncode}")
            if time.monotonic() > deadline:
                raise self._did_not_start(f"did not answer within {timeout_s:g} s")
            time.sleep(_POLL_S)

    def stop(self, timeout_s: float = 10.0) -> None:
        """Let requests finish, then end it with its stubs and shared memory."""
        self._process.stop(timeout_s)

    def kill(self) -> None:
        """SIGKILL to tritonserver alone, as a crash would; its stubs stay until `start`."""
        self._process.kill()

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=1.0)
        try:
            connection.request("GET", "/v2/health/live")
            return connection.getresponse().status == http.HTTPStatus.OK
        except OSError:
            return False
        finally:
            connection.close()

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
            f"{self.name} (HTTP {self.http_port}, gRPC {self.grpc_port}, metrics "
            f"{self.metrics_port}) {how}: {cause}. Last lines of {self.log}:\n  {lines}"
        )
