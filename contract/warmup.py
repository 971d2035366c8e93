"""Warm-up samples of a config, as the requests that Triton makes of them."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import deserialize_bytes_tensor

from contract.config import ModelConfig, tensors_of_batcher
from contract.dtypes import Datatype
from contract.errors import InvalidArtifact
from contract.files import reading
from contract.samples import Tensors


def warmup_requests(config: ModelConfig, folder: Path) -> list[Tensors]:
    """One request per `model_warmup` sample; `folder` holds its data files.

    A data file holds one element; it is repeated `batch_size` times along a new first
    dimension where the model batches. Left out is what Triton takes from no client of a model that
    keeps state: what the sequence batcher writes, and batches of more than one.

    Raises:
        InvalidArtifact: a sample is not made of data files, or a file is missing or has another
            size than its datatype and dims need.
        ArtifactUnreadable: the system does not let a file be read now.
    """
    hidden = tensors_of_batcher(config)
    is_stateful = config.HasField("sequence_batching")
    return [
        {
            name: _batched(config, sample, _element(name, tensor, folder))
            for name, tensor in sample.inputs.items()
            if name not in hidden
        }
        for sample in config.model_warmup
        if not (is_stateful and sample.batch_size > 1)
    ]


def read_element(path: Path, datatype: Datatype, dims: Sequence[int]) -> NDArray[np.generic]:
    """The one element that a warm-up data file holds.

    Raises:
        InvalidArtifact: the file is missing, or has another size than datatype and dims need.
        ArtifactUnreadable: the system does not let it be read now.
    """
    with reading(f"warm-up data {path}"):
        raw = path.read_bytes()
    try:
        if datatype is Datatype.BYTES:
            flat = deserialize_bytes_tensor(raw)
        else:
            flat = np.frombuffer(raw, dtype=datatype.numpy)
        return np.asarray(flat).reshape(tuple(dims))
    except (ValueError, struct.error) as error:
        raise InvalidArtifact(
            f"warm-up data {path} does not fit {datatype}{list(dims)}: {error}; "
            "build the version again"
        ) from error


def _batched(config: ModelConfig, sample: Any, element: NDArray[np.generic]) -> NDArray[np.generic]:
    if config.max_batch_size == 0:
        return element
    return np.repeat(element[np.newaxis], max(1, sample.batch_size), axis=0)


def _element(name: str, tensor: Any, folder: Path) -> NDArray[np.generic]:
    if not tensor.input_data_file:
        raise InvalidArtifact(f"warm-up input {name} has no input_data_file; build it again")
    path = folder / tensor.input_data_file
    return read_element(path, datatype_from_config(tensor.data_type), tensor.dims)


def datatype_from_config(number: int) -> Datatype:
    """The datatype behind `data_type` of a parsed config."""
    # Whoever has a message has it imported; who reads a data file need not.
    from tritonclient.grpc import model_config_pb2  # noqa: PLC0415

    name = model_config_pb2.DataType.Name(number).removeprefix("TYPE_")
    return Datatype.BYTES if name == "STRING" else Datatype(name)
