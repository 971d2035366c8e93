"""A stage of the build in a process of its own.

PyTorch's exporter keeps state between exports (a second one in the same process differs),
ONNX Runtime can die of a graph, and memory can only be measured in a process that did
nothing else. A stage module ends with `worker.main(work, Job)`; `worker.run` starts it.
"""

import atexit
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from generator import forks
from generator.errors import (
    GeneratorError,
    OutOfMemory,
    StageRefused,
    WorkerCrashed,
    WorkerDied,
)

_TIMEOUT_S = 1800
_NO_MEMORY = errno.ENOMEM
_SHOWN_LINES = 12
_SHOWN_CHARS = 2000

Job = TypeVar("Job", bound=BaseModel)
Reply = TypeVar("Reply", bound=BaseModel)


def run(
    module: str,
    job: BaseModel,
    reply: type[Reply],
    *,
    scratch: Path,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    forked: bool = False,
) -> Reply:
    """Run a stage module on `job` in a process of its own and wait for its reply.

    That is a fresh interpreter, or, `forked`, a child of one that has imported PyTorch, which
    takes seconds, and done nothing else. The worker does not outlive this process. `environment`
    is added to that of this process.

    Raises:
        StageRefused: the stage found something wrong with the model and says what.
        OutOfMemory: an allocation failed, or the kernel killed it, which is what SIGKILL means.
        WorkerDied: killed by another signal.
        WorkerCrashed: out of time, or an exception nobody expected.
    """
    asked, answered = scratch / f"{module}.job", scratch / f"{module}.reply"
    asked.write_text(job.model_dump_json())
    arguments = [str(asked), str(answered)]
    start = forks.run if forked else _run_fresh
    try:
        done = start(
            forks.Job(module, arguments, str(cwd), {**os.environ, **(environment or {})}),
            timeout_s=_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise WorkerCrashed(f"{module} gave no answer within {_TIMEOUT_S} s") from error
    if done.returncode == 0:
        return reply.model_validate_json(answered.read_bytes())
    if answered.exists():
        raise StageRefused(answered.read_text())
    raise _crash(done.returncode)(
        f"{module} {_how_it_ended(done.returncode)}: {_last_lines(done.stderr)}"
    )


def main(work: Callable[[Job], BaseModel], job: type[Job]) -> None:
    """Answer the job file named on the command line; exit code 1 with a reply is a refusal."""
    code = 1
    # What is registered first runs last. Taking PyTorch apart would take a second.
    atexit.register(lambda: os._exit(code))
    threading.Thread(target=_die_with_the_builder, daemon=True).start()
    asked, answered = Path(sys.argv[1]), Path(sys.argv[2])
    try:
        reply = work(job.model_validate_json(asked.read_bytes()))
    except GeneratorError as refusal:
        answered.write_text(str(refusal))
    except MemoryError:
        code = _NO_MEMORY
    else:
        answered.write_text(reply.model_dump_json())
        code = 0


def shorten(text: str) -> str:
    """The last lines of a long message, bounded; exporters print pages."""
    return text.strip()[-_SHOWN_CHARS:]


def _run_fresh(job: forks.Job, *, timeout_s: float) -> subprocess.CompletedProcess[str]:
    with _lifeline() as lifeline:
        return subprocess.run(
            # -P: a model's source file named like a module of the library must not shadow it.
            [sys.executable, "-P", "-m", job.module, *job.arguments],
            cwd=job.cwd,
            env=job.environment,
            stdin=lifeline,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


@contextmanager
def _lifeline() -> Iterator[int]:
    """A pipe that ends when this process does: nobody else holds its other end."""
    read_end, write_end = os.pipe()
    try:
        yield read_end
    finally:
        os.close(read_end)
        os.close(write_end)


def _die_with_the_builder() -> None:
    os.read(sys.stdin.fileno(), 1)
    os.kill(os.getpid(), signal.SIGKILL)


def _crash(code: int) -> type[WorkerCrashed]:
    if code in (_NO_MEMORY, -signal.SIGKILL):
        return OutOfMemory
    return WorkerDied if code < 0 else WorkerCrashed


def _how_it_ended(code: int) -> str:
    if code == _NO_MEMORY:
        return "ran out of memory; build fewer at once (--jobs 1), or on a machine with more"
    if code == -signal.SIGKILL:
        return (
            "was killed by SIGKILL, as the kernel does when memory runs out; build fewer at once "
            "(--jobs 1), or on a machine with more"
        )
    if code >= 0:
        return f"failed with exit code {code}"
    return f"was killed by {signal.Signals(-code).name}"


def _last_lines(stderr: str) -> str:
    return shorten("\n".join(stderr.strip().splitlines()[-_SHOWN_LINES:])) or "no output"
