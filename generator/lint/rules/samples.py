"""The warm-up samples of a repository, for the rules about them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from generator.lint.lines import Step
from generator.lint.repository import ENSEMBLE, Config, Place, Repository


@dataclass(frozen=True, slots=True)
class Sample:
    """One `model_warmup` of a config."""

    config: Config
    index: int
    said: Any

    def __str__(self) -> str:
        return f"sample {self.said.name}" if self.said.name else f"sample {self.index + 1}"

    def at(self, *field: Step) -> Place:
        return self.config.at("model_warmup", self.index, *field)


def samples(repository: Repository) -> Iterator[Sample]:
    """Of ensembles none, which may have none."""
    for config in (each for each in repository.configs if each.backend != ENSEMBLE):
        for index, said in enumerate(config.message.model_warmup):
            yield Sample(config, index, said)


def given_inputs(repository: Repository) -> Iterator[tuple[Sample, str, Any, Any]]:
    """Each input that a sample gives and its config lists: sample, name, data, listed."""
    for sample in samples(repository):
        listed = {tensor.name: tensor for tensor in sample.config.message.input}
        for name, given in sample.said.inputs.items():
            if name in listed:
                yield sample, name, given, listed[name]
