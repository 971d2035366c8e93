"""What the operator wants of a model: kept beside its versions, free to change without a build."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.errors import InvalidArtifact
from contract.files import reading
from contract.strict import explain


class Tier(StrEnum):
    """How warm a model is to be kept.

    `hot`: loaded and warmed before the sidecar says ready, never unloaded. `warm`: loaded
    while the memory budget allows. `cold`: loaded at its first request, unloaded when idle.
    `auto`: as cold, and loaded ahead of a request where its demand is worth the memory.
    """

    HOT = "hot"
    WARM = "warm"
    COLD = "cold"
    AUTO = "auto"


Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Intent(BaseModel):
    """How a model is to be treated when there is not memory for all.

    `pin`: once loaded it is neither evicted nor unloaded when idle. `priority`: a model is
    never evicted for one of a lower priority. `idle_timeout_s`: unloaded after so long
    without a request; None lets cost and price decide. `acceptable_cold_start_s`: waiting
    up to here costs nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tier: Tier = Tier.AUTO
    pin: bool = False
    priority: int = 0
    idle_timeout_s: Seconds | None = None
    acceptable_cold_start_s: Seconds = 0.0


def read_intent(path: Path) -> Intent:
    """Read a model's intent; a model without the file has the default.

    Raises:
        InvalidArtifact: the file is there and says something impossible.
        ArtifactUnreadable: the system does not let it be read now.
    """
    with reading(str(path)):
        if not path.exists():
            return Intent()
        text = path.read_bytes()
    try:
        return Intent.model_validate_json(text)
    except ValidationError as error:
        raise InvalidArtifact(
            f"{path} cannot be read: {explain(error, Intent)}; run `make repo` again"
        ) from error
