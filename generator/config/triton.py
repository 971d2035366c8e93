"""What `config.pbtxt` says, as the template prints it: decided, in Triton's own words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from generator.accelerators import Accelerator
from generator.recipe import Batching


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """An input or output as the config lists it: without batch dimension, -1 where it varies.

    Triton knows no empty dims: what has one number per element `is_scalar` and has dims [1].
    """

    name: str
    data_type: str
    dims: tuple[int, ...]
    is_scalar: bool = False
    is_optional: bool = False
    label_filename: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Instances:
    kind: str
    count: int
    gpus: tuple[int, ...] = ()
    resources: Mapping[str, int]
    priority: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """`setting` is a line of text: how the batcher writes it."""

    name: str
    kind: str
    setting: str


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    input: str
    output: str
    data_type: str
    dims: tuple[int, ...]
    initial_dims: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceBatching:
    """`max_candidates` is None for the strategy `direct`."""

    max_idle_us: int
    max_queue_delay_us: int
    max_candidates: int | None
    preferred: tuple[int, ...]
    controls: tuple[Control, ...]
    states: tuple[State, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmupTensor:
    name: str
    data_type: str
    dims: tuple[int, ...]
    file: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Warmup:
    name: str
    batch_size: int
    count: int
    inputs: tuple[WarmupTensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonConfig:
    """`passthrough` is ModelConfig's own language; `versions` is None where it says how many."""

    name: str
    backend: str
    model_filename: str
    max_batch_size: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    versions: int | Literal["all"] | None
    instances: tuple[Instances, ...]
    batching: Batching | None
    sequence: SequenceBatching | None
    graph_level: int
    accelerator: Accelerator | None
    response_cache: bool
    warmups: tuple[Warmup, ...]
    passthrough: Mapping[str, Any]
