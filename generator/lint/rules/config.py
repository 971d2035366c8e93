"""What a config says about itself."""

from collections.abc import Iterator, Sequence
from typing import Any

from generator.lint.backends import PLATFORMS
from generator.lint.finding import Problem, Severity, rule
from generator.lint.repository import ENSEMBLE, Config, Place, Repository

_KIND_GPU, _KIND_CPU, _KIND_MODEL = 1, 2, 3
_DELAY = 1


@rule(
    "PL201",
    Severity.ERROR,
    why="Triton skips a model whose config it cannot parse, and says why only in its log.",
    remedy="correct the text; fields are those of model_config.proto",
)
def unreadable(repository: Repository) -> Iterator[Problem]:
    for model in repository.models.values():
        for path, error in model.parse_errors.items():
            place = Place(f"{model.name}/{path}", error.GetLine())
            yield Problem(place, str(error).partition(" : ")[2])


@rule(
    "PL202",
    Severity.ERROR,
    why="Triton refuses a config whose name is not its folder's.",
    remedy="give both the same name, or leave `name` out",
)
def other_name(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        if config.message.name not in ("", config.model.name):
            yield Problem(
                config.at("name"),
                f"name is {config.message.name}, the folder's is {config.model.name}",
            )


@rule(
    "PL203",
    Severity.ERROR,
    why="Without backend and platform Triton guesses by the names of files in the first version.",
    remedy='set `backend`, such as backend: "onnxruntime"',
)
def no_backend(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        # A model called `model.identity` is of the backend `identity`.
        if not config.backend and config.model.versions and "." not in config.model.name:
            yield Problem(config.at(), "nothing tells which backend it is for")


@rule(
    "PL204",
    Severity.ERROR,
    why="Triton refuses a negative max_batch_size.",
    remedy="set it to 0 for a model without batch dimension, else above",
)
def batch_size_negative(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        if config.message.max_batch_size < 0:
            yield Problem(
                config.at("max_batch_size"), f"max_batch_size is {config.message.max_batch_size}"
            )


@rule(
    "PL205",
    Severity.ERROR,
    why="Triton refuses a preferred batch size outside of 1 and max_batch_size.",
    remedy="lower it, or raise max_batch_size",
)
def preferred_batch_size(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        said = config.message
        for path, sizes in (
            (("dynamic_batching",), said.dynamic_batching.preferred_batch_size),
            (("sequence_batching", "oldest"), said.sequence_batching.oldest.preferred_batch_size),
        ):
            for index, size in enumerate(sizes):
                if not 1 <= size <= said.max_batch_size:
                    wrong = "below 1" if size < 1 else f"above max_batch_size {said.max_batch_size}"
                    yield Problem(
                        config.at(*path, "preferred_batch_size", index),
                        f"{'.'.join(path)}.preferred_batch_size {size} is {wrong}",
                    )


@rule(
    "PL206",
    Severity.WARNING,
    why=(
        "Requests to a model without batch dimension cannot be put together: they only wait for "
        "the queue delay."
    ),
    remedy="set max_batch_size, or remove dynamic_batching",
)
def batching_without_batches(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        if config.message.HasField("dynamic_batching") and config.message.max_batch_size == 0:
            yield Problem(config.at("dynamic_batching"), "dynamic_batching with max_batch_size 0")


@rule(
    "PL207",
    Severity.ERROR,
    why="Triton refuses a list of GPUs for KIND_CPU and KIND_MODEL.",
    remedy="use KIND_GPU, or remove gpus",
)
def gpus_of_other_kind(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        for index, group in enumerate(config.message.instance_group):
            if group.gpus and group.kind in (_KIND_CPU, _KIND_MODEL):
                kind = "KIND_CPU" if group.kind == _KIND_CPU else "KIND_MODEL"
                yield Problem(
                    config.at("instance_group", index, "gpus"),
                    f"{kind} with gpus {list(group.gpus)}",
                )


@rule(
    "PL208",
    Severity.ERROR,
    why=(
        "Triton refuses an input or output without name, type or dims, and sizes other than -1 "
        "below 1."
    ),
    remedy="write name, data_type and dims; -1 where a size varies",
)
def tensor_incomplete(repository: Repository) -> Iterator[Problem]:
    for config, kind, index, tensor in _tensors(repository):
        lacks = [key for key in ("name", "data_type", "dims") if not getattr(tensor, key)]
        if lacks:
            yield Problem(
                config.at(kind, index), f"{kind} {tensor.name} has no {' and no '.join(lacks)}"
            )
        for size in (*tensor.dims, *tensor.reshape.shape):
            if size < 1 and size != -1:
                yield Problem(
                    config.at(kind, index, "dims"), f"{kind} {tensor.name} has a size of {size}"
                )


@rule(
    "PL209",
    Severity.WARNING,
    why="Triton loads it and finds tensors by name: one of the two is never used.",
    remedy="give each tensor a name of its own",
)
def tensor_twice(repository: Repository) -> Iterator[Problem]:
    for config, kind, index, tensor in _tensors(repository):
        before = [each.name for each in getattr(config.message, kind)[:index]]
        if tensor.name and tensor.name in before:
            yield Problem(config.at(kind, index, "name"), f"{kind} {tensor.name} is listed twice")


@rule(
    "PL210",
    Severity.ERROR,
    why="Triton refuses a reshape that changes the number of elements.",
    remedy="let both have as many elements and as many sizes of -1",
)
def reshape_of_other_size(repository: Repository) -> Iterator[Problem]:
    for config, kind, index, tensor in _tensors(repository):
        if tensor.HasField("reshape") and _runs(tensor.dims) != _runs(tensor.reshape.shape):
            yield Problem(
                config.at(kind, index, "reshape"),
                f"{kind} {tensor.name}: dims {list(tensor.dims)} become "
                f"{list(tensor.reshape.shape)}",
            )


@rule(
    "PL211",
    Severity.ERROR,
    why="Triton's ONNX Runtime backend takes optional inputs only with max_batch_size 0.",
    remedy="set max_batch_size: 0, or make the input required",
)
def optional_with_batches(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        if config.backend == "onnxruntime" and config.message.max_batch_size > 0:
            for index, tensor in enumerate(config.message.input):
                if tensor.optional:
                    yield Problem(
                        config.at("input", index, "optional"),
                        f"input {tensor.name} is optional, and max_batch_size is "
                        f"{config.message.max_batch_size}",
                    )


@rule(
    "PL212",
    Severity.ERROR,
    why="Triton refuses a response cache for sequences and for decoupled models.",
    remedy="remove response_cache, or the other of the two",
)
def cache_of_stateful_answers(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        said = config.message
        of = [
            name
            for name, applies in (
                ("sequence_batching", said.HasField("sequence_batching")),
                ("a decoupled transaction policy", said.model_transaction_policy.decoupled),
            )
            if applies
        ]
        if said.response_cache.enable and of:
            yield Problem(config.at("response_cache"), f"response_cache with {' and '.join(of)}")


@rule(
    "PL213",
    Severity.ERROR,
    why="Triton refuses a default priority outside of the levels, and levels without a default.",
    remedy="set default_priority_level within 1 and priority_levels",
)
def priority_outside(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        batching = config.message.dynamic_batching
        levels, default = batching.priority_levels, batching.default_priority_level
        if levels and not 1 <= default <= levels:
            yield Problem(
                config.at("dynamic_batching", "priority_levels"),
                f"default_priority_level {default} with {levels} priority_levels",
            )


@rule(
    "PL214",
    Severity.ERROR,
    why=(
        "Triton refuses preserve_ordering with several priorities or with late requests put behind."
    ),
    remedy="remove preserve_ordering, or the priorities and DELAY",
)
def ordering_against_priorities(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        batching = config.message.dynamic_batching
        policy = batching.default_queue_policy
        delays = policy.default_timeout_microseconds and policy.timeout_action == _DELAY
        if batching.preserve_ordering and (batching.priority_levels > 1 or delays):
            yield Problem(
                config.at("dynamic_batching", "preserve_ordering"),
                f"preserve_ordering with {batching.priority_levels} priority_levels"
                + (" and timeout_action DELAY" if delays else ""),
            )


@rule(
    "PL215",
    Severity.ERROR,
    why="Triton refuses a platform that belongs to another backend.",
    remedy="leave one of the two out",
)
def backend_and_platform(repository: Repository) -> Iterator[Problem]:
    for config in repository.configs:
        said = config.message
        if said.platform == ENSEMBLE and said.backend:
            yield Problem(config.at("backend"), f"an ensemble has backend {said.backend}")
        # Backends without a platform of their own take any.
        elif said.backend in PLATFORMS.values():
            other = config.platform_backend
            if other not in ("", said.backend):
                yield Problem(
                    config.at("platform"),
                    f"platform {said.platform} is of backend {other}, not of {said.backend}",
                )


def _tensors(repository: Repository) -> Iterator[tuple[Config, str, int, Any]]:
    for config in repository.configs:
        for kind in ("input", "output"):
            for index, tensor in enumerate(getattr(config.message, kind)):
                yield config, kind, index, tensor


def _runs(dims: Sequence[int]) -> list[int]:
    """Elements between the sizes that vary; these must agree."""
    runs = [1]
    for size in dims:
        if size == -1:
            runs.append(1)
        else:
            runs[-1] *= size
    return runs
