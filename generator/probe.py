"""What a version costs, measured in a process that does nothing else.

Reading the model's file first, for example, would raise glibc's mmap threshold and with it
the memory that is measured.
"""

import time
from pathlib import Path

import numpy as np
import onnxruntime

from contract.layout import ONNX_DATA, VersionFolder
from contract.manifest import ShapeCost
from contract.samples import Tensors
from generator import worker
from generator.errors import StageRefused
from generator.measurements import runs_until_steady, steady_ms
from generator.reports import ProbeJob, ProbeReport, WarmupSample
from generator.sessions import open_session
from generator.worker import shorten

_MIN_RUNS = 6
_MAX_RUNS = 20
_TIME_PER_SHAPE_S = 0.5


def probe(job: ProbeJob) -> ProbeReport:
    """Load the model as Triton does and run each warm-up sample until it is steady.

    Raises:
        StageRefused: a sample fails; Triton would not become ready with it.
    """
    before = _anonymous_bytes()
    started = time.perf_counter()
    session = open_session(job.folder)
    load_s = time.perf_counter() - started
    loaded = _anonymous_bytes()
    shapes = []
    peak = loaded
    for sample in job.samples:
        shapes.append(_measure(session, job, sample))
        peak = max(peak, _anonymous_bytes())
    return ProbeReport(
        private_bytes=max(0, loaded - before),
        shared_bytes=_mapped_bytes(ONNX_DATA),
        peak_bytes=max(0, peak - before),
        load_s=load_s,
        shapes=tuple(shapes),
    )


def _measure(
    session: onnxruntime.InferenceSession, job: ProbeJob, sample: WarmupSample
) -> ShapeCost:
    inputs = _read_inputs(job, sample)
    times_ms: list[float] = []
    deadline = time.perf_counter() + _TIME_PER_SHAPE_S
    while len(times_ms) < _MIN_RUNS or (
        len(times_ms) < _MAX_RUNS and time.perf_counter() < deadline
    ):
        started = time.perf_counter()
        try:
            session.run(None, inputs)
        # ONNX Runtime's errors have no common root below Exception.
        except Exception as error:
            raise StageRefused(
                f"warm-up sample {sample.name} fails in ONNX Runtime: {shorten(str(error))}"
            ) from error
        times_ms.append((time.perf_counter() - started) * 1e3)
    return ShapeCost(
        batch=sample.batch,
        dims=sample.dims,
        first_ms=round(times_ms[0], 3),
        steady_ms=round(steady_ms(times_ms), 3),
        runs_until_steady=runs_until_steady(times_ms),
    )


def _read_inputs(job: ProbeJob, sample: WarmupSample) -> Tensors:
    """As Triton builds the request: the file's one element, `batch` times."""
    found: Tensors = {}
    for spec in sample.inputs:
        path = VersionFolder(job.folder).warmup / spec.file
        element = np.fromfile(path, dtype=spec.datatype.numpy).reshape(spec.dims)
        repeated = np.stack([element] * sample.batch)
        found[spec.name] = repeated if job.has_batch_dimension else element
    return found


def _anonymous_bytes() -> int:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise StageRefused("/proc/self/smaps_rollup has no line Anonymous; a Linux kernel is needed")


def _mapped_bytes(file_name: str) -> int:
    """Size of the mappings of a file: what traffic can bring into memory, touched or not."""
    total = 0
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith("/" + file_name):
            start, _, end = line.split(maxsplit=1)[0].partition("-")
            total += int(end, 16) - int(start, 16)
    return total


if __name__ == "__main__":
    worker.main(probe, ProbeJob)
