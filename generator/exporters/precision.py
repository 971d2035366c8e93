"""A module in another precision than its author's: half to be served, float64 to measure with.

And float32 in place of bfloat16, which Triton's ONNX Runtime backend neither takes nor gives, and
for which ONNX Runtime has hardly a kernel for CPUs. float32 holds each bfloat16 exactly.

Nothing rewrites a graph: PyTorch itself computes in the other precision and is exported so. That
is also what TensorRT wants, which takes precision from the graph.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from contract.samples import Tensors
from generator.errors import StageRefused
from generator.exporters.outputs import named_outputs
from generator.recipe import ModelRecipe

_Dtypes = Mapping[torch.dtype, torch.dtype]

_IN_FLOAT32: _Dtypes = {torch.bfloat16: torch.float32}
_IN_HALF: _Dtypes = dict.fromkeys((torch.bfloat16, torch.float32, torch.float64), torch.float16)
_IN_FLOAT64: _Dtypes = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex64: torch.complex128,
}
_CASTS: Mapping[torch.dtype, Callable[..., Any]] = {
    torch.float16: torch.Tensor.half,
    torch.bfloat16: torch.Tensor.bfloat16,
    torch.float32: torch.Tensor.float,
    torch.float64: torch.Tensor.double,
}


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
        answer = self.module(*(_cast(each, _IN_HALF) for each in inputs))
        outputs = named_outputs(self.model, answer)
        return tuple(each.to(dtype) for each, dtype in zip(outputs, self.dtypes, strict=True))


def served_dtype(dtype: torch.dtype) -> torch.dtype:
    """What clients send for it and receive: float32 for bfloat16, others as they are."""
    return _IN_FLOAT32.get(dtype, dtype)


def has_bfloat16(module: torch.nn.Module) -> bool:
    return any(tensor.dtype is torch.bfloat16 for tensor in _tensors(module))


def in_float32(module: torch.nn.Module) -> torch.nn.Module:
    """A copy with float32 in place of bfloat16.

    Raises:
        StageRefused: it cannot be copied.
    """
    return _copied(module, _IN_FLOAT32)


def halved(module: torch.nn.Module, model: ModelRecipe, answers: Tensors) -> torch.nn.Module:
    """A copy in half precision that takes and gives what `module` does, in dtypes of `answers`.

    Raises:
        StageRefused: it cannot be copied.
    """
    dtypes = tuple(getattr(torch, answers[name].dtype.name) for name in model.output_names)
    return Halved(_copied(module, _IN_HALF), model, dtypes).eval()


def widened(module: torch.nn.Module) -> torch.nn.Module:
    """A copy in float64.

    Raises:
        StageRefused: it cannot be copied.
    """
    return _copied(module, _IN_FLOAT64)


@contextmanager
def float32_for_bfloat16() -> Iterator[None]:
    """While a module `in_float32` runs or is exported: its code may ask for bfloat16 by name."""
    with _default(torch.float32), _Recasting(_IN_FLOAT32):
        yield


@contextmanager
def half_by_default() -> Iterator[None]:
    """While a halved module runs or is exported: tensors that its code makes are half, too.

    Those that it asks for in bfloat16 are, and those in float32 are not: its author may mean it.
    """
    with _default(torch.float16), _Recasting({torch.bfloat16: torch.float16}):
        yield


@contextmanager
def float64_by_default() -> Iterator[None]:
    """While a widened module runs: what its code makes is float64, too, whatever it asks for."""
    with _default(torch.float64), _Recasting(_IN_FLOAT64):
        yield


class _Recasting(TorchFunctionMode):
    """Code that asks for a dtype by name gets the one in its place: `mask.float()`."""

    def __init__(self, dtypes: _Dtypes) -> None:
        super().__init__()
        self._dtypes = dtypes
        self._casts = {
            cast: _CASTS[dtypes[dtype]] for dtype, cast in _CASTS.items() if dtype in dtypes
        }

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        wanted = self._casts.get(func, func)
        named = {key: self._recast(value) for key, value in (kwargs or {}).items()}
        return wanted(*map(self._recast, args), **named)

    def _recast(self, value: Any) -> Any:
        return self._dtypes.get(value, value) if isinstance(value, torch.dtype) else value


class _Copying(TorchFunctionMode):
    """Tensors that are no parameters are copied recast, and without what they came from."""

    def __init__(self, dtypes: _Dtypes) -> None:
        super().__init__()
        self._dtypes = dtypes

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is torch.Tensor.__deepcopy__:
            return _cast(args[0].detach().clone(), self._dtypes)
        return func(*args, **(kwargs or {}))


def _copied(module: torch.nn.Module, dtypes: _Dtypes) -> torch.nn.Module:
    try:
        with _Copying(dtypes):
            copied = copy.deepcopy(module)
    # What is in the module is its author's, and so is what copying it raises.
    except Exception as error:
        raise StageRefused(
            f"the module cannot be copied, {type(error).__name__}: {error}; keep locks, files and "
            "the like outside of it"
        ) from error
    for tensor in _tensors(copied):
        tensor.data = _cast(tensor.data, dtypes)
    return copied


def _tensors(module: torch.nn.Module) -> Iterator[torch.Tensor]:
    return chain(module.parameters(), module.buffers())


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def _cast(tensor: torch.Tensor, dtypes: _Dtypes) -> torch.Tensor:
    return tensor.to(dtypes.get(tensor.dtype, tensor.dtype))
