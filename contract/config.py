"""`config.pbtxt` as a message. Triton's own schema comes with tritonclient.

Both are imported when the first text is read, so that the command line needs neither.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from contract.errors import InvalidArtifact
from contract.files import reading

# tritonclient ships no type stubs for its messages.
ModelConfig = Any
KIND_GPU, KIND_CPU = 1, 2
"""`ModelInstanceGroup.KIND_GPU` and `KIND_CPU` of Triton's schema."""
CACHED_CONFIGS = 16_384


class InstanceGroup(NamedTuple):
    """`size` instances on the CPU, or on each of `gpus`; without any, on each there is.

    `needs_gpu`: where the server lacks the GPU, Triton refuses the model.
    """

    on_cpu: bool
    needs_gpu: bool
    gpus: tuple[int, ...]
    size: int


def read_config(path: Path) -> str:
    """The text of a stored `config.pbtxt`.

    Raises:
        InvalidArtifact: it is missing, or not UTF-8.
        ArtifactUnreadable: the system does not let it be read now.
    """
    try:
        with reading(f"config {path}"):
            return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArtifact(
            f"config {path} is not UTF-8: {error}; build the version again with `make repo`"
        ) from error


def parse_config(text: str, origin: str) -> ModelConfig:
    """Parse a `config.pbtxt`; `origin` names it in the error.

    Raises:
        InvalidArtifact: not the text of a ModelConfig; says line and column.
    """
    from google.protobuf import text_format  # noqa: PLC0415  (see the top)

    try:
        return text_format.Parse(text, _empty_config())
    except text_format.ParseError as error:
        raise InvalidArtifact(f"{origin} is no config that Triton would read: {error}") from error


@lru_cache(CACHED_CONFIGS)
def instance_groups(text: str) -> tuple[InstanceGroup, ...]:
    """Of a `config.pbtxt`; raises InvalidArtifact as `parse_config` does."""
    return tuple(
        InstanceGroup(
            on_cpu=group.kind == KIND_CPU,
            needs_gpu=group.kind == KIND_GPU or bool(group.gpus),
            gpus=tuple(group.gpus),
            size=max(1, group.count),
        )
        for group in parse_config(text, "its config.pbtxt").instance_group
    )


@lru_cache(CACHED_CONFIGS)
def is_stateful(text: str) -> bool:
    """Whether a `config.pbtxt` is of a model that keeps state between requests of a sequence.

    A text that Triton would not read is of none.
    """
    try:
        config = parse_config(text, "its config.pbtxt")
    except InvalidArtifact:
        return False
    return bool(config.HasField("sequence_batching"))


def tensors_of_batcher(config: ModelConfig) -> frozenset[str]:
    """What only Triton's sequence batcher writes and reads: no client sends or sees it."""
    sequence = config.sequence_batching
    return frozenset(
        [
            *(control.name for control in sequence.control_input),
            *(state.input_name for state in sequence.state),
            *(state.output_name for state in sequence.state),
        ]
    )


def format_config(config: ModelConfig) -> str:
    """The message as text. Triton fills in what it leaves out, such as `max_batch_size: 0`."""
    from google.protobuf import text_format  # noqa: PLC0415  (see the top)

    text: str = text_format.MessageToString(config)
    return text


def _empty_config() -> ModelConfig:
    from tritonclient.grpc import model_config_pb2  # noqa: PLC0415  (see the top)

    return model_config_pb2.ModelConfig()
