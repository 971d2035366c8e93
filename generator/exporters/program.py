"""A program that `torch.export.save` wrote."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.export import ExportedProgram
from torch.export.pt2_archive import PT2ArchiveReader
from torch.export.pt2_archive.constants import (
    AOTINDUCTOR_DIR,
    CONSTANTS_DIR,
    CUSTOM_OBJ_FILENAME_PREFIX,
    OPAQUE_OBJ_FILENAME_PREFIX,
)

from generator.errors import StageRefused
from generator.exporters.precision import served_dtype
from generator.recipe import Input, ModelRecipe
from generator.worker import shorten

# What `torch.export.load` unpickles, or loads as machine code (`torch.export.pt2_archive`).
_RUNS_CODE = {
    AOTINDUCTOR_DIR: "compiled code",
    CONSTANTS_DIR + CUSTOM_OBJ_FILENAME_PREFIX: "a pickled object",
    CONSTANTS_DIR + OPAQUE_OBJ_FILENAME_PREFIX: "a pickled object",
}
_DTYPE_ASSERTION = torch.ops.aten._assert_tensor_metadata.default  # noqa: SLF001  (an operator)
# Exporting with example sizes of 2 gives this lower bound, which the program does not check.
_UNCHECKED_MIN = 2

_Range = tuple[int, int]


def load(model: ModelRecipe, file: str, folder: Path) -> torch.nn.Module:
    """The program as a module that takes the recipe's inputs.

    Raises:
        StageRefused: unreadable, it holds pickled objects, or takes other inputs than the recipe
            says.
    """
    path = folder / file
    _refuse_code(path)
    # The loader asks for pickle where a tensor is of a subclass; this overrules it.
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        program = torch.export.load(path)
    # What a file can be broken like has no common root below Exception.
    except Exception as error:
        raise StageRefused(
            f"program {path} cannot be loaded: {type(error).__name__}: {shorten(str(error))}; "
            "write it again: torch.export.save(torch.export.export(model, ...), path)"
        ) from error
    if wrong := _differences(model, program):
        raise StageRefused(f"program {path} and the recipe disagree: {'; '.join(wrong)}")
    module = program.module()
    _drop_dtype_assertions(module)
    # `eval()` is refused by an exported module: what it does in training was decided at export.
    for part in module.modules():
        part.training = False
    return module


def _refuse_code(path: Path) -> None:
    try:
        names = PT2ArchiveReader(str(path)).get_file_names()
    except RuntimeError as error:
        raise StageRefused(
            f"program {path} is no archive of torch.export.save, or cut off: {shorten(str(error))}"
        ) from error
    for name in names:
        for prefix, what in _RUNS_CODE.items():
            if name.startswith(prefix):
                raise StageRefused(
                    f"program {path} holds {what} ({name}), which could run anything when it is "
                    "loaded; export a module that is made of tensors only"
                )


def _drop_dtype_assertions(module: torch.nn.Module) -> None:
    """They would keep the module from running in float64, which calibrates its tolerance."""
    for part in module.modules():
        if isinstance(part, torch.fx.GraphModule):
            for node in part.graph.find_nodes(op="call_function", target=_DTYPE_ASSERTION):
                part.graph.erase_node(node)
            part.recompile()


def _differences(model: ModelRecipe, program: ExportedProgram) -> list[str]:
    placeholders = {node.name: node for node in program.graph.find_nodes(op="placeholder")}
    taken = program.graph_signature.user_inputs
    tensors = [placeholders[name].meta["val"] for name in taken if isinstance(name, str)]
    if len(tensors) < len(taken) or not all(map(torch.is_tensor, tensors)):
        return ["the program takes something else than tensors; export it without that"]
    if len(tensors) != len(model.inputs):
        return [f"the program takes {len(tensors)} inputs, the recipe names {len(model.inputs)}"]
    found = []
    for spec, tensor in zip(model.inputs, tensors, strict=True):
        wanted = _wanted_ranges(model, spec)
        there = [_range(program, size) for size in tensor.shape]
        dtype = getattr(torch, spec.dtype.numpy.name)
        if (
            served_dtype(tensor.dtype) != dtype
            or len(there) != len(wanted)
            or not all(map(_covers, there, wanted))
        ):
            found.append(
                f"input {spec.name} is {_text(there)} of {tensor.dtype} in the program, the recipe "
                f"says {_text(wanted)} of {dtype}"
            )
    return found


def _wanted_ranges(model: ModelRecipe, spec: Input) -> list[_Range]:
    batch = [(1, model.max_batch_size)] if model.max_batch_size else []
    sizes = [model.dims[size] if isinstance(size, str) else size for size in spec.shape]
    return batch + [
        (size, size) if isinstance(size, int) else (size.min, size.max) for size in sizes
    ]


def _range(program: ExportedProgram, size: int | torch.SymInt) -> _Range:
    if isinstance(size, int):
        return size, size
    # By text: the symbol of a product is no longer the same one after loading.
    known = {str(symbol): found for symbol, found in program.range_constraints.items()}
    found = known[str(size)]
    lower = 1 if found.lower <= _UNCHECKED_MIN else int(found.lower)
    return lower, int(min(found.upper, sys.maxsize))


def _covers(there: _Range, wanted: _Range) -> bool:
    return there[0] <= wanted[0] and wanted[1] <= there[1]


def _text(ranges: Sequence[_Range]) -> str:
    sizes = (str(low) if low == high else f"{low}..{high}" for low, high in ranges)
    return f"[{', '.join(sizes).replace(str(sys.maxsize), '')}]"
