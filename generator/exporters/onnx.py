"""PyTorch to ONNX, byte for byte the same each time.

Weights lie in a file of their own, but for tensors of a few bytes: ONNX Runtime maps it, so a
100 MB table loads in milliseconds instead of being copied, and a second instance costs
nothing more.
"""

import inspect
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import onnx
import torch

from contract.layout import ONNX_DATA, ONNX_MODEL
from contract.samples import Tensors, write_golden
from generator import worker
from generator.errors import StageRefused
from generator.exporters import huggingface, program, reference, source
from generator.exporters.failures import REWRITE, explain
from generator.exporters.foreign import differences
from generator.exporters.outputs import named_outputs
from generator.exporters.precision import (
    float32_for_bfloat16,
    half_by_default,
    halved,
    has_bfloat16,
    in_float32,
)
from generator.recipe import Dim, ModelRecipe
from generator.reports import CASES
from generator.reports.export import ExportJob, ExportReport
from generator.samples import graph
from generator.samples.real import read_real
from generator.samples.shapes import Shape
from generator.samples.tensors import default_of, draw_batch

# PyTorch writes it at IR 10, and every release of Triton in `generator.releases` reads both.
_OPSET = 20
_LOADERS = {"source": source.construct, "program": program.load, "huggingface": huggingface.load}


def export(job: ExportJob) -> ExportReport:
    """Write the model's ONNX files and its verification cases into `job.folder`."""
    torch.set_num_threads(job.threads)
    kind, place = job.model.origin
    module = _LOADERS[kind](job.model, place, job.recipe_folder)
    module.requires_grad_(requires_grad=False)
    if not has_bfloat16(module):
        return _export(job, module)
    module = in_float32(module)
    with float32_for_bfloat16():
        report = _export(job, module)
    return report.model_copy(update={"notes": (_note(job.model),)})


def _export(job: ExportJob, module: torch.nn.Module) -> ExportReport:
    sources = source.source_hashes(job.recipe_folder)
    real = read_real(job.model, job.recipe_folder)
    cases = reference.run_cases(job.model, module, real)
    tolerances = reference.calibrate(job.model, module, cases)
    write_golden(job.folder / CASES, cases)
    _write_onnx(job.model, module, job.folder, answers=cases[0].outputs)
    # What forward() imported late counts too, but not what was edited in the meantime.
    return ExportReport(
        sources=source.source_hashes(job.recipe_folder) | sources,
        tolerances=tolerances,
        reference="tolerance" if job.model.tolerance else "float64",
        facts=graph.examine(job.folder / ONNX_MODEL, job.model.inputs),
    )


def _note(model: ModelRecipe) -> str:
    if model.format.is_half:
        return f"its bfloat16 became float16, because of `format: {model.format.kind}`"
    return (
        "its bfloat16 became float32, which holds every weight exactly and takes twice the bytes; "
        "`format: onnx-fp16` halves them again"
    )


def _write_onnx(
    model: ModelRecipe, module: torch.nn.Module, folder: Path, *, answers: Tensors
) -> None:
    path = folder / ONNX_MODEL
    served = halved(module, model, answers) if model.format.is_half else module
    precision = half_by_default() if model.format.is_half else nullcontext()
    # Whatever it returns: in the order of the recipe's names.
    served.register_forward_hook(lambda _module, _inputs, answer: named_outputs(model, answer))
    example, shapes = _example(model), _dynamic_shapes(model, served)
    try:
        with precision:
            exported = torch.onnx.export(
                served,
                example,
                dynamo=True,
                verbose=False,
                opset_version=_OPSET,
                input_names=[spec.name for spec in model.inputs],
                output_names=model.output_names,
                dynamic_shapes=shapes,
            )
    # The exporter's errors have no common root below Exception.
    except Exception as error:
        why = explain(error, lambda: torch.export.export(served, example, dynamic_shapes=shapes))
        raise StageRefused(f"PyTorch cannot export it: {why}") from error
    if exported is None:
        raise StageRefused("PyTorch's exporter returned nothing")
    exported.save(path, external_data=True)
    proto = _cleaned(onnx.load(path, load_external_data=False), model)
    if wrong := differences(model, proto.graph):
        raise StageRefused(f"PyTorch exports something else: {'; '.join(wrong)}; {REWRITE}")
    path.write_bytes(proto.SerializeToString(deterministic=True))
    # A model without weights gets an empty data file: every version has the same files.
    (folder / ONNX_DATA).touch()


def _example(model: ModelRecipe) -> tuple[torch.Tensor, ...]:
    """Example sizes are above 1, where torch.export would take a dimension for a constant."""
    sizes = tuple((name, max(2 * dim.multiple_of, dim.opt)) for name, dim in model.dims.items())
    inputs = draw_batch(model, Shape(2, sizes), draw=0)
    return tuple(torch.from_numpy(array) for array in inputs.values())


def _dynamic_shapes(model: ModelRecipe, module: torch.nn.Module) -> tuple[Any, ...]:
    # Triton wants a variable first dimension even for batches of one.
    batch = torch.export.Dim("batch", min=1, max=max(2, model.max_batch_size))
    dims = {name: _dimension(name, dim) for name, dim in model.dims.items()}
    lead = 1 if model.max_batch_size else 0
    shapes = tuple(
        ({0: batch} if lead else {})
        | {
            axis: dims[size]
            for axis, size in enumerate(spec.shape, start=lead)
            if isinstance(size, str)
        }
        for spec in model.inputs
    )
    taken = inspect.signature(module.forward).parameters.values()
    # `forward(*inputs)` is one parameter of several tensors.
    return (shapes,) if any(each.kind is each.VAR_POSITIONAL for each in taken) else shapes


def _dimension(name: str, dim: Dim) -> Any:
    step = dim.multiple_of
    steps = torch.export.Dim(name, min=dim.min // step, max=dim.max // step)
    return step * steps if step > 1 else steps


def _cleaned(proto: onnx.ModelProto, model: ModelRecipe) -> onnx.ModelProto:
    """Without what does not serve, leaks source code and paths, and differs between machines."""
    _strip(proto)
    # An initializer of an input's name is what the graph takes where a request leaves it out.
    proto.graph.initializer.extend(
        onnx.numpy_helper.from_array(default_of(spec), spec.name)
        for spec in model.inputs
        if spec.optional
    )
    return proto


def _strip(message: Any) -> None:
    """Clear notes in a protobuf message and in all below it, subgraphs and functions too."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string", "value_info"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for child in value if field.is_repeated else (value,):
                _strip(child)


if __name__ == "__main__":
    worker.main(export, ExportJob)
