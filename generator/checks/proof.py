"""Does the release's own ONNX Runtime load the version and answer its golden samples?

Runs with that ONNX Runtime in front of the installed one.
"""

import time

import onnxruntime

from contract.config import parse_config, read_config
from contract.layout import VersionFolder
from contract.manifest import Proof
from contract.samples import read_golden
from generator import worker
from generator.checks.cases import ask
from generator.checks.sessions import open_session
from generator.errors import StageRefused
from generator.reports import ProofJob, ProofReport


def prove(job: ProofJob) -> ProofReport:
    """Load as `config.pbtxt` says and run every golden sample.

    Raises:
        StageRefused: this is another ONNX Runtime, it does not load the file, or it answers
            outside of a tolerance.
    """
    if onnxruntime.__version__ != job.onnxruntime:
        raise StageRefused(f"ONNX Runtime {onnxruntime.__version__} was found in its place")
    files = VersionFolder(job.folder)
    config = parse_config(read_config(files.config), str(files.config))
    started = time.perf_counter()
    session = open_session(job.folder, graph_level=config.optimization.graph.level)
    load_s = time.perf_counter() - started
    outcome = ask(session, read_golden(files.golden), limits=job.tolerances, top_k=job.top_k)
    if outcome.wrong:
        raise StageRefused(outcome.refusal("its golden samples"))
    return ProofReport(
        proof=Proof(
            onnxruntime=job.onnxruntime,
            load_s=load_s,
            samples=outcome.cases,
            outputs=outcome.evidence,
        )
    )


if __name__ == "__main__":
    worker.main(prove, ProofJob)
