"""A stage of the build in a process of its own.

PyTorch's exporter keeps state between exports (a second one in the same process differs),
ONNX Runtime can die of a graph, and memory can only be measured in a process that did
nothing else. A stage module ends with `worker.main(work, Job)`; `worker.run` starts it.
"""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from generator.errors import GeneratorError, StageRefused, WorkerCrashed

_TIMEOUT_S = 1800
_SHOWN_LINES = 12
_SHOWN_CHARS = 2000

Job = TypeVar("Job", bound=BaseModel)
Reply = TypeVar("Reply", bound=BaseModel)


def run(module: str, job: BaseModel, reply: type[Reply], *, scratch: Path, cwd: Path) -> Reply:
    """Run a stage module on `job` in a fresh interpreter and wait for its reply.

    Raises:
        StageRefused: the stage found something wrong with the model and says what.
        WorkerCrashed: killed by a signal, out of time, or an exception nobody expected.
    """
    asked, answered = scratch / f"{module}.job", scratch / f"{module}.reply"
    asked.write_text(job.model_dump_json())
    # -P: a model's source file named like a module of the library must not shadow it.
    command = [sys.executable, "-P", "-m", module, str(asked), str(answered)]
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise WorkerCrashed(f"{module} gave no answer within {_TIMEOUT_S} s") from error
    if done.returncode == 0:
        return reply.model_validate_json(answered.read_bytes())
    if answered.exists():
        raise StageRefused(answered.read_text())
    raise WorkerCrashed(f"{module} {_how_it_ended(done.returncode)}: {_last_lines(done.stderr)}")


def main(work: Callable[[Job], BaseModel], job: type[Job]) -> None:
    """Answer the job file named on the command line; exit code 1 with a reply is a refusal."""
    asked, answered = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        reply = work(job.model_validate_json(asked.read_bytes()))
    except GeneratorError as refusal:
        answered.write_text(str(refusal))
        sys.exit(1)
    answered.write_text(reply.model_dump_json())


def shorten(text: str) -> str:
    """The last lines of a long message, bounded; exporters print pages."""
    return text.strip()[-_SHOWN_CHARS:]


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"failed with exit code {code}"
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL, as the kernel does when memory runs out; build fewer at once"
    return f"was killed by {signal.Signals(-code).name}"


def _last_lines(stderr: str) -> str:
    return shorten("\n".join(stderr.strip().splitlines()[-_SHOWN_LINES:])) or "no output"
