"""How a release goes about it: what its operator may choose."""

from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Self

from pydantic import Field, model_validator

from contract.strict import Strict
from sidecar.core.steering import HeaderName

Share = Annotated[int, Field(ge=1, le=99)]


class Approval(StrEnum):
    """Who lets a version that has passed everything get traffic."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"


class Copies(StrEnum):
    """What the serving server holds at the switch.

    `both`: old and new together, so no request waits and rollback is a matter of milliseconds.
    `one_at_a_time`: the old version is unloaded first, where memory has no room for both. Requests
    wait for a load meanwhile, at the gateway or by `:ensure`, and once more in a rollback.
    """

    BOTH = "both"
    ONE_AT_A_TIME = "one_at_a_time"


class Outputs(StrEnum):
    """What the new version's outputs must have in common with the old one's.

    `alike`, for a model that was trained again: the same shapes and types, finite where the old
    one's are, and the largest element of a vector mostly at the same place. `equal`, for the same
    model in another form: within the manifest's tolerance, each answer. `any`: not compared.
    """

    ALIKE = "alike"
    EQUAL = "equal"
    ANY = "any"


class Strategy(Strict):
    """Of one release. The defaults prove everything, and ask nobody.

    `shift`: percentages of the requests that the new version gets first, each for `bake_s`
    seconds, before it gets all of them; requests with the same value of the header
    `sticky_header` meet the same version then. Needs the gateway.
    `soak_s`: how long both versions stay after that; None is what the settings say.
    `latency_margin`: how much slower than the old version it may be, as a share: 0.2 is a fifth;
    None does not compare. `least_agreement`, where outputs are to be alike: of vectors, whose
    largest element must be at the same place; of pairs of single scores, which must be in the same
    order. `longest_comparison_s`: after that, a comparison without a clear end asks a person.
    """

    approval: Approval = Approval.AUTOMATIC
    copies: Copies = Copies.BOTH
    shift: tuple[Share, ...] = ()
    bake_s: Annotated[float, Field(gt=0)] = 60.0
    sticky_header: HeaderName | None = None
    soak_s: Annotated[float, Field(ge=0)] | None = None
    outputs: Outputs = Outputs.ALIKE
    latency_margin: Annotated[float, Field(gt=0)] | None = 0.2
    least_agreement: Annotated[float, Field(gt=0, lt=1)] = 0.8
    longest_comparison_s: Annotated[float, Field(gt=0)] = 60.0

    @property
    def compares(self) -> bool:
        """Whether there is anything to hold the new version's answers against."""
        return self.outputs is not Outputs.ANY or self.latency_margin is not None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if any(later <= sooner for sooner, later in pairwise(self.shift)):
            raise ValueError(
                f"shift must grow from step to step, like [1, 5, 25]: not {list(self.shift)}"
            )
        if self.shift and self.copies is Copies.ONE_AT_A_TIME:
            raise ValueError(
                "shift shares requests between two versions, and copies: one_at_a_time never has "
                "both; leave one of them out"
            )
        if self.sticky_header is not None and not self.shift:
            raise ValueError("sticky_header is of no use without shift")
        return self


DEFAULT_STRATEGY = Strategy()
