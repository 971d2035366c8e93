"""Does ONNX Runtime answer what PyTorch answered, and will the release read the file?"""

import onnx

from contract.layout import ONNX_MODEL
from contract.manifest import Reference
from contract.samples import GoldenSample, read_golden, write_golden
from generator import worker
from generator.checks.cases import Outcome, ask
from generator.checks.sessions import describe, open_session
from generator.errors import StageRefused
from generator.releases import Release, release
from generator.reports import CASES, VerifyJob, VerifyReport
from generator.samples.graph import load_graph

_UNDER_EXPORT = "look for code that behaves differently under export"
# Whose answers were expected, and what to look at if others came.
_EXPECTED: dict[Reference, tuple[str, str]] = {
    "float64": ("PyTorch", _UNDER_EXPORT),
    "tolerance": ("PyTorch", _UNDER_EXPORT),
    "golden": ("its golden data", "see that they are of this file"),
    "itself": ("itself without optimization", "see where its digits are lost"),
}


def verify(job: VerifyJob) -> VerifyReport:
    """Run every case.

    Raises:
        StageRefused: the release does not read the file, ONNX Runtime fails, or an answer is
            outside of its tolerance.
    """
    refuse_unread(release(job.triton), load_graph(job.folder / ONNX_MODEL))
    session = open_session(job.folder, threads=job.threads, graph_level=job.graph_level)
    outcome = ask(session, read_golden(job.folder / CASES), limits=job.tolerances, top_k=job.top_k)
    if outcome.wrong:
        raise StageRefused(_refusal(job, outcome))
    return VerifyReport(
        inputs=describe(session.get_inputs()),
        outputs=describe(session.get_outputs()),
        defaults=describe(session.get_overridable_initializers()),
        cases=outcome.cases,
        evidence=outcome.evidence,
    )


def refuse_unread(wanted: Release, model: onnx.ModelProto) -> None:
    """See that a release reads a file.

    Raises:
        StageRefused: opset or IR came later.
    """
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    opset = max(versions, default=1)
    if not wanted.reads(opset=opset, ir=model.ir_version):
        raise StageRefused(wanted.why_not(opset=opset, ir=model.ir_version))


def _refusal(job: VerifyJob, outcome: Outcome) -> str:
    expected, remedy = _EXPECTED[job.reference]
    kept = _keep(job, outcome.wrong[0].case)
    return f"{outcome.refusal(expected)}; {kept}; {remedy}, or set `tolerance`"


def _keep(job: VerifyJob, case: GoldenSample) -> str:
    try:
        job.failure.parent.mkdir(parents=True, exist_ok=True)
        write_golden(job.failure, [case])
    except OSError as error:
        return f"that input cannot be kept in {job.failure}: {error.strerror}"
    return f"that input and the expected answer are in {job.failure}"


if __name__ == "__main__":
    worker.main(verify, VerifyJob)
