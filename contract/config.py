"""`config.pbtxt` as a message. Triton's own schema comes with tritonclient."""

from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from contract.errors import InvalidArtifact

# tritonclient ships no type stubs for its messages.
ModelConfig = Any
KIND_CPU: int = model_config_pb2.ModelInstanceGroup.KIND_CPU


def parse_config(text: str, origin: str) -> ModelConfig:
    """Parse a `config.pbtxt`; `origin` names it in the error.

    Raises:
        InvalidArtifact: not the text of a ModelConfig; says line and column.
    """
    try:
        return text_format.Parse(text, model_config_pb2.ModelConfig())
    except text_format.ParseError as error:
        raise InvalidArtifact(f"{origin} is no config that Triton would read: {error}") from error


def format_config(config: ModelConfig) -> str:
    """The message as text. Triton fills in what it leaves out, such as `max_batch_size: 0`."""
    text: str = text_format.MessageToString(config)
    return text
