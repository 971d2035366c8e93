"""TensorRT is not on our machines: its names are checked, and how the lack of it is told."""

import ast
import inspect
from pathlib import Path

import pytest

from generator.checks import cuda, engine
from generator.errors import StageRefused
from generator.exporters import tensorrt
from generator.reports.convert import BuilderJob

# Found with their signatures in tensorrt_cu12_bindings 10.16.1.11 and tensorrt_cu13_bindings
# 11.4.0.106, which import where libraries stand in for TensorRT's own that hold nothing but its
# ten C functions.
_NAMES = {
    "trt": {
        "Builder",
        "BuilderFlag",
        "HardwareCompatibilityLevel",
        "Logger",
        "MemoryPoolType",
        "NetworkDefinitionCreationFlag",
        "OnnxParser",
        "Runtime",
        "TensorIOMode",
        "__version__",
    },
    "trt.BuilderFlag": {"TF32", "VERSION_COMPATIBLE"},
    "trt.HardwareCompatibilityLevel": {"AMPERE_PLUS", "NONE", "SAME_COMPUTE_CAPABILITY"},
    "trt.Logger": {"WARNING"},
    "trt.MemoryPoolType": {"WORKSPACE"},
    "trt.NetworkDefinitionCreationFlag": {"STRONGLY_TYPED"},
    "trt.TensorIOMode": {"INPUT"},
    "builder": {
        "build_serialized_network",
        "create_builder_config",
        "create_network",
        "create_optimization_profile",
    },
    "config": {
        "add_optimization_profile",
        "builder_optimization_level",
        "clear_flag",
        "create_timing_cache",
        "get_timing_cache",
        "hardware_compatibility_level",
        "set_flag",
        "set_memory_pool_limit",
        "set_timing_cache",
    },
    "config.get_timing_cache()": {"serialize"},
    "parser": {"get_error", "parse_from_file"},
    "parser.get_error()": {"desc"},
    "ranges": {"set_shape"},
    "runtime": {"deserialize_cuda_engine", "engine_host_code_allowed"},
    "self._context": {
        "execute_async_v3",
        "get_tensor_shape",
        "set_input_shape",
        "set_tensor_address",
    },
    "self._engine": {
        "create_execution_context",
        "get_tensor_dtype",
        "get_tensor_mode",
        "get_tensor_name",
        "get_tensor_shape",
        "num_io_tensors",
    },
    "self._engine.get_tensor_dtype()": {"name"},
}


def called_names() -> dict[str, set[str]]:
    """Attributes of TensorRT's objects in our code, by the expression that they are asked of."""
    found: dict[str, set[str]] = {}
    for module in (tensorrt, engine):
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Attribute):
                owner = written(node.value)
                if owner in _NAMES or owner.partition(".")[0] in _NAMES:
                    found.setdefault(owner, set()).add(node.attr)
    return found


def written(node: ast.expr) -> str:
    """An expression as code, calls without their arguments."""
    return f"{written(node.func)}()" if isinstance(node, ast.Call) else _attribute(node)


def _attribute(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{written(node.value)}.{node.attr}"
    return ast.unparse(node)


def test_only_names_that_both_tensorrt_10_and_11_have_are_called() -> None:
    called = called_names()
    called["trt.HardwareCompatibilityLevel"] = set(tensorrt._HARDWARE.values())

    assert called == _NAMES


@pytest.fixture
def tensorrt_without_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `pip install tensorrt` leaves where only the bindings can be had."""
    (tmp_path / "tensorrt.py").write_text(
        'raise ImportError("libnvonnxparser.so.11: cannot open shared object file")'
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("tensorrt_without_libraries")
def test_a_missing_library_is_named_with_both_remedies() -> None:
    with pytest.raises(StageRefused) as refused:
        tensorrt.builder_here(BuilderJob())

    said = str(refused.value)
    assert said.startswith("TensorRT is not here: libnvonnxparser.so.11: cannot open shared object")
    assert "pip install 'pilotlight[trt]'" in said
    assert "format: onnx-tensorrt" in said


def test_a_machine_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_LIBRARY", "libcuda-of-nobody.so.1")

    with pytest.raises(StageRefused, match="there is no NVIDIA driver here: libcuda-of-nobody"):
        cuda.Driver()
