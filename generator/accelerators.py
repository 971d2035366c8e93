"""What a GPU changes: what Triton's ONNX Runtime backend is told, and how exact answers are. Pure.

The lists are those of `src/onnxruntime.cc` in `triton-inference-server/onnxruntime_backend`, where
an unknown key makes the load fail.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from generator.recipe import ModelRecipe, Target
from generator.recipe.formats import OnnxTensorRT, TensorRT
from generator.recipe.serving import kinds
from generator.samples.shapes import Shape, concrete

GRAPH_LEVELS = (0, 1, -1, 2)
"""`optimization.graph.level` from all that ONNX Runtime can do (what it does unasked) to nothing:
extended and basic lie between. The numbers are the backend's."""

TENSORRT_KEYS = frozenset(
    {
        "int8_calibration_table_name",
        "int8_use_native_calibration_table",
        "max_workspace_size_bytes",
        "precision_mode",
        "trt_auxiliary_streams",
        "trt_build_heuristics_enable",
        "trt_builder_optimization_level",
        "trt_context_memory_sharing_enable",
        "trt_cuda_graph_enable",
        "trt_detailed_build_log",
        "trt_dla_core",
        "trt_dla_enable",
        "trt_dump_ep_context_model",
        "trt_dump_subgraphs",
        "trt_engine_cache_enable",
        "trt_engine_cache_path",
        "trt_engine_cache_prefix",
        "trt_ep_context_embed_mode",
        "trt_ep_context_file_path",
        "trt_extra_plugin_lib_paths",
        "trt_force_sequential_engine_build",
        "trt_force_timing_cache",
        "trt_layer_norm_fp32_fallback",
        "trt_max_partition_iterations",
        "trt_min_subgraph_size",
        "trt_profile_max_shapes",
        "trt_profile_min_shapes",
        "trt_profile_opt_shapes",
        "trt_sparsity_enable",
        "trt_tactic_sources",
        "trt_timing_cache_enable",
        "trt_timing_cache_path",
    }
)

GPU_ACCELERATORS = frozenset({"cuda", "tensorrt"})

# Given to the accelerator `cuda`, these are overwritten with their defaults: the backend looks for
# them among the model's `parameters`, where they have to stand.
CUDA_KEYS_OF_PARAMETERS = frozenset(
    {
        "arena_extend_strategy",
        "cudnn_conv_algo_search",
        "do_copy_in_default_stream",
        "gpu_mem_limit",
    }
)


_TF32_LIMIT = 2e-3


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """An entry of `gpu_execution_accelerator`."""

    name: str
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The shapes of one input that an engine takes, with the batch dimension if there is one."""

    input: str
    min: tuple[int, ...]
    opt: tuple[int, ...]
    max: tuple[int, ...]


def execution_accelerator(
    model: ModelRecipe, release: str, *, graph_sha256: str
) -> Accelerator | None:
    """What `onnx-tensorrt` adds to the config; None for every other format.

    `graph_sha256` is a hash over the ONNX file and its weights. ONNX Runtime names an engine
    after the graph alone: two models, or two versions of one, that differ in their weights would
    take each other's engine (onnxruntime#6455), and one of another TensorRT does not load. So each
    has a folder of its own. ONNX Runtime makes no parents, hence one level below `cache_dir`.
    """
    if not isinstance(model.format, OnnxTensorRT):
        return None
    asked = model.format
    decides = {
        "trt_builder_optimization_level": str(asked.optimization_level),
        **_profile_parameters(profiles(model)),
    }
    if asked.workspace_bytes:
        decides["max_workspace_size_bytes"] = str(asked.workspace_bytes)
    digest = hashlib.sha256(json.dumps([release, graph_sha256, decides]).encode()).hexdigest()
    place = f"{asked.cache_dir.rstrip('/')}/pilotlight-{model.name}"
    caches = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": f"{place}-{digest[:16]}",
        "trt_engine_cache_prefix": model.name,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": f"{place}-timing-{release}",
    }
    return Accelerator(name="tensorrt", parameters=decides | caches)


def profiles(model: ModelRecipe) -> tuple[Profile, ...]:
    """One for each input with a dimension that varies.

    An engine is fastest at `opt`: the largest preferred batch, or the largest batch.
    """
    largest = max(1, model.max_batch_size)
    preferred = model.batching.preferred if model.batching else ()
    smallest, usual, greatest = (
        Shape(batch, tuple((name, getattr(dim, level)) for name, dim in model.dims.items()))
        for batch, level in ((1, "min"), (max(preferred, default=largest), "opt"), (largest, "max"))
    )
    lead = 1 if model.max_batch_size else 0
    return tuple(
        Profile(
            input=spec.name,
            min=(smallest.batch,) * lead + concrete(spec, smallest),
            opt=(usual.batch,) * lead + concrete(spec, usual),
            max=(greatest.batch,) * lead + concrete(spec, greatest),
        )
        for spec in model.inputs
        if lead or spec.dynamic_dims
    )


def served_limits(
    model: ModelRecipe, target: Target, limits: Mapping[str, float]
) -> dict[str, float]:
    """Limits for comparing with a server, from those for ONNX Runtime on the CPU.

    From Ampere on, ONNX Runtime's CUDA and TensorRT providers multiply float32 as TF32 unless told
    otherwise (`use_tf32` in `cuda_execution_provider_info.h`): with 10 bits of mantissa, as many as
    half precision has. Our plans do not.
    """
    forms = [(target, model.instances)] + [
        (variant.target or target, variant.instances or model.instances)
        for variant in model.variants.values()
    ]
    on_cpu_only = all(kinds(*form) == {"cpu"} for form in forms)
    if on_cpu_only or model.tolerance or isinstance(model.format, TensorRT):
        return dict(limits)
    return {name: max(limit, _TF32_LIMIT) for name, limit in limits.items()}


def _profile_parameters(found: tuple[Profile, ...]) -> dict[str, str]:
    if not found:
        return {}
    return {
        f"trt_profile_{level}_shapes": ",".join(
            f"{profile.input}:{'x'.join(map(str, getattr(profile, level)))}" for profile in found
        )
        for level in ("min", "opt", "max")
    }
