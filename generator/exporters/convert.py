"""ONNX files become a plan: from the cache, or built; and the plan is asked what PyTorch was asked.

A plan is never the same byte for byte, because the fastest kernel of the moment wins, and takes
minutes: what decides it names it in the cache.
"""

import hashlib
import os
from pathlib import Path

from contract.layout import ONNX_DATA, ONNX_MODEL, TENSORRT_PLAN
from contract.manifest import sha256_of
from contract.samples import read_golden
from generator import worker
from generator.checks.cases import ask
from generator.checks.engine import PlanSession
from generator.errors import StageRefused
from generator.exporters.tensorrt import build_plan, builder_here
from generator.reports import CASES
from generator.reports.convert import BuilderJob, BuilderReport, ConvertJob, ConvertReport


def convert(job: ConvertJob) -> ConvertReport:
    """Put a plan in the place of the ONNX files.

    Raises:
        StageRefused: TensorRT or a GPU is missing, TensorRT does not take the graph, or the plan
            answers outside of a tolerance.
    """
    builder = builder_here(BuilderJob())
    plan = job.folder / TENSORRT_PLAN
    plan.write_bytes(_plan(job, builder))
    for name in (ONNX_MODEL, ONNX_DATA):
        (job.folder / name).unlink()
    cases = read_golden(job.folder / CASES)
    outcome = ask(PlanSession(plan), cases, limits=job.tolerances, top_k=job.top_k)
    if outcome.wrong:
        raise StageRefused(
            f"{outcome.refusal('PyTorch')}; its ONNX file was right: set `tolerance`, or write "
            "format: onnx"
        )
    return ConvertReport(tools=builder.model_dump(), evidence=outcome.evidence)


def engine_key(job: ConvertJob, builder: BuilderReport) -> str:
    """Over the ONNX files, TensorRT, the GPU, and what is asked of them."""
    asked = job.model_dump_json(include={"format", "profiles"})
    files = [sha256_of(job.folder / name) for name in (ONNX_MODEL, ONNX_DATA)]
    return _digest(builder.model_dump_json(), asked, *files)


def timings_key(builder: BuilderReport) -> str:
    """TensorRT takes only timings of its own version on the same GPU."""
    return _digest(builder.model_dump_json())


def _plan(job: ConvertJob, builder: BuilderReport) -> bytes:
    job.cache.mkdir(parents=True, exist_ok=True)
    kept = job.cache / f"{engine_key(job, builder)}.plan"
    if kept.is_file():
        return kept.read_bytes()
    timings = job.cache / f"{timings_key(builder)}.timings"
    plan, measured = build_plan(
        job.folder / ONNX_MODEL,
        job.format,
        job.profiles,
        timings=timings.read_bytes() if timings.is_file() else b"",
    )
    _write(timings, measured)
    _write(kept, plan)
    return plan


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    """At once: another build may be reading."""
    written = path.with_suffix(f".{os.getpid()}")
    written.write_bytes(content)
    written.replace(path)


if __name__ == "__main__":
    worker.main(convert, ConvertJob)
