"""A weights file into a module. Nothing is ever unpickled but tensors."""

import pickle
from collections.abc import Collection, Mapping
from pathlib import Path

import torch

from generator.errors import StageRefused
from generator.worker import shorten

_TOLD_NAMES = 3


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Replace all of the module's weights by those of the file.

    Raises:
        StageRefused: missing, cut off, not to be read without pickle, or for another module.
    """
    try:
        if path.suffix == ".safetensors":
            missing, unexpected = _load_safetensors(module, path)
        else:
            missing, unexpected = module.load_state_dict(_read_state_dict(path), strict=False)
    except pickle.UnpicklingError as error:
        raise StageRefused(
            f"weights {path} hold more than tensors, and pickle, which could run anything, is not "
            "used; write them again: torch.save(model.state_dict(), path), or as .safetensors"
        ) from error
    except StageRefused:
        raise
    # Of what reads files and of `load_state_dict`, which lists tensors of another shape.
    except Exception as error:
        raise StageRefused(
            f"weights {path} cannot be loaded: {type(error).__name__}: {shorten(str(error))}"
        ) from error
    if missing or unexpected:
        raise StageRefused(
            f"weights {path} are of another module: {_some('missing', missing)}, "
            f"{_some('unexpected', unexpected)}; look at args, or at a prefix of the names"
        )


def _load_safetensors(module: torch.nn.Module, path: Path) -> tuple[list[str], list[str]]:
    try:
        from safetensors.torch import load_model  # noqa: PLC0415  (an extra)
    except ImportError as error:
        raise StageRefused(
            f"weights {path}: safetensors is not installed; pip install 'pilotlight[huggingface]'"
        ) from error
    missing, unexpected = load_model(module, path, strict=False)
    return missing, unexpected


def _read_state_dict(path: Path) -> Mapping[str, torch.Tensor]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(state, Mapping) or not all(map(torch.is_tensor, state.values())):
        raise StageRefused(
            f"weights {path} hold a {type(state).__name__} and no state dict; write them again: "
            "torch.save(model.state_dict(), path)"
        )
    return state


def _some(what: str, names: Collection[str]) -> str:
    shown = ", ".join(sorted(names)[:_TOLD_NAMES])
    more = ", ..." if len(names) > _TOLD_NAMES else ""
    return f"{len(names)} {what}" + (f" ({shown}{more})" if names else "")
