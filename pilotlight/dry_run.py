"""A real Triton that serves a version before it is published: load, warm up, answer."""

import shutil
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from contract.layout import HEAD, Store, VersionFolder
from contract.manifest import read_manifest
from embedded.diagnosis import likely_cause
from embedded.errors import ServerDidNotStart
from embedded.ports import free_ports
from embedded.process import wait_until
from embedded.provision import Installation
from embedded.triton import TritonServer
from generator.errors import NotServed
from pilotlight.verifying import LiveServer, NoAnswer, Verdict, verify
from sidecar.runtime.lanes import REST_AFTER_LOAD_S

_LIVE_TIMEOUT_S = 60.0
_LOAD_TIMEOUT_S = 600.0
_ANSWER_TIMEOUT_S = 60.0
# A server that crashes prints its stack first; until then its process is there.
_DEATH_TIMEOUT_S = 30.0
_SHOWN_LINES = 10
_LOST = "StatusCode.UNAVAILABLE"
# Of a config that Triton cannot parse, only its log says more.
_UNEXPLAINED = "failed to poll"


class _Differs(Exception):
    """The server answers, but not as the build says."""


class DryRunServer:
    """A `generator.site.DryRun` in `home`, a folder of its own.

    One server for all versions, each alone in it for a moment, an ensemble with its models; started
    anew after one that killed it.
    """

    def __init__(self, installation: Installation, home: Path) -> None:
        self._store = Store(home / "repository")
        http_port, grpc_port, metrics_port = free_ports(3)
        self._server = TritonServer(
            installation=installation,
            name="dry run",
            repository=self._store.root,
            log=home / "triton.log",
            http_port=http_port,
            grpc_port=grpc_port,
            metrics_port=metrics_port,
            completes_configs=False,
        )

    def __enter__(self) -> Self:
        self._store.root.mkdir(parents=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def __call__(self, model: str, version: int, files: VersionFolder, published: Store) -> None:
        """Raises NotServed: it does not load, warm up, or answer as the build says."""
        composing = read_manifest(files.manifest).composing
        place(self._store, model, version, files)
        for name, number in composing.items():
            place(self._store, name, number, published.version(name, number))
        try:
            self._serve(model, version)
        except (InferenceServerException, NoAnswer, ServerDidNotStart, _Differs) as error:
            what = self._what_happened(error)
            # A server that failed at a warm-up may die of it yet, beside the next version.
            self._stop()
            raise NotServed(f"{model} version {version} in a dry run on Triton: {what}") from error
        finally:
            for name in (model, *composing):
                shutil.rmtree(self._store.model(name))

    def _serve(self, model: str, version: int) -> None:
        self._server.start()
        self._server.wait_live(_LIVE_TIMEOUT_S)
        address = self._server.grpc_address
        client = InferenceServerClient(address)
        client.load_model(model, client_timeout=_LOAD_TIMEOUT_S)
        live = LiveServer(address, timeout_s=_ANSWER_TIMEOUT_S)
        found = verify(self._store, model, version, live)
        if found.verdict is not Verdict.PASSED:
            reasons = (found.note, *(output.reason for output in found.outputs))
            raise _Differs("; ".join(filter(None, reasons)))
        # Its answers have taken less, if they were quick.
        time.sleep(REST_AFTER_LOAD_S)
        client.unload_model(model, unload_dependents=True, client_timeout=_ANSWER_TIMEOUT_S)

    def _what_happened(self, error: Exception) -> str:
        said = str(error)
        is_lost = isinstance(error, NoAnswer)
        if isinstance(error, InferenceServerException):
            said, is_lost = error.message(), error.status() == _LOST
        if is_lost and wait_until(lambda: not self._server.is_running, _DEATH_TIMEOUT_S):
            cause = likely_cause(self._server.log.read_text(errors="replace"))
            said = cause or f"tritonserver ended with {self._server.returncode}"
        elif _UNEXPLAINED not in said:
            return said
        lines = self._server.log.read_text(errors="replace").splitlines()[-_SHOWN_LINES:]
        return "\n  ".join([f"{said}. The last lines of its log:", *lines])

    def _stop(self) -> None:
        # Nobody waits for an answer, and an orderly end takes seconds.
        self._server.kill()
        self._server.stop()
        # What the next one does not start from need not be told of it.
        self._server.log.unlink(missing_ok=True)


def place(store: Store, model: str, version: int, files: VersionFolder) -> None:
    """Make a version the only one of a model in a store, by links."""
    folder = store.model(model)
    folder.mkdir(parents=True)
    (folder / str(version)).symlink_to(files.path.absolute())
    for name in HEAD:
        if (files.path / name).exists():
            (folder / name).symlink_to(Path(str(version), name))
