"""Does ONNX Runtime answer what PyTorch answered?"""

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.compare import compare
from contract.samples import GoldenSample, read_golden
from generator import worker
from generator.errors import StageRefused
from generator.reports import CASES, VerifyJob, VerifyReport
from generator.sessions import describe, open_session
from generator.worker import shorten


def verify(job: VerifyJob) -> VerifyReport:
    """Run every case.

    Raises:
        StageRefused: ONNX Runtime fails, or an answer is outside of its tolerance.
    """
    session = open_session(job.folder, threads=job.threads)
    cases = read_golden(job.folder / CASES)
    names = list(cases[0].outputs)
    for case in cases:
        where = ", ".join(f"{name} {list(array.shape)}" for name, array in case.inputs.items())
        answers = dict(zip(names, _run(session, case, names, where), strict=True))
        wrong = [
            difference.reason
            for difference in compare(answers, case.outputs, job.tolerances)
            if difference.reason
        ]
        if wrong:
            raise StageRefused(
                f"the ONNX model answers otherwise than PyTorch at {where}: {'; '.join(wrong)}; "
                "look for code that behaves differently under export, or set `tolerance`"
            )
    return VerifyReport(
        inputs=describe(session.get_inputs()), outputs=describe(session.get_outputs())
    )


def _run(
    session: onnxruntime.InferenceSession, case: GoldenSample, names: list[str], where: str
) -> list[NDArray[np.generic]]:
    try:
        answers: list[NDArray[np.generic]] = session.run(names, case.inputs)
    # ONNX Runtime's errors have no common root below Exception.
    except Exception as error:
        raise StageRefused(f"ONNX Runtime fails at {where}: {shorten(str(error))}") from error
    return answers


if __name__ == "__main__":
    worker.main(verify, VerifyJob)
