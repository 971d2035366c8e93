"""A process that imports what an export needs, then forks a child for each job.

Importing takes longer than exporting a small model. Every child still finds a process in which
nothing was exported. `generator.forks` starts the server, and says what goes between them.

There must be no thread at a fork, because what it holds is held for ever in the child. OpenBLAS
starts threads when numpy is imported, but ends them itself before a fork. Everything else starts
its threads when it first computes, which happens in the children alone.
"""

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module

import numpy as np

from generator.forks import Job

# What the export stage imports, and what PyTorch's exporter imports when it is first called. Not
# the stage itself, which is each child's main module.
IMPORTED = (
    "generator.exporters.failures",
    "generator.exporters.huggingface",
    "generator.exporters.program",
    "generator.exporters.reference",
    "generator.exporters.source",
    "generator.samples.graph",
    "generator.samples.real",
    "onnxscript.function_libs.torch_lib.ops",
    "torch.export._trace",
    "torch.onnx._internal.exporter._compat",
)


@dataclass(frozen=True, slots=True)
class _Child:
    """`ended` is a file descriptor that becomes readable with the child's death."""

    pid: int
    ended: int
    lifeline: int


def main() -> None:
    # There is no garbage in what is imported, and looking through it costs every child, too.
    gc.disable()
    for name in IMPORTED:
        # Whoever needs it says that it is missing.
        with suppress(ImportError):
            import_module(name)
    gc.freeze()
    gc.enable()
    # From now on Ctrl-C is for the builder and the children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as control:
        job = _serve(control)
    if job is None:
        # Taking PyTorch apart would take a second.
        os._exit(0)
    _prepare(job)
    runpy.run_module(job.module, run_name="__main__", alter_sys=True)


def _serve(control: socket.socket) -> Job | None:
    """Fork until the builder is gone. Returns in each child, with its job, and at the end."""
    with selectors.DefaultSelector() as events:
        events.register(control, selectors.EVENT_READ)
        while events.get_map():
            key, _ = events.select()[0]
            child: _Child | None = key.data
            if child is None:
                _, descriptors, *_ = socket.recv_fds(control, 1, 3)
                if not descriptors:
                    # Every lifeline is at its end, too.
                    events.unregister(control)
                elif job := _fork(events, *descriptors):
                    return job
            elif key.fd == child.ended:
                _bury(child, events)
            else:
                os.kill(child.pid, signal.SIGKILL)
                events.unregister(child.lifeline)
    return None


def _fork(events: selectors.BaseSelector, lifeline: int, asked: int, errors: int) -> Job | None:
    """The job in the child, None in the server."""
    pid = os.fork()
    if pid:
        os.close(asked)
        os.close(errors)
        child = _Child(pid, os.pidfd_open(pid), lifeline)
        events.register(child.ended, selectors.EVENT_READ, child)
        events.register(child.lifeline, selectors.EVENT_READ, child)
        return None
    for key in events.get_map().values():
        if key.data:
            os.close(key.fd)
    os.dup2(lifeline, sys.stdin.fileno())
    os.dup2(errors, sys.stderr.fileno())
    os.close(lifeline)
    os.close(errors)
    with open(asked) as file:
        return Job(*json.load(file))


def _bury(child: _Child, events: selectors.BaseSelector) -> None:
    _, status = os.waitpid(child.pid, 0)
    with suppress(BrokenPipeError):
        os.write(child.lifeline, str(os.waitstatus_to_exitcode(status)).encode())
    events.unregister(child.ended)
    # Not there where the builder gave the child up.
    with suppress(KeyError):
        events.unregister(child.lifeline)
    os.close(child.ended)
    os.close(child.lifeline)


def _prepare(job: Job) -> None:
    """Make of a fork what a fresh interpreter would be."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(job.environment)
    os.chdir(job.cwd)
    sys.argv = [job.module, *job.arguments]
    # Python's own random numbers are seeded anew after a fork. numpy's would be the same in all.
    np.random.seed()


if __name__ == "__main__":
    main()
