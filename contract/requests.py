"""What clients ask a Triton over gRPC: each request a sequence of its own, begun and ended.

Models that keep state between requests are asked like all others then, and keep nothing of it.
"""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from tritonclient.grpc import InferInput, InferResult, model_config_pb2
from tritonclient.utils import np_to_triton_dtype

from contract.config import ModelConfig, tensors_of_batcher
from contract.errors import InvalidArtifact
from contract.samples import GoldenSample, Tensors

_ID_BITS = 63
_CORRID = model_config_pb2.ModelSequenceBatching.Control.CONTROL_SEQUENCE_CORRID


def infer_arguments(model: str, version: int, inputs: Tensors) -> dict[str, Any]:
    """What `infer` of tritonclient's gRPC clients is to be called with.

    Triton keeps sequences apart by their ids, takes batches of one in them, and makes nothing of
    an id where a model keeps no state. Ours is above those that clients count up.
    """
    requested = []
    for name, array in inputs.items():
        tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        requested.append(tensor)
    return {
        "model_name": model,
        "model_version": str(version),
        "inputs": requested,
        "sequence_id": 1 << _ID_BITS - 1 | secrets.randbits(_ID_BITS - 1),
        "sequence_start": True,
        "sequence_end": True,
    }


def outputs_of(result: InferResult) -> Tensors:
    """All that was answered, by name."""
    return {output.name: result.as_numpy(output.name) for output in result.get_response().outputs}


def golden_requests(config: ModelConfig, samples: Sequence[GoldenSample]) -> list[GoldenSample]:
    """Golden samples as clients ask them.

    Of a model that keeps state these are the rows that are a sequence of their own, each alone:
    flagged as first and last, and without a state from before. What only Triton's sequence batcher
    writes and reads is left out.

    Raises:
        InvalidArtifact: no row is such a sequence.
    """
    if not config.HasField("sequence_batching"):
        return list(samples)
    rows = [row for sample in samples for row in _rows(config, sample)]
    whole = [row for row in rows if _is_whole(config, row)]
    if not whole:
        raise InvalidArtifact(
            f"none of {len(rows)} golden rows of {config.name} is a sequence of its own, with "
            "start, end and ready set and states zero, as which a server could be asked; build the "
            "version again, with such a row if the recipe names golden data"
        )
    hidden = tensors_of_batcher(config)
    return [
        GoldenSample(_without(hidden, row.inputs), _without(hidden, row.outputs)) for row in whole
    ]


def _rows(config: ModelConfig, sample: GoldenSample) -> Iterator[GoldenSample]:
    if config.max_batch_size == 0:
        yield sample
        return
    for row in range(len(next(iter(sample.inputs.values())))):
        yield GoldenSample(_row(row, sample.inputs), _row(row, sample.outputs))


def _row(row: int, tensors: Tensors) -> Tensors:
    return {name: array[row : row + 1] for name, array in tensors.items()}


def _is_whole(config: ModelConfig, row: GoldenSample) -> bool:
    sequence = config.sequence_batching
    flags = {
        given.name
        for given in sequence.control_input
        if all(control.kind != _CORRID for control in given.control)
    }
    states = {state.input_name for state in sequence.state}
    raised = {name for name, array in row.inputs.items() if array.all()}
    kept = {name for name, array in row.inputs.items() if array.any()}
    return flags <= raised and not states & kept


def _without(names: frozenset[str], tensors: Tensors) -> Tensors:
    return {name: array for name, array in tensors.items() if name not in names}
