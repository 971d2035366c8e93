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
from contract.warmup import read_element
from generator import worker
from generator.checks.measurements import runs_until_steady, steady_ms
from generator.checks.sessions import open_session, run
from generator.errors import StageRefused
from generator.reports import ProbeJob, ProbeReport, WarmupSample

_MIN_RUNS = 6
_MAX_RUNS = 20
_TIME_PER_SHAPE_S = 0.5
# Of all shapes together, but for the least that each needs: a GPU's plan has dozens.
_TIME_S = 4.0


def probe(job: ProbeJob) -> ProbeReport:
    """Load the model as Triton does and run each warm-up sample until it is steady.

    Raises:
        StageRefused: a sample fails; Triton would not become ready with it.
    """
    before = _anonymous_bytes()
    started = time.perf_counter()
    session = open_session(job.folder, graph_level=job.graph_level)
    load_s = time.perf_counter() - started
    loaded = _anonymous_bytes()
    shared = _mapped_bytes(ONNX_DATA)
    shapes = []
    peak = loaded
    for sample in job.samples:
        shapes.append(_measure(session, job, sample))
        peak = max(peak, _anonymous_bytes())
    alone = _anonymous_bytes()
    further = open_session(job.folder, graph_level=job.graph_level)
    both = _anonymous_bytes()
    del further
    return ProbeReport(
        private_bytes=max(0, loaded - before),
        further_private_bytes=max(0, both - alone),
        shared_bytes=shared,
        peak_bytes=max(0, peak - before),
        load_s=load_s,
        shapes=tuple(shapes),
    )


def _measure(
    session: onnxruntime.InferenceSession, job: ProbeJob, sample: WarmupSample
) -> ShapeCost:
    inputs = _read_inputs(job, sample)
    times_ms: list[float] = []
    deadline = time.perf_counter() + min(_TIME_PER_SHAPE_S, _TIME_S / len(job.samples))
    while len(times_ms) < _MIN_RUNS or (
        len(times_ms) < _MAX_RUNS and time.perf_counter() < deadline
    ):
        started = time.perf_counter()
        run(session, inputs, f"warm-up sample {sample.name}")
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
        element = read_element(path, spec.datatype, spec.dims)
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
