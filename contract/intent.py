"""What the operator wants of a model: kept beside its versions, free to change without a build."""

from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from contract.errors import InvalidArtifact


class Tier(StrEnum):
    """How warm a model is to be kept.

    `hot`: loaded and warmed before the sidecar says ready, never unloaded. `cold`: loaded
    when somebody asks.
    """

    HOT = "hot"
    COLD = "cold"


class Intent(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    tier: Tier = Tier.COLD


def read_intent(path: Path) -> Intent:
    """Read a model's intent; a model without the file has the default.

    Raises:
        InvalidArtifact: the file is there and says something impossible.
    """
    if not path.exists():
        return Intent()
    try:
        return Intent.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InvalidArtifact(f"{path} cannot be read: {error}; run `make repo` again") from error
