"""What files of weights take in memory, found out without PyTorch."""

import json
import struct
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_HALVES = {"BF16", "F16"}
# What safetensors itself reads at most.
_LONGEST_HEADER = 100_000_000
# Of `torch.save`, and of `torch.export.save` (`ScalarType` in `torch._export.serde.schema`).
_HALF_STORAGES = (b"BFloat16Storage", b"HalfStorage")
_HALF_SCALARS = {6, 13}
_PICKLE, _PROGRAM_WEIGHTS = "/data.pkl", "/data/weights/model_weights_config.json"


def loaded_bytes(path: Path) -> int:
    """Half precision counts twice: modules are built in float32, whatever their weights are in.

    Where a saved state dict or program has some of it, all of the file counts twice. What is no
    file of weights, or a damaged one, counts as it is.
    """
    size = path.stat().st_size
    with suppress(OSError, ValueError, KeyError, TypeError, struct.error, zipfile.BadZipFile):
        if path.suffix == ".safetensors":
            return size + sum(_halves_in_safetensors(path))
        if zipfile.is_zipfile(path) and _has_halves(path):
            return 2 * size
    return size


def _halves_in_safetensors(path: Path) -> Iterator[int]:
    """Bytes of each tensor in half precision, as the JSON before the tensors tells."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        tensors = dict(json.loads(file.read(min(length, _LONGEST_HEADER))))
    for name, tensor in tensors.items():
        if name != "__metadata__" and tensor["dtype"] in _HALVES:
            begin, end = tensor["data_offsets"]
            yield end - begin


def _has_halves(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(_PICKLE) and any(
                each in archive.read(name) for each in _HALF_STORAGES
            ):
                return True
            if name.endswith(_PROGRAM_WEIGHTS):
                weights = json.loads(archive.read(name))["config"].values()
                return any(each["tensor_meta"]["dtype"] in _HALF_SCALARS for each in weights)
    return False
