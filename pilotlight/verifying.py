"""A store's golden samples, asked of a live server."""

import math
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from contract.config import parse_config, read_config
from contract.errors import ContractError
from contract.evidence import Finding, examine, worst
from contract.layout import Store, VersionFolder
from contract.manifest import Manifest, read_manifest
from contract.requests import golden_requests, infer_arguments, outputs_of
from contract.samples import Tensors, read_golden

_LOST = ("StatusCode.UNAVAILABLE", "StatusCode.DEADLINE_EXCEEDED")
_NOT_FOUND = "StatusCode.NOT_FOUND"
# Of a version that is loading or unloading, Triton says so as if it were away itself.
_NOT_READY = "is not at ready state"


class NoAnswer(Exception):
    """The server is not there, or takes too long."""


class Verdict(StrEnum):
    """`NOT_LOADED`: the server does not serve this version. `UNKNOWN`: nor has it the model."""

    PASSED = "passed"
    DIFFERS = "differs"
    FAILED = "failed"
    NOT_LOADED = "not loaded"
    UNKNOWN = "unknown"

    @property
    def was_asked(self) -> bool:
        return self in (Verdict.PASSED, Verdict.DIFFERS, Verdict.FAILED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFinding:
    """`samples` were asked; `outputs` are the worst of them. `note` says why there are none."""

    model: str
    version: int
    verdict: Verdict
    samples: int = 0
    outputs: tuple[Finding, ...] = ()
    note: str | None = None

    def body(self) -> dict[str, Any]:
        """For JSON, which knows no infinity: an error that is no number is null."""
        return asdict(self) | {"outputs": [_body(found) for found in self.outputs]}


class LiveServer:
    """A Triton, or whatever speaks its protocol, at `address` (`host:port` of gRPC)."""

    def __init__(self, address: str, *, timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._client = InferenceServerClient(address)

    def infer(self, model: str, version: int, inputs: Tensors) -> Tensors:
        """Raises InferenceServerException for what the server says, NoAnswer where it is silent."""
        asked = infer_arguments(model, version, inputs)
        try:
            result = self._client.infer(**asked, client_timeout=self._timeout_s)
        except InferenceServerException as error:
            if error.status() in _LOST and _NOT_READY not in str(error.message()):
                raise NoAnswer(f"no answer from {self._address}: {error.message()}") from error
            raise
        return outputs_of(result)

    def knows(self, model: str) -> bool:
        """Whether the model is in its repository, loaded or not."""
        index = self._client.get_model_repository_index(client_timeout=self._timeout_s)
        return any(entry.name == model for entry in index.models)


def verify(store: Store, model: str, version: int, server: LiveServer) -> ModelFinding:
    """Ask every golden sample of a version and compare as the build did.

    Raises:
        NoAnswer: the server is not there, or takes too long.
    """
    files = store.version(model, version)
    try:
        return _verify(read_manifest(files.manifest), files, server)
    except ContractError as error:
        verdict, note = Verdict.FAILED, str(error)
    except InferenceServerException as error:
        verdict, note = _of_server(error, model, server), str(error.message())
    return ModelFinding(model=model, version=version, verdict=verdict, note=note)


def _verify(manifest: Manifest, files: VersionFolder, server: LiveServer) -> ModelFinding:
    model, version = manifest.model, manifest.version
    config = parse_config(read_config(files.config), str(files.config))
    samples = golden_requests(config, read_golden(files.golden))
    found: list[Finding] = []
    for sample in samples:
        got = server.infer(model, version, sample.inputs)
        limits = manifest.tolerances
        found += examine(got, sample.outputs, limits=limits, top_k=_top_k(manifest))
    outputs = tuple(worst(found).values())
    return ModelFinding(
        model=model,
        version=version,
        verdict=Verdict.DIFFERS if any(each.reason for each in outputs) else Verdict.PASSED,
        samples=len(samples),
        outputs=outputs,
    )


def _top_k(manifest: Manifest) -> dict[str, int]:
    verified = manifest.verification.outputs if manifest.verification else {}
    return {name: each.top_k for name, each in verified.items() if each.top_k}


def _body(found: Finding) -> dict[str, Any]:
    body = {"output": found.output, **asdict(found.evidence), "reason": found.reason}
    return body if math.isfinite(found.evidence.scaled_error) else body | {"scaled_error": None}


def _of_server(error: InferenceServerException, model: str, server: LiveServer) -> Verdict:
    if _NOT_READY in str(error.message()):
        return Verdict.NOT_LOADED
    if error.status() != _NOT_FOUND:
        return Verdict.FAILED
    try:
        return Verdict.NOT_LOADED if server.knows(model) else Verdict.UNKNOWN
    # Whoever may ask a model need not be let into the index.
    except InferenceServerException:
        return Verdict.NOT_LOADED
