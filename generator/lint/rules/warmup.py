"""Warm-up samples: what they say. What is in their files: `warmup_files`."""

from collections.abc import Iterator, Sequence
from typing import Any

from generator.lint.finding import Problem, Severity, rule
from generator.lint.repository import ENSEMBLE, Config, Repository, type_name
from generator.lint.rules.samples import given_inputs, samples

_IDS = frozenset(f"TYPE_{sign}{bits}" for sign in ("INT", "UINT") for bits in (16, 32, 64))


@rule(
    "PL301",
    Severity.ERROR,
    why="Triton refuses model_warmup in an ensemble.",
    remedy="warm the models that it is made of",
)
def warmup_of_ensemble(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        if config.backend == ENSEMBLE and config.message.model_warmup:
            yield Problem(config.at("model_warmup"), "the config of an ensemble has model_warmup")


@rule(
    "PL302",
    Severity.WARNING,
    why="Triton skips a sample with batch_size 0, its default, without a word.",
    remedy="set batch_size to 1 or more",
)
def warmup_skipped(repository: Repository) -> Iterator[Problem]:
    for sample in samples(repository):
        if sample.said.batch_size == 0:
            yield Problem(sample.at(), f"{sample} has batch_size 0")


@rule(
    "PL303",
    Severity.ERROR,
    why="Triton refuses the load.",
    remedy="lower it, or raise max_batch_size",
)
def warmup_batch_too_large(repository: Repository) -> Iterator[Problem]:
    for sample in samples(repository):
        largest = max(1, sample.config.message.max_batch_size)
        if sample.said.batch_size > largest:
            yield Problem(
                sample.at("batch_size"),
                f"{sample} has batch_size {sample.said.batch_size}, the model takes {largest}",
            )


@rule(
    "PL304",
    Severity.ERROR,
    why="Each sample is a request: Triton refuses one without an input that is not optional.",
    remedy="add its data to the sample",
)
def warmup_input_missing(repository: Repository) -> Iterator[Problem]:
    for sample in samples(repository):
        for tensor in sample.config.message.input:
            if not tensor.optional and tensor.name not in sample.said.inputs:
                yield Problem(sample.at(), f"{sample} has no input {tensor.name}")


@rule(
    "PL305",
    Severity.WARNING,
    why="Triton ignores data for an input that the model does not have.",
    remedy="remove it, or give it the name of an input",
)
def warmup_input_unknown(repository: Repository) -> Iterator[Problem]:
    for sample in samples(repository):
        # Without inputs Triton completes the config from the model.
        listed = [tensor.name for tensor in sample.config.message.input]
        known = (*listed, *sample.config.filled_in)
        for name in sample.said.inputs if listed else ():
            if name not in known:
                yield Problem(
                    sample.at("inputs", name),
                    f"{sample} has input {name}; the model has {', '.join(known)}",
                )


@rule(
    "PL306",
    Severity.ERROR,
    why="Triton refuses the load.",
    remedy="use the model's data_type",
)
def warmup_data_type(repository: Repository) -> Iterator[Problem]:
    for sample, name, given, tensor in given_inputs(repository):
        if given.data_type != tensor.data_type:
            yield Problem(
                sample.at("inputs", name, "data_type"),
                f"{sample}: input {name} is {type_name(given.data_type)}, the model's is "
                f"{type_name(tensor.data_type)}",
            )


@rule(
    "PL307",
    Severity.ERROR,
    why="Triton makes a request of exactly this shape, with the batch in front of it.",
    remedy="give every dimension a size that fits, without the batch dimension",
)
def warmup_dims(repository: Repository) -> Iterator[Problem]:
    for sample, name, given, tensor in given_inputs(repository):
        if not _fits(given.dims, tensor.dims):
            yield Problem(
                sample.at("inputs", name, "dims"),
                f"{sample}: input {name} has dims {list(given.dims)}, the model "
                f"{list(tensor.dims)}",
            )


@rule(
    "PL308",
    Severity.ERROR,
    why="Triton refuses an input of a sample that says nothing about its data.",
    remedy="write data for it: input_data_file",
)
def warmup_without_data(repository: Repository) -> Iterator[Problem]:
    for sample, name, given, _ in given_inputs(repository):
        if given.WhichOneof("input_data_type") is None:
            yield Problem(sample.at("inputs", name), f"{sample}: input {name} has no data")


@rule(
    "PL309",
    Severity.ERROR,
    why=(
        "Random bytes read as ids, such as -1420042007188224409, point outside of every table. "
        "The model fails in warm-up, which killed the server in 14 of 38 starts measured."
    ),
    remedy="write ids that the model knows into a file: input_data_file",
)
def random_ids(repository: Repository) -> Iterator[Problem]:
    for sample, name, given, _ in given_inputs(repository):
        if given.WhichOneof("input_data_type") == "random_data" and _may_be_ids(
            sample.config, name, given
        ):
            yield Problem(
                sample.at("inputs", name),
                f"{sample}: input {name} is random_data of {type_name(given.data_type)}",
            )


@rule(
    "PL310",
    Severity.WARNING,
    why="Zeros touch one row of a table and leave the others cold. zero_data: false is zeros too.",
    remedy="write ids of real requests into a file: input_data_file",
)
def zero_ids(repository: Repository) -> Iterator[Problem]:
    for sample, name, given, _ in given_inputs(repository):
        if given.WhichOneof("input_data_type") == "zero_data" and _may_be_ids(
            sample.config, name, given
        ):
            yield Problem(
                sample.at("inputs", name),
                f"{sample}: input {name} is zero_data of {type_name(given.data_type)}",
            )


def _may_be_ids(config: Config, name: str, given: Any) -> bool:
    """By the graph, if there is one; else by the type."""
    if type_name(given.data_type) not in _IDS:
        return False
    found = [graph.table_rows for _, graph in config.read_graphs if graph.table_rows is not None]
    return not found or any(name in rows for rows in found)


def _fits(given: Sequence[int], allowed: Sequence[int]) -> bool:
    return len(given) == len(allowed) and all(
        size > 0 and wanted in (-1, size) for size, wanted in zip(given, allowed, strict=True)
    )
