"""An ONNX file that somebody else made: checked, laid out as ours are, otherwise as it is."""

from pathlib import Path, PurePosixPath

import onnx_ir

from contract.errors import InvalidArtifact
from contract.layout import ONNX_DATA, ONNX_MODEL
from contract.manifest import sha256_of
from contract.samples import GoldenSample, read_golden, write_golden
from generator import worker
from generator.checks.sessions import open_session, run
from generator.checks.verify import refuse_unread
from generator.errors import StageRefused
from generator.exporters.answers import refuse_chance, refuse_nan, refuse_wrong_batch
from generator.exporters.foreign import computes_in_half, data_files, differences, read_foreign
from generator.recipe import Input, ModelRecipe
from generator.releases import RELEASES
from generator.reports import CASES
from generator.reports.export import ExportJob, ExportReport
from generator.samples.graph import examine
from generator.samples.real import misfit, read_real
from generator.samples.shapes import verification_shapes
from generator.samples.tensors import draw_batch
from generator.samples.warmup import with_ranges

_NO_OPTIMIZATION = 2
# There is no float64 of a finished file to calibrate with. Another framework's float32 differs
# by 1e-6 and less from ONNX Runtime's, half precision by 5e-4.
_LIMIT = 1e-4
_HALF_LIMIT = 1e-2


def adopt(job: ExportJob) -> ExportReport:
    """Write the file as model.onnx and model.onnx.data, and cases to verify it with.

    With `golden`, the cases are those. Without, they are the file's own answers on one thread and
    without optimization: what serves must at least answer the same with both.

    Raises:
        StageRefused: unreadable or invalid, an operator that Triton lacks, or other inputs and
            outputs than the recipe says.
    """
    _, place = job.model.origin
    path = job.recipe_folder / place
    proto = read_foreign(path)
    # Here and not in verification only: the ONNX Runtime of this machine could not read it either.
    refuse_unread(RELEASES[-1], proto)
    if wrong := differences(job.model, proto.graph):
        raise StageRefused(f"onnx {path} and the recipe disagree: {'; '.join(wrong)}")
    _lay_out(path, job.folder)
    facts = examine(job.folder / ONNX_MODEL, job.model.inputs)
    model = with_ranges(job.model, facts)
    _refuse_missing_ranges(model)
    if model.golden:
        cases = _read_cases(model, job.recipe_folder / model.golden)
    else:
        cases = _own_answers(model, job)
    write_golden(job.folder / CASES, cases)
    limit = model.tolerance or (_HALF_LIMIT if computes_in_half(proto) else _LIMIT)
    floats = [name for name, array in cases[0].outputs.items() if array.dtype.kind == "f"]
    return ExportReport(
        sources={
            # The file itself is one that the recipe names; where its weights lie, only it knows.
            (PurePosixPath(place).parent / name).as_posix(): sha256_of(path.parent / name)
            for name in data_files(proto)
        },
        tolerances=dict.fromkeys(floats, limit),
        reference="golden" if model.golden else "itself",
        facts=facts,
    )


def _lay_out(path: Path, folder: Path) -> None:
    """Weights in a file of their own, so that ONNX Runtime maps them."""
    onnx_ir.save(onnx_ir.load(path), folder / ONNX_MODEL, external_data=ONNX_DATA)
    # A model without weights gets an empty data file: every version has the same files.
    (folder / ONNX_DATA).touch()


def _refuse_missing_ranges(model: ModelRecipe) -> None:
    for spec in model.inputs:
        if spec.lacks_values and not model.samples:
            raise StageRefused(
                f"input {spec.name} is {spec.dtype} and points into no table of the file, which "
                "would tell its values: give range: [low, high), or samples"
            )


def _own_answers(model: ModelRecipe, job: ExportJob) -> list[GoldenSample]:
    session = open_session(job.folder, threads=1, graph_level=_NO_OPTIMIZATION)
    real = read_real(model, job.recipe_folder)
    cases = []
    shapes = verification_shapes(model)
    for index, shape in enumerate(shapes):
        inputs = draw_batch(model, shape, draw=index, real=real)
        outputs = run(session, inputs, str(shape))
        refuse_nan(outputs, who="ONNX Runtime", where=str(shape))
        refuse_wrong_batch(model, inputs, outputs)
        cases.append(GoldenSample(inputs, outputs))
    refuse_chance(
        cases[0].outputs,
        run(session, cases[0].inputs, str(shapes[0])),
        dict.fromkeys(model.output_names, _LIMIT),
        who="ONNX Runtime",
        remedy="take the random operators out of the file",
    )
    return cases


def _read_cases(model: ModelRecipe, path: Path) -> list[GoldenSample]:
    try:
        cases = read_golden(path)
    except InvalidArtifact as error:
        raise StageRefused(
            f"golden {path} cannot be read ({error.__cause__}); write it with numpy.savez: "
            "input/<name> and output/<name>"
        ) from error
    needed = {spec.name for spec in model.inputs if not spec.optional}
    for case in cases:
        lacking = (needed - case.inputs.keys()) | (set(model.output_names) - case.outputs.keys())
        if lacking:
            raise StageRefused(
                f"golden {path} lacks {', '.join(sorted(lacking))}; it needs input/<name> and "
                "output/<name> for every input and output"
            )
        for spec in model.inputs:
            if spec.name in case.inputs and (wrong := _misfit(model, spec, case)):
                raise StageRefused(f"golden {path}: {spec.name} {wrong}")
    return cases


def _misfit(model: ModelRecipe, spec: Input, case: GoldenSample) -> str | None:
    array = case.inputs[spec.name]
    if not model.max_batch_size:
        return misfit(spec, array)
    if wrong := misfit(spec, array, first="the batch"):
        return wrong
    if len(array) > model.max_batch_size:
        return (
            f"is a batch of {len(array)}, max_batch_size is {model.max_batch_size}; write smaller "
            "samples: 0/input/<name>, 1/input/<name>"
        )
    return None


if __name__ == "__main__":
    worker.main(adopt, ExportJob)
