"""The real Envoy as a process on this machine."""

import subprocess
from pathlib import Path

from embedded.errors import BootstrapRefused
from embedded.ports import accepts
from embedded.server import Server, answers_ok

_SHOWN_CHARACTERS = 2000
# Else a misspelt field of a file that Envoy watches is a warning, and the update counts.
_STRICT = "--reject-unknown-dynamic-fields"


class EnvoyServer(Server):
    """One Envoy; `stop` cuts the requests that it has open.

    Args:
        ports: what its listeners bind at 127.0.0.1 or at all addresses.
        admin_port: of `admin` in the bootstrap.
        concurrency: worker threads.
    """

    def __init__(
        self,
        *,
        binary: Path,
        bootstrap: Path,
        log: Path,
        ports: tuple[int, ...],
        admin_port: int,
        concurrency: int,
    ) -> None:
        self.ports = ports
        self.admin_port = admin_port
        super().__init__(
            name="gateway",
            command=[
                *(str(binary), "-c", str(bootstrap), _STRICT),
                "--disable-hot-restart",
                *("--concurrency", str(concurrency)),
                *("--log-level", "warning"),
            ],
            log=log,
            ports=(*ports, admin_port),
        )

    def _is_live(self) -> bool:
        return answers_ok(self.admin_port, "/ready") and all(map(accepts, self.ports))


def validate(binary: Path, bootstrap: Path) -> None:
    """Let Envoy check its bootstrap, without a port; some 50 ms.

    The files that a bootstrap names for xDS must exist, but Envoy reads them only when it runs.

    Raises:
        BootstrapRefused: with Envoy's reason.
    """
    ended = subprocess.run(
        [str(binary), "--mode", "validate", "-c", str(bootstrap), "--log-level", "warning"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        raise BootstrapRefused(
            f"Envoy does not take {bootstrap}:\n{ended.stdout[-_SHOWN_CHARACTERS:].strip()}"
        )
