"""Golden samples and warm-up data as files."""

import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from contract.errors import InvalidArtifact

Tensors = dict[str, NDArray[np.generic]]

_KEY = re.compile(r"(?:(\d+)/)?(input|output)/(.+)")


@dataclass(frozen=True, slots=True)
class GoldenSample:
    """One request and the answer that PyTorch gave; arrays carry the batch dimension."""

    inputs: Tensors
    outputs: Tensors


def write_golden(path: Path, samples: Sequence[GoldenSample]) -> None:
    """Write samples as one `.npz`; keys are `<index>/input/<name>` and `<index>/output/<name>`.

    BYTES tensors are stored as numpy's fixed-width bytes, so the file loads without pickle.
    The same samples give the same bytes.
    """
    arrays = {}
    for index, sample in enumerate(samples):
        for kind, tensors in (("input", sample.inputs), ("output", sample.outputs)):
            for name, array in tensors.items():
                plain = array.astype(np.bytes_) if array.dtype == np.object_ else array
                arrays[f"{index}/{kind}/{name}"] = plain
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_golden(path: Path) -> list[GoldenSample]:
    """Read samples in the order in which they were written.

    A file with one sample may leave the index out.

    Raises:
        InvalidArtifact: missing, unreadable or without a sample.
    """
    samples: dict[int, GoldenSample] = {}
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for key in archive.files:
                index, kind, name = _parts(key)
                sample = samples.setdefault(index, GoldenSample({}, {}))
                tensors = sample.inputs if kind == "input" else sample.outputs
                array = archive[key]
                tensors[name] = array.astype(np.object_) if array.dtype.kind == "S" else array
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise InvalidArtifact(
            f"golden samples {path} cannot be read: {error}; build the version again"
        ) from error
    if not samples:
        raise InvalidArtifact(f"golden samples {path} hold no sample; build the version again")
    return [samples[index] for index in sorted(samples)]


def _parts(key: str) -> tuple[int, str, str]:
    found = _KEY.fullmatch(key)
    if not found:
        raise ValueError(f"{key!r} is no key like 0/input/<name> or output/<name>")
    index, kind, name = found.groups(default="0")
    return int(index), kind, name


def warmup_bytes(array: NDArray[np.generic]) -> bytes:
    """Contents of a warm-up data file: ONE element without batch dimension, row-major.

    BYTES elements are length-prefixed, as Triton expects them.
    """
    if array.dtype.kind in "OS":
        elements: list[bytes] = array.astype(np.object_).ravel().tolist()
        return b"".join(struct.pack("<I", len(element)) + element for element in elements)
    return np.ascontiguousarray(array).tobytes()
