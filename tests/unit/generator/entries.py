"""Recipe entries for tests: valid ones, to be changed in one place."""

from typing import Any

from generator.recipe import ModelRecipe

IDS = {"name": "ids", "dtype": "INT64", "shape": [6], "range": [0, 100]}
DENSE = {"name": "dense", "dtype": "FP32", "shape": [13]}
TOKENS = {"name": "tokens", "dtype": "INT64", "shape": ["seq"], "range": [0, 50]}
MASK = {"name": "mask", "dtype": "BOOL", "shape": ["seq"], "fill": "mask"}
SEQ = {"seq": {"min": 1, "opt": 16, "max": 64}}


def raw(**changes: Any) -> dict[str, Any]:
    """A table model as it stands in `models.yaml`."""
    return {
        "name": "ranker",
        "source": "ranker:create",
        "inputs": [DENSE, IDS],
        "outputs": ["score"],
        "max_batch_size": 64,
    } | changes


def entry(**changes: Any) -> ModelRecipe:
    return ModelRecipe.model_validate(raw(**changes))


def sequence(**changes: Any) -> ModelRecipe:
    """A model with a dynamic dimension."""
    return entry(
        **{
            "name": "encoder",
            "inputs": [TOKENS, MASK],
            "dims": SEQ,
            "outputs": ["taste"],
            "max_batch_size": 8,
        }
        | changes
    )
