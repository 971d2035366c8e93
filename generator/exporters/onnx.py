"""PyTorch to ONNX, byte for byte the same each time.

Weights lie in a file of their own, but for tensors of a few bytes: ONNX Runtime maps it, so a
100 MB table loads in milliseconds instead of being copied, and a second instance costs
nothing more.
"""

import itertools
from pathlib import Path
from typing import Any

import onnx
import torch

from contract.layout import ONNX_DATA, ONNX_MODEL
from contract.samples import write_golden
from generator import worker
from generator.errors import StageRefused
from generator.exporters import reference, source
from generator.recipe import ModelRecipe
from generator.reports import CASES, ExportJob, ExportReport
from generator.shapes import Shape
from generator.tensors import draw_batch
from generator.worker import shorten

# Every ONNX Runtime from Triton 24.10 (1.19.2) to today loads opset 20 at IR 10; the newest
# IR that `onnx` can write is loaded by none.
_OPSET = 20
_MAX_IR = 10


def export(job: ExportJob) -> ExportReport:
    """Write the model's ONNX files and its verification cases into `job.folder`."""
    torch.set_num_threads(job.threads)
    module = source.construct(job.model, job.recipe_folder)
    sources = source.source_hashes(job.recipe_folder)
    cases = reference.run_cases(job.model, module)
    tolerances = reference.calibrate(job.model, module, cases)
    write_golden(job.folder / CASES, cases)
    _write_onnx(job.model, module, job.folder)
    # What forward() imported late counts too, but not what was edited in the meantime.
    return ExportReport(
        sources=source.source_hashes(job.recipe_folder) | sources, tolerances=tolerances
    )


def _write_onnx(model: ModelRecipe, module: torch.nn.Module, folder: Path) -> None:
    path = folder / ONNX_MODEL
    try:
        program = torch.onnx.export(
            module,
            _example(model),
            dynamo=True,
            verbose=False,
            opset_version=_OPSET,
            input_names=[spec.name for spec in model.inputs],
            output_names=list(model.outputs),
            dynamic_shapes=_dynamic_shapes(model),
        )
    # The exporter's errors have no common root below Exception.
    except Exception as error:
        raise StageRefused(
            f"PyTorch cannot export it: {_root_cause(error)}; rewrite what branches on a tensor's "
            "values or fixes a dynamic size (torch.where, torch.cond)"
        ) from error
    if program is None:
        raise StageRefused("PyTorch's exporter returned nothing")
    program.save(path, external_data=True)
    _strip_file(path)
    # A model without weights gets an empty data file: every version has the same files.
    (folder / ONNX_DATA).touch()


def _example(model: ModelRecipe) -> tuple[torch.Tensor, ...]:
    """Example sizes are above 1, where torch.export would take a dimension for a constant."""
    sizes = tuple((name, max(2, dim.opt)) for name, dim in model.dims.items())
    inputs = draw_batch(model, Shape(2, sizes), draw=0)
    return tuple(torch.from_numpy(array) for array in inputs.values())


def _dynamic_shapes(model: ModelRecipe) -> tuple[dict[int, Any], ...]:
    dims = {
        name: torch.export.Dim(name, min=dim.min, max=dim.max) for name, dim in model.dims.items()
    }
    # Triton wants a variable first dimension even for batches of one.
    batch = torch.export.Dim("batch", min=1, max=max(2, model.max_batch_size))
    lead = 1 if model.max_batch_size else 0
    return tuple(
        ({0: batch} if lead else {})
        | {
            axis: dims[size]
            for axis, size in enumerate(spec.shape, start=lead)
            if isinstance(size, str)
        }
        for spec in model.inputs
    )


def _strip_file(path: Path) -> None:
    """Drop what does not serve: it leaks source code and paths and differs between machines."""
    proto = onnx.load(path, load_external_data=False)
    if proto.ir_version > _MAX_IR:
        raise StageRefused(
            f"the exporter wrote IR {proto.ir_version}; Triton 24.10 loads up to {_MAX_IR}"
        )
    _strip(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _strip(message: Any) -> None:
    """Clear notes in a protobuf message and in all below it, subgraphs and functions too."""
    for field, value in message.ListFields():
        if field.name in ("metadata_props", "doc_string", "value_info"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for child in value if field.is_repeated else (value,):
                _strip(child)


def _root_cause(error: BaseException) -> str:
    """The first line of the first error and the line of code at fault; the rest is pages."""
    while error.__cause__:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    cause = f"{type(error).__name__}: {shorten(lines[0]) if lines else ''}"
    for place, code in itertools.pairwise(lines):
        if place.startswith('File "'):
            return f"{cause} ({place}: {code})"
    return cause


if __name__ == "__main__":
    worker.main(export, ExportJob)
