"""A TensorRT plan, with the methods of an ONNX Runtime session that the checks call."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from generator.checks.cuda import Driver
from generator.errors import StageRefused

REMEDY = (
    "build where a GPU like the serving one is, in NVIDIA's TensorRT container or after "
    "`pip install 'pilotlight[trt]'`, or write format: onnx-tensorrt, for which the server builds "
    "the engine"
)
# TensorRT's names of types: ONNX Runtime's, numpy's.
_TYPES: dict[str, tuple[str, type[np.generic]]] = {
    "FLOAT": ("tensor(float)", np.float32),
    "HALF": ("tensor(float16)", np.float16),
    "INT8": ("tensor(int8)", np.int8),
    "UINT8": ("tensor(uint8)", np.uint8),
    "INT32": ("tensor(int32)", np.int32),
    "INT64": ("tensor(int64)", np.int64),
    "BOOL": ("tensor(bool)", np.bool_),
}
_DEFAULT_STREAM = 0


def import_tensorrt() -> Any:
    """The module, which is only there where somebody builds plans.

    Raises:
        StageRefused: it or one of its libraries is missing.
    """
    try:
        return importlib.import_module("tensorrt")
    except ImportError as error:
        raise StageRefused(f"TensorRT is not here: {error}; {REMEDY}") from error


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output, as `onnxruntime.NodeArg`; -1 where a dimension varies."""

    name: str
    type: str
    shape: list[int]


class PlanSession:
    """A plan on the first GPU. Inputs and outputs lie in memory that the GPU shares."""

    def __init__(self, plan: Path) -> None:
        """Load a plan.

        Raises:
            StageRefused: no TensorRT, no GPU, or this TensorRT does not load it here.
        """
        trt = import_tensorrt()
        self._driver = Driver()
        runtime = trt.Runtime(trt.Logger(trt.Logger.WARNING))
        # What a version-compatible plan brings along; ours, built a moment ago.
        runtime.engine_host_code_allowed = True
        self._engine = runtime.deserialize_cuda_engine(plan.read_bytes())
        self._context = self._engine and self._engine.create_execution_context()
        if self._context is None:
            raise StageRefused(
                f"TensorRT {trt.__version__} does not load {plan.name}: it was built by another "
                "TensorRT or for another GPU, or the GPU's memory is full"
            )
        tensors = range(self._engine.num_io_tensors)
        names = [self._engine.get_tensor_name(index) for index in tensors]
        inputs = {name for name in names if self._mode(name) == trt.TensorIOMode.INPUT}
        self._inputs = [self._describe(name) for name in names if name in inputs]
        self._outputs = [self._describe(name) for name in names if name not in inputs]

    def get_inputs(self) -> list[Tensor]:
        return self._inputs

    def get_outputs(self) -> list[Tensor]:
        return self._outputs

    def run(
        self, names: Sequence[str], inputs: Mapping[str, NDArray[np.generic]]
    ) -> list[NDArray[np.generic]]:
        """Outputs by name.

        Raises:
            StageRefused: a shape is outside of the plan's profile, or the GPU fails.
        """
        with self._driver.shared_memory() as allocate:
            for name, array in inputs.items():
                if not self._context.set_input_shape(name, array.shape):
                    raise StageRefused(f"input {name} {list(array.shape)} is outside of the plan")
                self._place(name, allocate(array.shape, array.dtype))[...] = array
            answers = {
                tensor.name: self._place(tensor.name, allocate(*self._output_form(tensor.name)))
                for tensor in self._outputs
            }
            if not self._context.execute_async_v3(_DEFAULT_STREAM):
                raise StageRefused("TensorRT does not execute the plan")
            self._driver.wait()
            return [answers[name].copy() for name in names]

    def _place(self, name: str, memory: NDArray[Any]) -> NDArray[Any]:
        self._context.set_tensor_address(name, memory.ctypes.data)
        return memory

    def _output_form(self, name: str) -> tuple[tuple[int, ...], type[np.generic]]:
        return tuple(self._context.get_tensor_shape(name)), self._dtype(name)[1]

    def _describe(self, name: str) -> Tensor:
        return Tensor(name, self._dtype(name)[0], list(self._engine.get_tensor_shape(name)))

    def _dtype(self, name: str) -> tuple[str, type[np.generic]]:
        return _TYPES[self._engine.get_tensor_dtype(name).name]

    def _mode(self, name: str) -> Any:
        return self._engine.get_tensor_mode(name)
