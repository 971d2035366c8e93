"""Which backend a model is for, and what that opens: as Triton tells where nothing is said."""

PLATFORMS = {
    "onnxruntime_onnx": "onnxruntime",
    "tensorrt_plan": "tensorrt",
    "pytorch_libtorch": "pytorch",
    "tensorflow_savedmodel": "tensorflow",
    "tensorflow_graphdef": "tensorflow",
}
"""Backends by platform; others take any platform."""
FILES = {
    "model.savedmodel": "tensorflow",
    "model.graphdef": "tensorflow",
    "model.plan": "tensorrt",
    "model.onnx": "onnxruntime",
    "model.xml": "openvino",
    "model.pt": "pytorch",
    "model.py": "python",
}
"""Backends by file, in the order in which Triton looks for one."""
USUAL_FILE = {backend: name for name, backend in reversed(FILES.items())}
"""By backend, what it opens where a config names no file."""
