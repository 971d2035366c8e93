"""A folder in the layout of Hugging Face, through `transformers`.

Nothing is fetched, no code of the folder runs, and no pickle is read.
"""

import inspect
from pathlib import Path
from typing import Any

import torch

from contract.strict import nearest
from generator.errors import StageRefused
from generator.exporters.precision import has_bfloat16
from generator.recipe import ModelRecipe
from generator.worker import shorten


class ByKeyword(torch.nn.Module):
    """Passes its inputs on by name and returns what the model does, as a dict."""

    def __init__(self, model: torch.nn.Module, names: list[str]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        answer = self.model(**dict(zip(self.names, inputs, strict=True)), return_dict=True)
        return {name: value for name, value in answer.items() if torch.is_tensor(value)}


def load(recipe: ModelRecipe, place: str, parent: Path) -> torch.nn.Module:
    """The model of the folder `place` in eval state, in float32 or as saved in bfloat16.

    Raises:
        StageRefused: `transformers` is not installed, it does not load the folder, weights are
            missing, or the model takes other inputs than the recipe names.
    """
    folder = parent / place
    if not (folder / "config.json").is_file():
        raise StageRefused(f"huggingface {folder} has no config.json; name a model's folder")
    if not any(folder.glob("*.safetensors")):
        raise StageRefused(
            f"huggingface {folder} holds no .safetensors; a pytorch_model.bin is pickle, which "
            "could run anything, and is not read: model.save_pretrained(folder) writes safetensors"
        )
    model, missing = _from_pretrained(recipe, folder)
    if missing:
        raise StageRefused(
            f"huggingface {folder} has no weights for {', '.join(missing)}, which would be random; "
            f"{type(model).__name__} is not what was saved: write args: {{class: ...}}"
        )
    known = inspect.signature(model.forward).parameters
    for spec in recipe.inputs:
        if spec.name not in known:
            raise StageRefused(
                f"{type(model).__name__} takes no input {spec.name!r}; {nearest(spec.name, known)}"
            )
    names = [spec.name for spec in recipe.inputs]
    # The exporter makes float32 of bfloat16, whatever the source, and tells of it.
    served = model if has_bfloat16(model) else model.float()
    return ByKeyword(served, names).eval()


def _from_pretrained(recipe: ModelRecipe, folder: Path) -> tuple[torch.nn.Module, list[str]]:
    try:
        import transformers  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise StageRefused(
            f"huggingface {folder}: transformers is not installed; "
            "pip install 'pilotlight[huggingface]'"
        ) from error
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **local)
        name = str(recipe.args.get("class") or next(iter(config.architectures or ()), "AutoModel"))
        model, info = getattr(transformers, name).from_pretrained(
            folder, **local, use_safetensors=True, output_loading_info=True
        )
    # What a folder can be broken like has no common root below Exception.
    except Exception as error:
        raise StageRefused(
            f"transformers does not load {folder}: {type(error).__name__}: {shorten(str(error))}"
        ) from error
    return model, sorted(info["missing_keys"])
