"""The real tritonserver as a process on this machine."""

import re
import uuid
from pathlib import Path
from typing import Literal

from embedded.provision import Installation
from embedded.server import Server, answers_ok

# The last of the three services to come up.
_STARTED = "Started Metrics Service at"
# Idle keep-alive connections make Triton wait the whole of it.
_EXIT_TIMEOUT_S = 3
# Above the sidecar's limit of concurrent loads: rollbacks queue in the same pool.
_LOAD_THREADS = 16


class TritonServer(Server):
    """One tritonserver with its stubs, its ports bound to 127.0.0.1.

    `stop` lets requests finish; `kill` leaves the stubs, as a crash would, until `start`.

    Without `completes_configs` Triton takes a `config.pbtxt` as it is, which must then say all;
    for a Python-based backend this saves a second stub, and so more than a second, at each load.

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
        completes_configs: bool = True,
        control_mode: Literal["explicit", "poll", "none"] = "explicit",
    ) -> None:
        self.http_port = http_port
        self.grpc_port = grpc_port
        self.metrics_port = metrics_port
        self.repository = repository
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
        if not completes_configs:
            command.append("--disable-auto-complete-config")
        if admin_key is not None:
            command += [
                f"--http-restricted-api=model-repository:admin-key={admin_key}",
                f"--grpc-restricted-protocol=model-repository:admin-key={admin_key}",
            ]
        super().__init__(
            name=name,
            command=command,
            log=log,
            ports=(http_port, grpc_port, metrics_port),
            environment=installation.environment(),
            shared_memory_prefix=shared_memory,
        )

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    def _is_live(self) -> bool:
        return _STARTED in self._own_log() and answers_ok(self.http_port, "/v2/health/live")
