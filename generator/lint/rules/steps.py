"""The steps of a repository's ensembles, for the rules about them."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from generator.lint.repository import ENSEMBLE, Config, Place, Repository, type_name


@dataclass(frozen=True, slots=True)
class EnsembleStep:
    """`model` is the config of its model; None where that cannot be read."""

    config: Config
    index: int
    said: Any
    model: Config | None

    def __str__(self) -> str:
        return f"step {self.index + 1} ({self.said.model_name})"

    def at(self, *field: str) -> Place:
        return self.config.at("ensemble_scheduling", "step", self.index, *field)

    @property
    def reads(self) -> set[str]:
        return set(self.said.input_map.values())

    @property
    def batches(self) -> bool:
        return self.model is not None and bool(self.model.message.max_batch_size > 0)

    def tensors(self, kind: str) -> Mapping[str, Any]:
        """Empty where Triton is to find them out from the model."""
        if self.model is None:
            return {}
        return {tensor.name: tensor for tensor in getattr(self.model.message, kind)}


@dataclass(frozen=True, slots=True)
class Use:
    """A tensor of an ensemble as its config or a model lists it."""

    name: str
    place: Place
    whose: str
    tensor: Any
    dims: Sequence[int]
    batches: bool

    def __str__(self) -> str:
        full = [*([-1] if self.batches else []), *self.dims]
        return f"{self.name} of {self.whose}, {type_name(self.tensor.data_type)} {full}"

    def fits(self, other: "Use") -> bool:
        """With or without batch dimension: a model without takes it as part of the shape."""
        full, theirs = ([*([-1] if each.batches else []), *each.dims] for each in (self, other))
        return _agree(self.dims, other.dims) or _agree(full, theirs)


def uses(config: Config, steps: Sequence[EnsembleStep]) -> dict[str, list[Use]]:
    """By the ensemble's tensor; those of the ensemble itself first."""
    found: dict[str, list[Use]] = defaultdict(list)
    batches = config.message.max_batch_size > 0
    for kind in ("input", "output"):
        for index, tensor in enumerate(getattr(config.message, kind)):
            dims = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
            place = config.at(kind, index)
            found[tensor.name].append(
                Use(tensor.name, place, "the ensemble", tensor, dims, batches=batches)
            )
    for step in steps:
        for kind in ("input", "output"):
            listed = step.tensors(kind)
            for name, tensor in sorted(getattr(step.said, f"{kind}_map").items()):
                if name in listed:
                    place, said = step.at(f"{kind}_map", name), listed[name]
                    found[tensor].append(
                        Use(name, place, str(step), said, said.dims, batches=step.batches)
                    )
    return found


def ensembles(repository: Repository) -> Iterator[tuple[Config, list[EnsembleStep]]]:
    for config in repository.configs:
        if config.backend == ENSEMBLE:
            said = enumerate(config.message.ensemble_scheduling.step)
            yield config, [_step_of(repository, config, index, step) for index, step in said]


def _step_of(repository: Repository, config: Config, index: int, said: Any) -> EnsembleStep:
    model = repository.models.get(said.model_name)
    return EnsembleStep(config, index, said, model.config if model is not None else None)


def all_steps(repository: Repository) -> Iterator[EnsembleStep]:
    for _, steps in ensembles(repository):
        yield from steps


def _agree(ours: Sequence[int], theirs: Sequence[int]) -> bool:
    return len(ours) == len(theirs) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(ours, theirs, strict=True)
    )
