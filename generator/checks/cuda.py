"""The first GPU, through the driver's C API: what it is, and memory that it shares with the CPU.

The driver is the one library that every machine with a GPU has; TensorRT brings no way to
allocate memory from Python.
"""

import ctypes
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from generator.errors import StageRefused

_LIBRARY = "libcuda.so.1"
_ATTACH_GLOBAL = 1
_COMPUTE_CAPABILITY_MAJOR = 75
_COMPUTE_CAPABILITY_MINOR = 76
_NAME_BYTES = 256

Allocate = Callable[[Sequence[int], npt.DTypeLike], npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """`compute_capability` is like "9.0"."""

    name: str
    compute_capability: str


class Driver:
    """The driver with the first GPU's context current in this thread."""

    def __init__(self) -> None:
        """Find the GPU.

        Raises:
            StageRefused: there is no driver, or it has no GPU.
        """
        self._library = _load_library()
        self._device = ctypes.c_int()
        context = ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
        self._call("cuCtxSetCurrent", context)

    def gpu(self) -> Gpu:
        name = ctypes.create_string_buffer(_NAME_BYTES)
        self._call("cuDeviceGetName", name, _NAME_BYTES, self._device)
        major, minor = map(self._attribute, (_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR))
        return Gpu(name=name.value.decode(), compute_capability=f"{major}.{minor}")

    @contextmanager
    def shared_memory(self) -> Iterator[Allocate]:
        """Arrays that both GPU and CPU read and write; all are gone at the end."""
        addresses: list[ctypes.c_void_p] = []

        def allocate(shape: Sequence[int], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
            needed = math.prod(shape) * np.dtype(dtype).itemsize
            address = ctypes.c_void_p()
            size = ctypes.c_size_t(max(1, needed))
            self._call("cuMemAllocManaged", ctypes.byref(address), size, _ATTACH_GLOBAL)
            addresses.append(address)
            memory = (ctypes.c_uint8 * needed).from_address(address.value or 0)
            return np.ctypeslib.as_array(memory).view(dtype).reshape(shape)

        try:
            yield allocate
        finally:
            for address in addresses:
                self._call("cuMemFree_v2", address)

    def wait(self) -> None:
        """Until the GPU has done all that it was given."""
        self._call("cuCtxSynchronize")

    def _attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), which, self._device)
        return value.value

    def _call(self, function: str, *arguments: object) -> None:
        if code := getattr(self._library, function)(*arguments):
            raise StageRefused(f"the NVIDIA driver answers {function} with error {code}")


def _load_library() -> Any:
    try:
        return ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise StageRefused(f"there is no NVIDIA driver here: {error}") from error
