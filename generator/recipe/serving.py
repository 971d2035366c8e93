"""How Triton is to serve a model: where, how many at once, in which batches."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    JsonValue,
    NonNegativeInt,
    PositiveInt,
    Tag,
    WithJsonSchema,
    model_validator,
)

from contract.layout import is_model_name
from contract.strict import Strict
from generator.config.schema import problems
from generator.recipe.formats import Format
from generator.recipe.tensors import TensorName, not_empty

Target = Literal["cpu", "gpu", "auto"]

_SIZES = {"type": "array", "items": {"type": "integer", "exclusiveMinimum": 0}}


class Batching(Strict):
    """Triton's dynamic batcher."""

    preferred: Annotated[
        tuple[PositiveInt, ...], WithJsonSchema({"anyOf": [{"const": "auto"}, _SIZES]})
    ] = ()
    """Batch sizes to make, if requests allow; each is warmed up. `auto`: powers of two, `measured`.
    """
    measured: bool = False
    """Keep only the smallest of `preferred` from which on an element costs no less time. Another
    machine may come to another size."""
    max_queue_delay_us: NonNegativeInt = 0
    """How long a request may wait for others to share a batch with, in microseconds."""
    preserve_ordering: bool = False
    """Answers leave in the order in which requests came, though they may be ready sooner."""

    @model_validator(mode="before")
    @classmethod
    def _auto_is_measured(cls, said: Any) -> Any:
        if isinstance(said, dict) and said.get("preferred") == "auto":
            return said | {"preferred": (), "measured": True}
        return said

    def within(self, max_batch_size: int) -> Self:
        """With the powers of two written out that `auto` stands for."""
        if self.preferred or not self.measured:
            return self
        powers = tuple(2**power for power in range(max_batch_size.bit_length()))
        return self.model_copy(update={"preferred": powers})


class InstanceGroup(Strict):
    """Instances of one kind."""

    kind: Literal["cpu", "gpu", "auto", "model"]
    """`auto`: on GPUs where there are some, else on the CPU. `model`: the model decides."""
    count: PositiveInt = 1
    """On the CPU, or on each GPU."""
    gpus: tuple[NonNegativeInt, ...] = ()
    """Numbers of the GPUs to use; without them, all that Triton sees."""
    resources: dict[str, PositiveInt] = Field(default_factory=dict)
    """How much of each resource of the rate limiter an execution takes; counts when Triton runs
    with `--rate-limit=execution_count`."""
    priority: PositiveInt | None = None
    """For the rate limiter: 2 gets half as many turns as 1."""

    @model_validator(mode="after")
    def _has_gpus_if_it_lists_some(self) -> Self:
        if self.gpus and self.kind not in ("gpu", "auto"):
            raise ValueError(
                f"kind {self.kind} and gpus {list(self.gpus)} exclude each other; write kind: gpu, "
                "or take gpus out"
            )
        return self


def _is_list(said: object) -> str:
    return "groups" if isinstance(said, list | tuple) else "count"


Instances = Annotated[
    Annotated[PositiveInt, Tag("count")]
    | Annotated[tuple[InstanceGroup, ...], AfterValidator(not_empty), Tag("groups")],
    Discriminator(_is_list),
]


def kinds(target: Target, instances: Instances) -> set[str]:
    """On what the instances run."""
    return {target} if isinstance(instances, int) else {group.kind for group in instances}


class Sequence(Strict):
    """Triton's sequence batcher: all requests of a sequence reach the same instance.

    What it tells the model about a sequence goes into inputs with `control`.
    """

    strategy: Literal["direct", "oldest"] = "direct"
    """`direct`: a sequence keeps its place in the batch. `oldest`: batches are made of whichever
    sequences have requests; needs a `corrid` input, or states."""
    max_idle_us: PositiveInt = 1_000_000
    """A sequence without a request for so long is over, in microseconds."""
    max_queue_delay_us: NonNegativeInt = 0
    """How long a request may wait for other sequences to share a batch with."""
    max_candidates: PositiveInt | None = None
    """Of `oldest`, which needs it: sequences that run at once; others wait."""
    preferred: tuple[PositiveInt, ...] = ()
    """Of `oldest`: batch sizes to make, if requests allow."""
    states: dict[TensorName, TensorName] = Field(default_factory=dict)
    """Inputs to outputs: what such an output was for one request of a sequence, Triton gives to
    the next one; zeros to the first. Clients neither send nor see them."""

    @model_validator(mode="after")
    def _is_of_one_strategy(self) -> Self:
        if self.strategy == "oldest" and self.max_candidates is None:
            raise ValueError(
                "strategy oldest: write max_candidates, the number of sequences that run at once"
            )
        if self.strategy == "direct" and (self.max_candidates or self.preferred):
            raise ValueError(
                "max_candidates and preferred are of strategy oldest; write it, or take them out"
            )
        return self


def _with_text_keys(said: object) -> object:
    """YAML reads the keys of `priority_queue_policy` as numbers."""
    if isinstance(said, Mapping):
        return {str(key): _with_text_keys(value) for key, value in said.items()}
    return [_with_text_keys(item) for item in said] if isinstance(said, list) else said


def _fits_the_schema(said: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if found := list(problems(said)):
        raise ValueError("; ".join(found))
    return said


Passthrough = Annotated[
    dict[str, JsonValue], BeforeValidator(_with_text_keys), AfterValidator(_fits_the_schema)
]


class Variant(Strict):
    """Another config of the same files. What it leaves out is as the model's."""

    target: Target | None = None
    """Where instances run."""
    instances: Instances | None = None
    """As a model's."""
    batching: Batching | None = None
    """As a model's."""
    format: Format | None = None
    """As a model's; it has to be served from the same file."""
    config: Passthrough | None = None
    """As a model's, and in its place."""


def _file_names(variants: dict[str, Variant]) -> dict[str, Variant]:
    for name in variants:
        if not is_model_name(name):
            raise ValueError(f"{name!r} is no name: letters, digits, '_', '.' and '-' only")
    return variants


Variants = Annotated[dict[str, Variant], AfterValidator(_file_names)]
