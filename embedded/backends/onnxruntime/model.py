"""`backend: "onnxruntime"` without NVIDIA's C++ backend: ONNX Runtime in Triton's Python backend.

Triton finds it by its folder's name, so one repository runs here and in NVIDIA's container.
What a config says means what it means there. The differences: CPU only, each instance is a
process of its own, strings must be UTF-8 (ONNX Runtime's Python API exchanges text), and
there is no ragged batch and no sharing of sessions.

It runs in the stub's interpreter and imports nothing of this repository.
"""

# While a config is completed, `pb_utils` lacks most of the classes that annotations name.
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

Config = dict[str, Any]
Tensors = dict[str, np.ndarray]

# `optimization { graph { level } }` as the C++ backend reads it; any other value is "all".
GRAPH_LEVELS = {
    -1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    1: onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
EXECUTION_MODES = {
    "0": onnxruntime.ExecutionMode.ORT_SEQUENTIAL,
    "1": onnxruntime.ExecutionMode.ORT_PARALLEL,
}
# Triton's own default of `--backend-config=default-max-batch-size`.
COMPLETED_MAX_BATCH_SIZE = 4

# gRPC drops an answer whose error text is above 16 KiB, and clients wonder.
LONGEST_ERROR = 4000


class TritonPythonModel:
    """One instance of a model."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: pb_utils.ModelConfig) -> object:
        """Fill in the inputs or outputs that a config leaves out, and then the batch size."""
        config = auto_complete_model_config.as_dict()
        if config["input"] and config["output"]:
            return auto_complete_model_config
        session = open_session(config, version_folder())
        inputs, outputs = session.get_inputs(), session.get_outputs()
        if all(dims_of(tensor)[:1] == [-1] for tensor in (*inputs, *outputs)):
            if config["max_batch_size"] == 0:
                auto_complete_model_config.set_max_batch_size(COMPLETED_MAX_BATCH_SIZE)
            if config["max_batch_size"] > 1 and "sequence_batching" not in config:
                auto_complete_model_config.set_dynamic_batching()
        elif config["max_batch_size"] > 0:
            raise pb_utils.TritonModelException(
                f"model '{config['name']}' cannot batch, for the first dimension of some tensor "
                f"is fixed, but the config says max_batch_size {config['max_batch_size']}"
            )
        for key, tensors in (("input", inputs), ("output", outputs)):
            if not config[key]:
                config[key] = [describe(tensor, config["max_batch_size"]) for tensor in tensors]
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Open the session and refuse a config that contradicts the model."""
        config = json.loads(args["model_config"])
        if args["model_instance_kind"] == "GPU":
            raise pb_utils.TritonModelException(
                f"instance {args['model_instance_name']} wants KIND_GPU, and this server runs "
                "models on CPU only; set KIND_CPU"
            )
        self.batches = config["max_batch_size"] > 0
        self.session = open_session(config, Path(args["model_repository"], args["model_version"]))
        inputs = {tensor.name: tensor for tensor in self.session.get_inputs()}
        outputs = {tensor.name: tensor for tensor in self.session.get_outputs()}
        required = sum(not tensor.get("optional") for tensor in config["input"])
        # The sequence batcher fills these; a config does not list them among its inputs.
        required += len(config.get("sequence_batching", {}).get("control_input", []))
        if len(inputs) != required:
            # Only an initializer can be an optional input: it is the input's default.
            raise pb_utils.TritonModelException(
                f"model '{config['name']}': the config has {required} inputs that are not "
                f"optional, the model has {len(inputs)}: {', '.join(inputs)}"
            )
        inputs |= {tensor.name: tensor for tensor in self.session.get_overridable_initializers()}
        for kind, provided in (("input", inputs), ("output", outputs)):
            for tensor in config[kind]:
                check_tensor(config, kind, tensor, provided)
        # A config writes a scalar as [1], which the session neither takes nor gives.
        self.scalars = {name for name, tensor in (inputs | outputs).items() if not tensor.shape}

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[object]:
        """Answer each request; those whose shapes agree go through the session together."""
        responses: list[object] = [None] * len(requests)
        groups: dict[object, list[tuple[int, Tensors]]] = {}
        for index, request in enumerate(requests):
            try:
                inputs = {tensor.name(): self.decode(tensor) for tensor in request.inputs()}
            except UnicodeDecodeError as error:
                responses[index] = failure(f"the request has a string that is not UTF-8: {error}")
                continue
            shapes = tuple((name, inputs[name].shape[1:]) for name in sorted(inputs))
            groups.setdefault(shapes if self.batches else index, []).append((index, inputs))
        for group in groups.values():
            members = [requests[index] for index, _ in group]
            tensors = [inputs for _, inputs in group]
            answers = self.run_merged(members, tensors) if len(group) > 1 else None
            if answers is None:
                answers = [self.run(*pair) for pair in zip(members, tensors, strict=True)]
            for (index, _), answer in zip(group, answers, strict=True):
                responses[index] = answer
        return responses

    def run(self, request: pb_utils.InferenceRequest, inputs: Tensors) -> object:
        """The response to one request."""
        names = list(request.requested_output_names())
        try:
            outputs = self.session.run(names, inputs)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime's errors share no other class
            return failure(runtime_error(error))
        return self.response(dict(zip(names, outputs, strict=True)))

    def run_merged(
        self, requests: list[pb_utils.InferenceRequest], inputs: list[Tensors]
    ) -> list[object] | None:
        """The responses from one run for all; None when they must run one by one.

        A request that makes the run fail must not take the others with it.
        """
        wanted = [request.requested_output_names() for request in requests]
        names = sorted({name for each in wanted for name in each})
        merged = {name: np.concatenate([each[name] for each in inputs]) for name in inputs[0]}
        sizes = [next(iter(each.values())).shape[0] for each in inputs]
        try:
            outputs = dict(zip(names, self.session.run(names, merged), strict=True))
        except Exception:  # noqa: BLE001 - each run of its own will report its error
            return None
        if any(output.shape[:1] != (sum(sizes),) for output in outputs.values()):
            return None
        ends = np.cumsum(sizes)
        return [
            self.response({name: outputs[name][end - size : end] for name in each})
            for each, size, end in zip(wanted, sizes, ends, strict=True)
        ]

    def decode(self, tensor: pb_utils.Tensor) -> np.ndarray:
        """The request's tensor as the session takes it."""
        array = tensor.as_numpy()
        if array.dtype == np.object_:
            texts = [element.decode() for element in array.ravel()]
            array = np.array(texts, dtype=np.object_).reshape(array.shape)
        return array.reshape(()) if tensor.name() in self.scalars else array

    def response(self, outputs: Tensors) -> object:
        """A response with these outputs of the session."""
        tensors = []
        for name, output in outputs.items():
            array = np.atleast_1d(np.ascontiguousarray(output))
            if array.dtype == np.object_:
                encoded = [element.encode() for element in array.ravel()]
                array = np.array(encoded, dtype=np.object_).reshape(array.shape)
            tensors.append(pb_utils.Tensor(name, array))
        return pb_utils.InferenceResponse(output_tensors=tensors)


def version_folder() -> Path:
    """Where the version is that this process completes the config for.

    `auto_complete_config` is not told; the stub's first argument is a file in the folder.
    """
    return Path(Path("/proc/self/cmdline").read_bytes().split(b"\0")[1].decode()).parent


def open_session(config: Config, folder: Path) -> onnxruntime.InferenceSession:
    """A session on the version's file; by path, so that external data is mapped, not read."""
    path = folder / (config.get("default_model_filename") or "model.onnx")
    if path.is_dir():
        path /= "model.onnx"
    if not path.exists():
        raise pb_utils.TritonModelException(f"model '{config['name']}' has no file {path}")
    options = session_options(config)
    try:
        return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:
        raise pb_utils.TritonModelException(runtime_error(error)) from error


def session_options(config: Config) -> onnxruntime.SessionOptions:
    """What `parameters` and `optimization` say.

    A thread count that is missing or 0 is ONNX Runtime's default, as in the C++ backend: one
    thread per physical core and session. They do not spin, though: each instance is a process
    with threads of its own here, and spinning ones would take the cores from each other.
    """
    parameters = {key: value["string_value"] for key, value in config["parameters"].items()}
    optimization = config.get("optimization", {})
    if optimization.get("execution_accelerators", {}).get("cpu_execution_accelerator"):
        raise pb_utils.TritonModelException(
            f"model '{config['name']}' wants a CPU execution accelerator; this server has none"
        )
    level = int(optimization.get("graph", {}).get("level", 0))
    mode = parameters.get("execution_mode", "0")
    if mode not in EXECUTION_MODES:
        raise pb_utils.TritonModelException(
            f"model '{config['name']}': execution_mode is 0 or 1, not '{mode}'"
        )
    options = onnxruntime.SessionOptions()
    options.execution_mode = EXECUTION_MODES[mode]
    options.graph_optimization_level = GRAPH_LEVELS.get(
        level, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    )
    options.intra_op_num_threads = max(0, int(parameters.get("intra_op_thread_count", 0)))
    options.inter_op_num_threads = max(0, int(parameters.get("inter_op_thread_count", 0)))
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return options


def datatype_of(tensor: onnxruntime.NodeArg) -> str:
    """The datatype as a config writes it; ONNX Runtime's is like `tensor(float)`."""
    element = tensor.type.removeprefix("tensor(").removesuffix(")")
    names = {"float16": "FP16", "float": "FP32", "double": "FP64"}
    return f"TYPE_{names.get(element, element.upper())}"


def dims_of(tensor: onnxruntime.NodeArg) -> list[int]:
    """The tensor's shape, -1 for what varies."""
    return [size if isinstance(size, int) else -1 for size in tensor.shape]


def describe(tensor: onnxruntime.NodeArg, max_batch_size: int) -> Config:
    """The tensor as an entry of a config."""
    dims = dims_of(tensor)[1 if max_batch_size > 0 else 0 :]
    entry = {"name": tensor.name, "data_type": datatype_of(tensor), "dims": dims or [1]}
    if not dims and max_batch_size > 0:
        entry["reshape"] = {"shape": []}
    return entry


def check_tensor(
    config: Config, kind: str, tensor: Config, provided: dict[str, onnxruntime.NodeArg]
) -> None:
    """Refuse an entry of the config that the model contradicts."""
    name, where = tensor["name"], f"model '{config['name']}', {kind} '{tensor['name']}'"
    if tensor.get("optional") and config["max_batch_size"] > 0:
        raise pb_utils.TritonModelException(
            f"{where}: a model with batching cannot have optional inputs; set max_batch_size 0"
        )
    if name not in provided:
        raise pb_utils.TritonModelException(
            f"{where}: the model has no such {kind}, it has {', '.join(sorted(provided))}"
        )
    datatype = datatype_of(provided[name])
    if tensor["data_type"] != datatype:
        raise pb_utils.TritonModelException(
            f"{where}: the config says {tensor['data_type']}, the model has {datatype}"
        )
    given = tensor["reshape"]["shape"] if "reshape" in tensor else tensor["dims"]
    dims = [-1] * (config["max_batch_size"] > 0) + [int(size) for size in given]
    if not dims_agree(dims, dims_of(provided[name]), kind):
        batch = " (-1 in front because max_batch_size > 0)" if config["max_batch_size"] else ""
        raise pb_utils.TritonModelException(
            f"{where}: the config says shape {dims}{batch}, the model has {dims_of(provided[name])}"
        )


def dims_agree(dims: list[int], model_dims: list[int], kind: str) -> bool:
    """Whether a config may say `dims`; -1 in the model takes any size of an input."""
    if not model_dims:
        return all(size == 1 for size in dims)
    return len(dims) == len(model_dims) and all(
        ours == theirs or (theirs == -1 and kind == "input")
        for ours, theirs in zip(dims, model_dims, strict=True)
    )


def runtime_error(error: Exception) -> str:
    """ONNX Runtime's message in the form in which the C++ backend gives it."""
    parts = str(error).split(" : ", 3)
    if parts[0] == "[ONNXRuntimeError]":
        return f"onnx runtime error {parts[1]}: {parts[3]}"
    return f"onnx runtime error: {error}"


def failure(text: str) -> object:
    """A response that is an error."""
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(text[:LONGEST_ERROR]))
