"""Golden samples and warm-up data as files."""

import io
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from contract.errors import InvalidArtifact
from contract.files import reading

Tensors = dict[str, NDArray[np.generic]]

_KEY = re.compile(r"(?:(\d+)/)?(input|output)/(.+)")
_LENGTHS = "lengths/"


@dataclass(frozen=True, slots=True)
class GoldenSample:
    """One request and the answer that PyTorch gave; arrays carry the batch dimension."""

    inputs: Tensors
    outputs: Tensors


def write_golden(path: Path, samples: Sequence[GoldenSample]) -> None:
    """Write samples as one `.npz`; keys are `<index>/input/<name>` and `<index>/output/<name>`.

    BYTES tensors are stored as numpy's fixed-width bytes, so the file loads without pickle. These
    know no zeros at the end of an element: where there are any, the lengths of all elements stand
    under the same key after `lengths/`. The same samples give the same bytes.
    """
    arrays: Tensors = {}
    for index, sample in enumerate(samples):
        for kind, tensors in (("input", sample.inputs), ("output", sample.outputs)):
            for name, array in tensors.items():
                arrays |= _stored(f"{index}/{kind}/{name}", array)
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def read_golden(path: Path) -> list[GoldenSample]:
    """Read samples in the order in which they were written.

    A file with one sample may leave the index out.

    Raises:
        InvalidArtifact: missing, damaged or without a sample.
        ArtifactUnreadable: the system does not let it be read now.
    """
    with reading(f"golden samples {path}"):
        file = io.BytesIO(path.read_bytes())
    samples: dict[int, GoldenSample] = {}
    try:
        arrays = read_arrays(file)
        for key in arrays:
            if key.startswith(_LENGTHS):
                continue
            index, kind, name = _parts(key)
            sample = samples.setdefault(index, GoldenSample({}, {}))
            tensors = sample.inputs if kind == "input" else sample.outputs
            tensors[name] = _restored(key, arrays)
    except ValueError as error:
        raise InvalidArtifact(
            f"golden samples {path} cannot be read: {error}; build the version again"
        ) from error
    if not samples:
        raise InvalidArtifact(f"golden samples {path} hold no sample; build the version again")
    return [samples[index] for index in sorted(samples)]


def read_arrays(file: IO[bytes]) -> Tensors:
    """The arrays of an `.npz`, by key.

    Raises:
        ValueError: it is something else, or damaged.
    """
    try:
        archive = np.load(file, allow_pickle=False)
        if isinstance(archive, NpzFile):
            return {key: archive[key] for key in archive.files}
    # Of damaged bytes zipfile and numpy make anything, down to NotImplementedError.
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error
    raise ValueError("it is one array without a name")


def _stored(key: str, array: NDArray[np.generic]) -> Tensors:
    if array.dtype != np.object_:
        return {key: array}
    plain = array.astype(np.bytes_)
    lengths = np.vectorize(len, otypes=[np.int64])(array)
    if (np.char.str_len(plain) == lengths).all():
        return {key: plain}
    return {key: plain, _LENGTHS + key: lengths}


def _restored(key: str, arrays: Mapping[str, NDArray[np.generic]]) -> NDArray[np.generic]:
    """Raises ValueError when the lengths are of another array."""
    array = arrays[key]
    if array.dtype.kind != "S":
        return array
    words = array.astype(np.object_)
    if (lengths := arrays.get(_LENGTHS + key)) is None:
        return words
    whole = np.frompyfunc(lambda word, length: word.ljust(length, b"\0"), 2, 1)(words, lengths)
    return np.asarray(whole, np.object_)


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
