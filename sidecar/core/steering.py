"""What operators and releases say about where a model's requests go."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from contract.strict import Strict, Written

Version = Annotated[int, Field(ge=1)]
Weight = Annotated[int, Field(ge=0)]
HeaderName = Annotated[
    str, Written(r"^[a-z0-9][a-z0-9-]{0,63}$", "a header's name in small letters, such as x-user")
]


class Steering(Strict):
    """Of requests that name no version; the others get what they name.

    `weights` shares them among versions: `{1: 95, 2: 5}`. Requests with the same value of the
    header `sticky_header` meet the same version. `mirror` is the percentage of which the canary
    server gets a copy; its answers are thrown away. `sample` is the percentage that both versions
    are asked once more, one request at a time, to compare what they answer.
    """

    weights: dict[Version, Weight] = Field(default_factory=dict)
    sticky_header: HeaderName | None = None
    mirror: Annotated[int, Field(ge=0, le=100)] = 0
    sample: Annotated[int, Field(ge=0, le=100)] = 0

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.weights and not any(self.weights.values()):
            raise ValueError("all weights are 0; give one version more, or leave weights out")
        if self.sticky_header is not None and not self.weights:
            raise ValueError("sticky_header is of no use without weights")
        if self.sample and not self.mirror:
            raise ValueError("sample is of no use without mirror; say how much canary is to get")
        if self.weights and self.mirror:
            raise ValueError(
                "weights and mirror exclude each other: canary has no other version than the one "
                "that is being proven; mirror first, shift traffic then"
            )
        return self
