"""Root of the messages."""

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """Frozen; what is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
