"""A module in another precision than its author's: half to be served, float64 to measure with.

Nothing rewrites a graph: PyTorch itself computes in half precision and is exported so. That is
also what TensorRT wants, which takes precision from the graph.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from contract.samples import Tensors
from generator.errors import StageRefused
from generator.exporters.outputs import named_outputs
from generator.recipe import ModelRecipe

_WIDE = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}
_CASTS = (torch.Tensor.half, torch.Tensor.bfloat16, torch.Tensor.float)


class Halved(torch.nn.Module):
    """`module`, which is in half precision, with casts at the border."""

    def __init__(
        self, module: torch.nn.Module, model: ModelRecipe, dtypes: tuple[torch.dtype, ...]
    ) -> None:
        super().__init__()
        self.module = module
        self.model = model
        self.dtypes = dtypes

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        answer = self.module(*(_cast(each, torch.float16) for each in inputs))
        outputs = named_outputs(self.model, answer)
        return tuple(each.to(dtype) for each, dtype in zip(outputs, self.dtypes, strict=True))


def halved(module: torch.nn.Module, model: ModelRecipe, answers: Tensors) -> torch.nn.Module:
    """A copy in half precision that takes and gives what `module` does, in dtypes of `answers`.

    Raises:
        StageRefused: it cannot be copied.
    """
    dtypes = tuple(getattr(torch, answers[name].dtype.name) for name in model.output_names)
    return Halved(_copied(module, torch.float16), model, dtypes).eval()


def widened(module: torch.nn.Module) -> torch.nn.Module:
    """A copy in float64.

    Raises:
        StageRefused: it cannot be copied.
    """
    return _copied(module, torch.float64)


@contextmanager
def half_by_default() -> Iterator[None]:
    """While a halved module runs or is exported: tensors that its code makes are half, too."""
    with _default(torch.float16):
        yield


@contextmanager
def float64_by_default() -> Iterator[None]:
    """While a widened module runs: what its code makes is float64, too, whatever it asks for."""
    with _default(torch.float64), _Widening():
        yield


class _Widening(TorchFunctionMode):
    """Code that asks for a narrower type by name gets the wide one: `mask.float()`."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        wanted = torch.Tensor.double if func in _CASTS else func
        named = {key: _widen(value) for key, value in (kwargs or {}).items()}
        return wanted(*map(_widen, args), **named)


class _Copying(TorchFunctionMode):
    """Tensors that are no parameters are copied in `dtype`, and without what they came from."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.Tensor.__deepcopy__:
            return _cast(args[0].detach().clone(), self._dtype)
        return func(*args, **(kwargs or {}))


def _copied(module: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    try:
        with _Copying(dtype):
            return copy.deepcopy(module).to(dtype)
    # What is in the module is its author's, and so is what copying it raises.
    except Exception as error:
        raise StageRefused(
            f"the module cannot be copied, {type(error).__name__}: {error}; keep locks, files and "
            "the like outside of it"
        ) from error


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def _widen(value: Any) -> Any:
    return _WIDE.get(value, value) if isinstance(value, torch.dtype) else value


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
