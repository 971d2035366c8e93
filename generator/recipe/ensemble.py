"""Models chained into one, which clients ask like any other: Triton's ensembles."""

from collections import defaultdict
from typing import Annotated, Self

from pydantic import AfterValidator, model_validator

from contract.strict import Strict, nearest
from generator.recipe.model import ModelName, Version
from generator.recipe.tensors import TensorName, not_empty

Names = Annotated[tuple[TensorName, ...], AfterValidator(not_empty)]
Wires = dict[TensorName, TensorName]


class Step(Strict):
    """One model of an ensemble. It runs as soon as what goes into it is there."""

    model: ModelName
    """Of this recipe, or one that the store has already."""
    inputs: Wires
    """Each input of the model, with the tensor that goes into it."""
    outputs: Wires
    """Outputs of the model, with the names that they get here. What is not listed is dropped."""


class EnsembleRecipe(Strict):
    """Steps between the tensors that clients send and those that they get.

    Types, shapes and the largest batch follow from the models.
    """

    name: ModelName
    """Clients ask for it by this name; no model has it."""
    version: Version | None = None
    """Without it, the next free number whenever something changed."""
    inputs: Names
    """The tensors that clients send."""
    outputs: Names
    """The tensors that clients get."""
    steps: Annotated[tuple[Step, ...], AfterValidator(not_empty)]
    """In any order."""

    @property
    def models(self) -> tuple[str, ...]:
        """Those that it is made of, each once."""
        return tuple(dict.fromkeys(step.model for step in self.steps))

    def label(self, step: Step) -> str:
        """How messages name a step: two may be of one model."""
        index = next(index for index, each in enumerate(self.steps) if each is step)
        return f"steps.{index} ({step.model})"

    def run_order(self) -> list[Step]:
        """Each step after those whose tensors it takes.

        Raises:
            ValueError: steps wait for each other.
        """
        there, waiting, ordered = set(self.inputs), list(self.steps), list[Step]()
        while ready := [step for step in waiting if there.issuperset(step.inputs.values())]:
            ordered += ready
            there.update(name for step in ready for name in step.outputs.values())
            waiting = [step for step in waiting if step not in ready]
        if waiting:
            stuck = " and ".join(
                f"{self.label(step)} for {', '.join(sorted({*step.inputs.values()} - there))}"
                for step in waiting
            )
            raise ValueError(f"steps wait for each other in a circle: {stuck}; break the circle")
        return ordered

    @model_validator(mode="after")
    def _is_wired(self) -> Self:
        makers = self._makers()
        for step in self.steps:
            for name, tensor in step.inputs.items():
                if tensor not in makers:
                    raise ValueError(
                        f"{self.label(step)}: input {name} takes {tensor!r}, which no step makes "
                        f"and which is not among inputs; {nearest(tensor, makers)}"
                    )
        made = makers.keys() - set(self.inputs)
        for tensor in self.outputs:
            if tensor not in made:
                raise ValueError(f"no step makes the output {tensor!r}; {nearest(tensor, made)}")
        taken = {tensor for step in self.steps for tensor in step.inputs.values()}
        for tensor, (maker, *_) in makers.items():
            if tensor not in taken | set(self.outputs):
                raise ValueError(
                    f"{tensor!r} of {maker} goes nowhere; take it out there, or let a step or "
                    "outputs take it"
                )
        self.run_order()
        return self

    def _makers(self) -> dict[str, list[str]]:
        """Where each tensor comes from.

        Raises:
            ValueError: from more than one place.
        """
        makers: dict[str, list[str]] = defaultdict(list)
        for tensor in self.inputs:
            makers[tensor].append("inputs")
        for step in self.steps:
            for tensor in step.outputs.values():
                makers[tensor].append(self.label(step))
        for tensor, places in makers.items():
            if len(places) > 1:
                raise ValueError(
                    f"{tensor!r} comes from {' and '.join(places)}; give each a name of its own"
                )
        return dict(makers)
