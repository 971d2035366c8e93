"""What Triton would refuse, or take and die of, found before it is published. Pure.

Rules about the message alone are checked before the export, all of them before publishing.
A rule is a function that gives the problems it finds.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

from tritonclient.grpc.model_config_pb2 import DataType

from contract.config import ModelConfig, parse_config
from contract.dtypes import Datatype
from generator.errors import ConfigRefused
from generator.reports import GraphTensor, VerifyReport

_BY_CONFIG_NAME = {datatype.config_name: datatype for datatype in Datatype}


def check_message(text: str, model: str) -> None:
    """Parse a config and check what it says about itself.

    Raises:
        ConfigRefused: names the field, the numbers and the remedy for each problem.
    """
    _refuse(model, [problem for rule in _RULES for problem in rule(_parse(text, model))])


def check(text: str, model: str, *, graph: VerifyReport, warmup: Mapping[str, int]) -> None:
    """`check_message`, and the config against the graph and the warm-up files' sizes.

    Raises:
        ConfigRefused: as `check_message`.
    """
    config = _parse(text, model)
    _refuse(
        model,
        [
            *(problem for rule in _RULES for problem in rule(config)),
            *_tensors_differ("input", config.input, graph.inputs, config.max_batch_size),
            *_tensors_differ("output", config.output, graph.outputs, config.max_batch_size),
            *_warmup_files(config, warmup),
        ],
    )


def _parse(text: str, model: str) -> ModelConfig:
    return parse_config(text, f"the config of {model}")


def _refuse(model: str, problems: Sequence[str]) -> None:
    if problems:
        raise ConfigRefused(f"Triton would not serve {model}: {'; '.join(problems)}")


def _preferred_sizes(config: ModelConfig) -> Iterator[str]:
    for size in config.dynamic_batching.preferred_batch_size:
        if size > config.max_batch_size:
            yield (
                f"dynamic_batching.preferred_batch_size {size} is above max_batch_size "
                f"{config.max_batch_size}; lower it or raise max_batch_size"
            )


def _batching_without_batches(config: ModelConfig) -> Iterator[str]:
    if config.HasField("dynamic_batching") and config.max_batch_size == 0:
        yield "dynamic_batching needs max_batch_size above 0; remove it or set max_batch_size"


def _warmup_batches(config: ModelConfig) -> Iterator[str]:
    # A batch size of 0 would skip the sample without a word.
    largest = max(1, config.max_batch_size)
    for sample in config.model_warmup:
        if not 1 <= sample.batch_size <= largest:
            yield (
                f"model_warmup {sample.name}: batch_size {sample.batch_size} is not within 1 and "
                f"{largest}; change it or max_batch_size"
            )


def _warmup_inputs(config: ModelConfig) -> Iterator[str]:
    required = {tensor.name for tensor in config.input if not tensor.optional}
    known = {tensor.name: tensor for tensor in config.input}
    for sample in config.model_warmup:
        for name in sorted(required - set(sample.inputs)):
            yield f"model_warmup {sample.name}: input {name} is missing; add its data"
        for name, given in sample.inputs.items():
            where = f"model_warmup {sample.name}: input {name}"
            if name not in known:
                yield f"{where} is none of the model's ({', '.join(known)})"
            elif given.data_type != known[name].data_type:
                yield f"{where} has another data_type than the model's; use the model's"
            elif not _fits(given.dims, known[name].dims):
                yield (
                    f"{where} has dims {list(given.dims)}, the model {list(known[name].dims)}; "
                    "give every dimension a size that fits, without the batch dimension"
                )


def _warmup_data_kind(config: ModelConfig) -> Iterator[str]:
    for sample in config.model_warmup:
        for name, given in sample.inputs.items():
            if given.WhichOneof("input_data_type") != "input_data_file":
                yield (
                    f"model_warmup {sample.name}: input {name} has no input_data_file; random_data "
                    "read as ids points outside of tables, zero_data touches one row: use a file"
                )


def _fits(given: Sequence[int], allowed: Sequence[int]) -> bool:
    return len(given) == len(allowed) and all(
        size > 0 and wanted in (-1, size) for size, wanted in zip(given, allowed, strict=True)
    )


_RULES: tuple[Callable[[ModelConfig], Iterator[str]], ...] = (
    _preferred_sizes,
    _batching_without_batches,
    _warmup_batches,
    _warmup_inputs,
    _warmup_data_kind,
)


def _tensors_differ(
    kind: str, listed: Sequence[ModelConfig], graph: Sequence[GraphTensor], max_batch_size: int
) -> Iterator[str]:
    wanted = {tensor.name: tensor for tensor in graph}
    names = [tensor.name for tensor in listed]
    for name in wanted:
        if name not in names:
            yield f"{kind} {name} of the graph is not listed; Triton would load twice to find it"
    for tensor in listed:
        if tensor.name not in wanted:
            yield f"{kind} {tensor.name} is not in the graph, which has {', '.join(wanted)}"
        else:
            yield from _tensor_differs(kind, tensor, wanted[tensor.name], max_batch_size)


def _tensor_differs(
    kind: str, listed: ModelConfig, graph: GraphTensor, max_batch_size: int
) -> Iterator[str]:
    shape = list(graph.shape)
    data_type = DataType.Name(listed.data_type)
    if data_type != graph.datatype.config_name:
        yield f"{kind} {graph.name} is {data_type}, the graph's is {graph.datatype.config_name}"
    if max_batch_size and shape[:1] != [-1]:
        yield (
            f"{kind} {graph.name} has shape {shape} in the graph: its first dimension must vary, "
            "because max_batch_size is above 0; keep the batch in it or set max_batch_size: 0"
        )
    elif list(listed.dims) != shape[1 if max_batch_size else 0 :]:
        yield f"{kind} {graph.name} has dims {list(listed.dims)}, the graph's shape is {shape}"


def _warmup_files(config: ModelConfig, sizes: Mapping[str, int]) -> Iterator[str]:
    for sample in config.model_warmup:
        for name, given in sample.inputs.items():
            file = given.input_data_file
            needed = math.prod(given.dims) * _datatype(given).numpy.itemsize
            # Triton takes a longer file without a word and ignores the rest.
            if sizes.get(file) != needed:
                found = f"has {sizes[file]} bytes" if file in sizes else "does not exist"
                yield (
                    f"model_warmup {sample.name}: input {name} needs {needed} bytes for one "
                    f"element of {list(given.dims)}, warmup/{file} {found}; write that file again"
                )


def _datatype(tensor: ModelConfig) -> Datatype:
    return _BY_CONFIG_NAME[DataType.Name(tensor.data_type)]
