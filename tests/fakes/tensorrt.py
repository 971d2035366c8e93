"""TensorRT 11 and the NVIDIA driver, as far as plans need them; ONNX Runtime computes.

A plan is the ONNX model with what the builder was asked. The signatures are those of the bindings.
"""

import ctypes
import enum
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

__version__ = "11.4.0.106"

_TYPES = {"tensor(float)": "FLOAT", "tensor(int64)": "INT64"}
_NUMPY = {"FLOAT": np.float32, "INT64": np.int64}


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 0


class BuilderFlag(enum.Enum):
    TF32 = "TF32"
    VERSION_COMPATIBLE = "VERSION_COMPATIBLE"


class HardwareCompatibilityLevel(enum.Enum):
    NONE = "NONE"
    AMPERE_PLUS = "AMPERE_PLUS"
    SAME_COMPUTE_CAPABILITY = "SAME_COMPUTE_CAPABILITY"


class MemoryPoolType(enum.Enum):
    WORKSPACE = "WORKSPACE"


class TensorIOMode(enum.Enum):
    INPUT = "INPUT"
    OUTPUT = "OUTPUT"


class Logger:
    WARNING = 2

    def __init__(self, severity: int) -> None:
        self.severity = severity


class TimingCache:
    def __init__(self, timings: bytes) -> None:
        self.timings = timings

    def serialize(self) -> bytes:
        return self.timings


class OptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[list[int]]] = {}

    def set_shape(
        self, name: str, smallest: Sequence[int], usual: Sequence[int], largest: Sequence[int]
    ) -> None:
        self.shapes[name] = [list(smallest), list(usual), list(largest)]


class BuilderConfig:
    def __init__(self) -> None:
        self.builder_optimization_level = 3
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.flags = {BuilderFlag.TF32}
        self.limits: dict[MemoryPoolType, int] = {}
        self.profiles: list[OptimizationProfile] = []
        self.timings = TimingCache(b"")

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self.limits[pool] = pool_size

    def add_optimization_profile(self, profile: OptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> TimingCache:
        return TimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: TimingCache, ignore_mismatch: bool) -> bool:  # noqa: FBT001
        assert not ignore_mismatch
        self.timings = cache
        return True

    def get_timing_cache(self) -> TimingCache:
        return self.timings


class Network:
    def __init__(self) -> None:
        self.model: onnx.ModelProto | None = None


class OnnxParser:
    def __init__(self, network: Network, logger: Logger) -> None:
        self._network = network
        self._errors: list[str] = []

    def parse_from_file(self, model: str) -> bool:
        parsed = onnx.load(model)
        self._errors = [
            f"no importer for {node.op_type}"
            for node in parsed.graph.node
            if node.op_type == "NonZero"
        ]
        self._network.model = parsed
        return not self._errors

    def get_error(self, index: int) -> Any:
        return SimpleNamespace(desc=lambda: self._errors[index])


class Builder:
    def __init__(self, logger: Logger) -> None:
        self.built = 0

    def create_network(self, flags: int = 0) -> Network:
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return Network()

    def create_builder_config(self) -> BuilderConfig:
        return BuilderConfig()

    def create_optimization_profile(self) -> OptimizationProfile:
        return OptimizationProfile()

    def build_serialized_network(self, network: Network, config: BuilderConfig) -> bytes | None:
        assert network.model
        config.timings.timings += b"measured;"
        asked = {
            "flags": sorted(flag.value for flag in config.flags),
            "hardware": config.hardware_compatibility_level.value,
            "level": config.builder_optimization_level,
            "limits": {pool.value: size for pool, size in config.limits.items()},
            "profiles": [profile.shapes for profile in config.profiles],
        }
        return json.dumps(asked).encode() + b"\0" + network.model.SerializeToString()


def asked_of(plan: Path) -> Any:
    """What the builder of a plan was asked."""
    return json.loads(plan.read_bytes().partition(b"\0")[0])


class Runtime:
    def __init__(self, logger: Logger) -> None:
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "CudaEngine | None":
        asked, separator, model = serialized_engine.partition(b"\0")
        return CudaEngine(json.loads(asked), model) if separator else None


class CudaEngine:
    def __init__(self, asked: Any, model: bytes) -> None:
        self.asked = asked
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        inputs = {node.name: node for node in self.session.get_inputs()}
        self.nodes = inputs | {node.name: node for node in self.session.get_outputs()}
        self._inputs = set(inputs)

    @property
    def num_io_tensors(self) -> int:
        return len(self.nodes)

    def get_tensor_name(self, index: int) -> str:
        return list(self.nodes)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(size if isinstance(size, int) else -1 for size in self.nodes[name].shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return SimpleNamespace(name=_TYPES[self.nodes[name].type])

    def create_execution_context(self) -> "ExecutionContext":
        return ExecutionContext(self)


class ExecutionContext:
    def __init__(self, engine: CudaEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        (profile,) = self._engine.asked["profiles"]
        smallest, _, largest = profile[name]
        self._shapes[name] = tuple(shape)
        bounds = zip(smallest, shape, largest, strict=True)
        return all(low <= size <= high for low, size, high in bounds)

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        zeros = {each: np.zeros(shape, self._dtype(each)) for each, shape in self._shapes.items()}
        (answer,) = self._engine.session.run([name], zeros)
        return tuple(answer.shape)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        inputs = {name: self._memory(name, shape) for name, shape in self._shapes.items()}
        names = [name for name in self._addresses if name not in inputs]
        for name, answer in zip(names, self._engine.session.run(names, inputs), strict=True):
            self._memory(name, answer.shape)[...] = answer
        return True

    def _memory(self, name: str, shape: Sequence[int]) -> Any:
        dtype = np.dtype(self._dtype(name))
        size = int(np.prod(shape)) * dtype.itemsize
        memory = (ctypes.c_uint8 * size).from_address(self._addresses[name])
        return np.frombuffer(memory, dtype).reshape(shape)

    def _dtype(self, name: str) -> type[np.generic]:
        return _NUMPY[self._engine.get_tensor_dtype(name).name]


class DriverLibrary:
    """`libcuda.so.1`: memory of the CPU stands in for the GPU's. `held` are its allocations."""

    def __init__(self) -> None:
        self.held: dict[int, Any] = {}
        self.cuInit = self.cuDeviceGet = self.cuDevicePrimaryCtxRetain = _succeed
        self.cuCtxSetCurrent = self.cuCtxSynchronize = _succeed
        self.cuDeviceGetName = self._name
        self.cuDeviceGetAttribute = self._attribute
        self.cuMemAllocManaged = self._allocate
        self.cuMemFree_v2 = self._free

    def _name(self, name: Any, _length: int, _device: Any) -> int:
        name.value = b"NVIDIA Fake"
        return 0

    def _attribute(self, value: Any, which: int, _device: Any) -> int:
        value._obj.value = {75: 9, 76: 0}[which]
        return 0

    def _allocate(self, address: Any, size: Any, _flags: int) -> int:
        memory = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(memory)
        self.held[address._obj.value] = memory
        return 0

    def _free(self, address: Any) -> int:
        del self.held[address.value]
        return 0


def _succeed(*_: Any) -> int:
    return 0
