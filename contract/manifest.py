"""What the generator measured about one version; written once, never changed.

The parts of a manifest that a sidecar keeps of thousands of versions are dataclasses: a pydantic
model takes five times their memory.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PositiveInt, ValidationError
from pydantic.dataclasses import dataclass

from contract.dtypes import Datatype
from contract.errors import InvalidArtifact
from contract.files import reading
from contract.layout import MANIFEST
from contract.strict import explain

_CHUNK_BYTES = 1 << 20


_STRICT = ConfigDict(extra="forbid")

Reference = Literal["float64", "tolerance", "golden", "itself"]
"""Where answers and limits of a verification come from: PyTorch's with the noise between its
float32 and float64, PyTorch's with the recipe's `tolerance`, the recipe's golden data, or only the
file's own answers without optimization."""


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class TensorSpec:
    """One input or output; `shape` is without the batch dimension, -1 where it varies."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"{self.name} {self.datatype}{list(self.shape)}"


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Signature:
    """What a client must know to call the model. `max_batch_size` 0: no batch dimension."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    max_batch_size: int

    def difference(self, other: "Signature") -> list[str]:
        """What a client of `self` would notice when served by `other`; empty when nothing."""
        found = []
        if self.max_batch_size != other.max_batch_size:
            found.append(f"max_batch_size {self.max_batch_size} -> {other.max_batch_size}")
        for kind in ("inputs", "outputs"):
            ours: dict[str, TensorSpec] = {spec.name: spec for spec in getattr(self, kind)}
            theirs: dict[str, TensorSpec] = {spec.name: spec for spec in getattr(other, kind)}
            found += [f"{kind[:-1]} {ours[name]} is gone" for name in ours if name not in theirs]
            found += [f"{kind[:-1]} {theirs[name]} is new" for name in theirs if name not in ours]
            found += [
                f"{kind[:-1]} {ours[name]} -> {theirs[name]}"
                for name in ours
                if name in theirs and ours[name] != theirs[name]
            ]
        return found


class FileRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class ShapeCost:
    """Latency of one shape in the probe's process, milliseconds per execution.

    `dims` holds the value of each dynamic dimension by name; `runs_until_steady` is the
    number of executions after which the latency no longer fell.
    """

    batch: int
    dims: dict[str, int]
    first_ms: float
    steady_ms: float
    runs_until_steady: int


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Cost:
    """What it takes to hold and to load one instance.

    `private_bytes` is anonymous memory after load (paid per instance), `shared_bytes` the
    file-backed memory that instances of one process share, `peak_bytes` anonymous memory
    after the largest warm-up shape. `further_private_bytes` is what a second instance in the same
    process added. `load_s` is with the files in the page cache, `load_cold_s` without. None: not
    measured.
    """

    disk_bytes: int
    private_bytes: int
    shared_bytes: int
    peak_bytes: int
    further_private_bytes: int | None = None
    load_s: float
    load_cold_s: float | None = None
    shapes: tuple[ShapeCost, ...]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class WarmupPlan:
    """How long the warm-up of one instance takes, seconds; None where it could not be measured.

    `dropped` are shapes that were left out for the sake of `budget_s`.
    """

    budget_s: float
    seconds: float | None
    dropped: tuple[ShapeCost, ...] = ()

    @property
    def note(self) -> str | None:
        """What whoever builds or looks should know of it."""
        if not self.dropped:
            return None
        return (
            f"shapes that its warm-up leaves out for warmup_budget_s: {self.budget_s:g}: "
            f"{len(self.dropped)}; give it more, or narrower dims"
        )


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class OutputEvidence:
    """How far an output was off, at most, from what was expected.

    `same_top` of a classifier is the share of rows that had the expected classes among the `top_k`
    largest; both are None for other outputs.
    """

    scaled_error: float
    limit: float
    top_k: int | None = None
    same_top: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Verification:
    """What the files were held against, at how many shapes, before they were published."""

    reference: Reference
    cases: int
    outputs: dict[str, OutputEvidence]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Proof:
    """The golden samples asked in the release's own ONNX Runtime; `load_s` there."""

    onnxruntime: str
    load_s: float
    samples: int
    outputs: dict[str, OutputEvidence]


@dataclass(frozen=True, slots=True, kw_only=True, config=_STRICT)
class Excerpt:
    """What a sidecar keeps of each of thousands of versions; it reads the rest when it needs it.

    `cost` is without shapes. `composing` is None unless the version is of an ensemble.
    """

    cost: Cost
    composing: dict[str, int] | None = None


class Manifest(BaseModel):
    """Everything known about a version.

    `files` maps paths relative to the version folder to hashes; it lists every file of the
    version but the manifest itself. `serving_sha256` covers what Triton sees of the version
    besides its weights (config and warm-up data): two versions with the same value can be
    exchanged in place. `tolerances` are limits of the scaled error per output
    (`contract.compare`). `sources` maps the model's own source files to their hashes. `composing`
    holds the models of an ensemble with the versions that its golden samples were made with.
    An ensemble has no `verification` of its own; a `proof` is made on request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    model: str
    version: PositiveInt
    fingerprint: str
    built_at: AwareDatetime
    triton: str
    target: Literal["cpu", "gpu", "auto"]
    tools: dict[str, str]
    sources: dict[str, str]
    files: dict[str, FileRecord]
    signature: Signature
    serving_sha256: str
    tolerances: dict[str, float]
    cost: Cost
    warmup: WarmupPlan | None = None
    verification: Verification | None = None
    proof: Proof | None = None
    composing: dict[str, PositiveInt] = Field(default_factory=dict)

    @property
    def excerpt(self) -> Excerpt:
        return Excerpt(cost=replace(self.cost, shapes=()), composing=self.composing or None)


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Hash every file below `folder` except the manifest."""
    return {
        path.relative_to(folder).as_posix(): FileRecord(
            sha256=sha256_of(path), bytes=path.stat().st_size
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.

    Raises:
        InvalidArtifact: missing or of another schema.
        ArtifactUnreadable: the system does not let it be read now.
    """
    with reading(f"manifest {path}"):
        text = path.read_bytes()
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise InvalidArtifact(
            f"manifest {path} cannot be read: {explain(error, Manifest)}; build the version again "
            "with `make repo`"
        ) from error


def damaged_files(manifest: Manifest, folder: Path) -> list[str]:
    """Files of a version that are missing or differ from what the manifest recorded.

    Raises:
        ArtifactUnreadable: the system does not let one be read now.
    """
    found = []
    for name, record in manifest.files.items():
        with reading(str(folder / name)):
            damage = _damage(folder / name, record)
        if damage:
            found.append(f"{name} {damage}")
    return found


def _damage(path: Path, record: FileRecord) -> str | None:
    if not path.is_file():
        return "is missing"
    if (size := path.stat().st_size) != record.bytes:
        return f"has {size} bytes, the manifest says {record.bytes}"
    if sha256_of(path) != record.sha256:
        return "has another SHA-256 than the manifest says"
    return None
