"""`models.yaml`: which models to build, and how.

`document`  the file as a whole
`model`     one version of one model: from what, in which shapes, how warm
`source`    where a model comes from
`tensors`   inputs and outputs, dynamic dimensions, where values come from
`formats`   ONNX, half precision, TensorRT
`serving`   instances, batching, sequences, variants
`ensemble`  models chained into one
"""

from generator.recipe.document import Recipe, load_recipe
from generator.recipe.ensemble import EnsembleRecipe, Step
from generator.recipe.model import ModelRecipe
from generator.recipe.serving import Batching, InstanceGroup, Sequence, Target, Variant
from generator.recipe.tensors import Dim, Input, Output

__all__ = [
    "Batching",
    "Dim",
    "EnsembleRecipe",
    "Input",
    "InstanceGroup",
    "ModelRecipe",
    "Output",
    "Recipe",
    "Sequence",
    "Step",
    "Target",
    "Variant",
    "load_recipe",
]
