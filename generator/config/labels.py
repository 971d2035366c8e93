"""Label files: clients that ask for classes get the line of a class instead of its number."""

from collections.abc import Sequence
from pathlib import Path

from contract.layout import LABELS
from generator.errors import ConfigRefused
from generator.recipe import ModelRecipe
from generator.reports import GraphTensor


def label_file(output: str) -> str:
    """Where an output's labels lie, relative to the version and to the model's folder."""
    return f"{LABELS}/{output}.txt"


def write_labels(model: ModelRecipe, recipe_folder: Path, version: Path) -> None:
    """Copy the files that the recipe names.

    Raises:
        ConfigRefused: one cannot be read.
    """
    for output in model.outputs:
        if output.labels:
            target = version / label_file(output.name)
            target.parent.mkdir(exist_ok=True)
            try:
                target.write_bytes((recipe_folder / output.labels).read_bytes())
            except OSError as error:
                raise ConfigRefused(
                    f"{model.name}: output {output.name}: labels {output.labels} cannot be read: "
                    f"{error.strerror}; write one class per line into that file"
                ) from error


def check_labels(model: ModelRecipe, outputs: Sequence[GraphTensor], version: Path) -> None:
    """See that each class has a line; Triton answers an empty label for one without.

    Raises:
        ConfigRefused: there are more or fewer.
    """
    shapes = {tensor.name: tensor.shape for tensor in outputs}
    for output in model.outputs:
        if output.labels:
            lines = len((version / label_file(output.name)).read_bytes().splitlines())
            classes = shapes[output.name][-1:]
            if classes not in ((-1,), (lines,)):
                raise ConfigRefused(
                    f"{model.name}: output {output.name} has shape {list(shapes[output.name])}, "
                    f"labels {output.labels} has {lines} lines; write one line for each value of "
                    "the last dimension"
                )
