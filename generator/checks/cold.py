"""How long a version takes to load when its files are on disk only, measured in a fresh process."""

import os
import resource
import time
from pathlib import Path

from generator import worker
from generator.checks.sessions import open_session
from generator.reports import ColdLoadJob, ColdLoadReport


def load_cold(job: ColdLoadJob) -> ColdLoadReport:
    """Load the model once after asking the kernel to forget its files.

    The kernel need not obey: a file system in memory cannot, and what another process maps stays.
    So only a load that read from a disk counts.
    """
    for path in job.folder.iterdir():
        if path.is_file():
            _evict(path)
    read_before = _blocks_read()
    started = time.perf_counter()
    open_session(job.folder, graph_level=job.graph_level)
    load_s = time.perf_counter() - started
    return ColdLoadReport(load_s=load_s if _blocks_read() > read_before else None)


def _evict(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # What is not yet on the disk cannot be forgotten.
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def _blocks_read() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_inblock


if __name__ == "__main__":
    worker.main(load_cold, ColdLoadJob)
