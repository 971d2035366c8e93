"""The model as its author wrote it: import, construct, load weights."""

import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import torch

from contract.manifest import sha256_of
from contract.strict import nearest
from generator.errors import StageRefused
from generator.recipe import ModelRecipe
from generator.worker import shorten


def construct(model: ModelRecipe, folder: Path) -> torch.nn.Module:
    """Call the recipe's callable and load its weights.

    Raises:
        StageRefused: no such module or callable, it raised, or what it returned is no module
            in eval state.
    """
    create = _callable(model.source, folder)
    torch.manual_seed(model.seed)
    try:
        module = create(**model.args)
        if model.weights and isinstance(module, torch.nn.Module):
            state = torch.load(folder / model.weights, map_location="cpu", weights_only=True)
            module.load_state_dict(state)
    # The author's code may raise anything; it is reported, never passed over.
    except Exception as error:
        raise StageRefused(
            f"{model.source} called with {model.args} raised {type(error).__name__}: "
            f"{shorten(str(error))}"
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise StageRefused(
            f"{model.source} returned {type(module).__name__}, not a torch.nn.Module"
        )
    if any(part.training for part in module.modules()):
        raise StageRefused(
            f"{model.source} returned a module in training state; call .eval() on it"
        )
    return module.requires_grad_(requires_grad=False)


def source_hashes(folder: Path) -> dict[str, str]:
    """Hashes of the imported Python files below `folder`, installed packages left out."""
    installed = [sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib")]
    found = {}
    for loaded in list(sys.modules.values()):
        path = Path(getattr(loaded, "__file__", None) or "")
        if path.is_relative_to(folder) and not any(path.is_relative_to(root) for root in installed):
            found[path.relative_to(folder).as_posix()] = sha256_of(path)
    return dict(sorted(found.items()))


def _callable(source: str, folder: Path) -> Callable[..., object]:
    name, _, attribute = source.partition(":")
    relative = Path(*name.split("."))
    candidates = [folder / relative.with_suffix(".py"), folder / relative / "__init__.py"]
    if not any(path.is_file() for path in candidates):
        raise StageRefused(f"source {source}: there is no {relative}.py in {folder}")
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(name)
    # Whatever importing the author's file raises is reported, never passed over.
    except Exception as error:
        raise StageRefused(
            f"source {source}: importing {name} raised {type(error).__name__}: {error}"
        ) from error
    if Path(str(module.__file__)) not in candidates:
        raise StageRefused(
            f"source {source}: {name} is also the name of {module.__file__}; rename the file"
        )
    create = vars(module).get(attribute)
    if not callable(create):
        known = [key for key, value in vars(module).items() if callable(value)]
        raise StageRefused(
            f"source {source}: {name} has no callable {attribute!r}; {nearest(attribute, known)}"
        )
    return create  # type: ignore[no-any-return]
