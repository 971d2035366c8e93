"""The rules, one function each. Pure: they look at a `Repository`, and say where and what.

Why, and what to do, is the rule's own.
"""

from types import ModuleType

from generator.lint.finding import Rule
from generator.lint.rules import (
    acceleration,
    config,
    ensembles,
    files,
    folders,
    releases,
    tensors,
    warmup,
    warmup_files,
)

SUBJECTS = {
    "PL1": "Folders, links and files",
    "PL2": "What a config says",
    "PL3": "Warm-up",
    "PL4": "A config against the ONNX graph",
    "PL5": "TensorRT and CUDA in ONNX Runtime",
    "PL6": "Ensembles",
    "PL7": "The release",
}
"""By the beginning of a rule's code."""


def of(*modules: ModuleType) -> tuple[Rule, ...]:
    """The rules of these modules, by code."""
    found = (each for module in modules for each in vars(module).values())
    return tuple(
        sorted((each for each in found if isinstance(each, Rule)), key=lambda each: each.code)
    )


RULES = of(folders, files, config, warmup, warmup_files, tensors, acceleration, ensembles, releases)
"""All of them; `docs/reference/lint.md` is written from it."""
