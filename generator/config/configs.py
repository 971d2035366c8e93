"""All configs of a version: `config.pbtxt`, and one for each variant. Pure."""

from collections.abc import Callable

from contract.layout import CONFIG, CONFIGS
from generator.accelerators import execution_accelerator
from generator.config.derive import Findings, derive
from generator.config.render import render
from generator.errors import ConfigRefused
from generator.recipe import ModelRecipe, Target, Variant
from generator.recipe.formats import OnnxTensorRT


def configs(
    model: ModelRecipe,
    found: Findings,
    *,
    target: Target,
    release: str,
    hash_graph: Callable[[], str],
) -> dict[str, str]:
    """Texts by their paths in the version folder; each is complete.

    Triton takes `configs/<name>.pbtxt` instead of `config.pbtxt` where it is started with
    `--model-config-name=<name>`, and `config.pbtxt` for models that have no such file.
    `hash_graph` hashes the model file and its weights; it is asked where engines are kept.

    Raises:
        ConfigRefused: the recipe contradicts itself.
    """
    forms = {CONFIG: (model, target)}
    for name, variant in model.variants.items():
        forms[f"{CONFIGS}/{name}.pbtxt"] = _applied(variant, model), variant.target or target
    texts = {}
    for path, (form, where) in forms.items():
        accelerator = None
        if isinstance(form.format, OnnxTensorRT):
            if where == "cpu":
                raise ConfigRefused(
                    f"{model.name}: {path} is of format onnx-tensorrt, which runs on a GPU, and "
                    "its target is cpu; write target: gpu in the variant"
                )
            accelerator = execution_accelerator(form, release, graph_sha256=hash_graph())
        texts[path] = render(derive(form, found, target=where, accelerator=accelerator))
    return texts


def _applied(variant: Variant, model: ModelRecipe) -> ModelRecipe:
    said = {key: value for key, value in variant if value is not None and key != "target"}
    return model.model_copy(update=said)
