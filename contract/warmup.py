"""Warm-up samples of a config, as the requests that Triton makes of them."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import deserialize_bytes_tensor

from contract.config import ModelConfig
from contract.dtypes import Datatype
from contract.errors import InvalidArtifact
from contract.samples import Tensors


def warmup_requests(config: ModelConfig, folder: Path) -> list[Tensors]:
    """One request per `model_warmup` sample; `folder` holds its data files.

    A data file holds one element; it is repeated `batch_size` times along a new first
    dimension where the model batches.

    Raises:
        InvalidArtifact: a sample is not made of data files, or a file has another size than
            its datatype and dims need.
    """
    return [
        {
            name: _batched(config, sample, _element(name, tensor, folder))
            for name, tensor in sample.inputs.items()
        }
        for sample in config.model_warmup
    ]


def _batched(config: ModelConfig, sample: Any, element: NDArray[np.generic]) -> NDArray[np.generic]:
    if config.max_batch_size == 0:
        return element
    return np.repeat(element[np.newaxis], max(1, sample.batch_size), axis=0)


def _element(name: str, tensor: Any, folder: Path) -> NDArray[np.generic]:
    if not tensor.input_data_file:
        raise InvalidArtifact(f"warm-up input {name} has no input_data_file; build it again")
    path = folder / tensor.input_data_file
    datatype = datatype_from_config(tensor.data_type)
    try:
        raw = path.read_bytes()
        if datatype is Datatype.BYTES:
            flat = deserialize_bytes_tensor(raw)
        else:
            flat = np.frombuffer(raw, dtype=datatype.numpy)
        return np.asarray(flat).reshape(tuple(tensor.dims))
    except (OSError, ValueError) as error:
        raise InvalidArtifact(
            f"warm-up data {path} does not fit {datatype}{list(tensor.dims)}: {error}; "
            "build the version again"
        ) from error


def datatype_from_config(number: int) -> Datatype:
    """The datatype behind `data_type` of a parsed config."""
    name = model_config_pb2.DataType.Name(number).removeprefix("TYPE_")
    return Datatype.BYTES if name == "STRING" else Datatype(name)
