"""The model as its author wrote it: import, construct, load weights."""

import importlib
import importlib.util
import sys
import sysconfig
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import torch
from torch.nn.parameter import is_lazy

from contract.manifest import sha256_of
from contract.strict import nearest
from generator.errors import StageRefused
from generator.exporters.failures import FAULTS, blame
from generator.exporters.weights import load_weights
from generator.recipe import ModelRecipe
from generator.recipe.source import module_files


def construct(model: ModelRecipe, source: str, folder: Path) -> torch.nn.Module:
    """Call the recipe's callable and load its weights.

    Raises:
        StageRefused: no such module or callable, it raised, what it returned is no module in
            eval state on the CPU, or the weights are not its.
    """
    create = _callable(source, folder)
    torch.manual_seed(model.seed)
    try:
        module = create(**model.args)
    except FAULTS as error:
        raise StageRefused(f"{source} called with {model.args} raised {blame(error)}") from error
    if not isinstance(module, torch.nn.Module):
        raise StageRefused(f"{source} returned {type(module).__name__}, not a torch.nn.Module")
    if wrong := next(_wrong_parts(module), None) or next(_wrong_tensors(module), None):
        raise StageRefused(f"{source} returned {wrong}")
    if model.weights:
        load_weights(module, folder / model.weights)
    return module


def _wrong_parts(module: torch.nn.Module) -> Iterator[str]:
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            yield (
                f"TorchScript ({part.original_name}), which PyTorch does not export; return the "
                "module that it was made of"
            )
        elif part.training:
            yield "a module in training state; call .eval() on it"


def _wrong_tensors(module: torch.nn.Module) -> Iterator[str]:
    for name, tensor in chain(module.named_parameters(), module.named_buffers()):
        if is_lazy(tensor):
            yield f"a module whose {name} has no shape yet; call it once with an example before"
        elif tensor.device.type != "cpu":
            yield (
                f"a module whose {name} is on {tensor.device}; create it on the CPU: models are "
                "exported and checked there"
            )


def source_hashes(folder: Path) -> dict[str, str]:
    """Hashes of the imported Python files below `folder`, installed packages left out.

    The folder itself may be in one: the example is.
    """
    roots = [sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib")]
    installed = [root for root in roots if not folder.is_relative_to(root)]
    found = {}
    for loaded in list(sys.modules.values()):
        path = Path(getattr(loaded, "__file__", None) or "")
        if path.is_relative_to(folder) and not any(path.is_relative_to(root) for root in installed):
            found[path.relative_to(folder).as_posix()] = sha256_of(path)
    return dict(sorted(found.items()))


def _callable(source: str, folder: Path) -> Callable[..., object]:
    name, _, attribute = source.partition(":")
    candidates = module_files(source, folder)
    sys.path.insert(0, str(folder))
    try:
        module = importlib.import_module(name)
    except FAULTS as error:
        raise StageRefused(f"source {source}: importing {name} raised {blame(error)}") from error
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
