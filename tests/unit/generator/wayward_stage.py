"""A stage of a build that ends as its job says."""

import ctypes
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from generator import worker
from generator.errors import StageRefused
from generator.fork_server import IMPORTED

_LITTLE_BYTES = 1 << 30


class Job(BaseModel):
    end: str
    sign: Path | None = None


class Reply(BaseModel):
    said: str


def work(job: Job) -> Reply:
    match job.end:
        case "refusal":
            raise StageRefused("the model is square")
        case "exception":
            raise ValueError("nobody expected this")
        case "exit":
            os._exit(3)
        case "leave":
            sys.exit(0)
        case "wait":
            assert job.sign
            job.sign.write_text(f"{os.getpid()} {os.getppid()}")
            time.sleep(600)
        case "hold":
            # As a library that computes and lets no other thread of Python run.
            ctypes.PyDLL(None).sleep(600)
        case "SIGKILL" | "SIGSEGV":
            os.kill(os.getpid(), signal.Signals[job.end])
    return Reply(said=ANSWERS[job.end]())


def _allocate() -> str:
    resource.setrlimit(resource.RLIMIT_AS, (_LITTLE_BYTES, _LITTLE_BYTES))
    return str(bytearray(2 * _LITTLE_BYTES))


def _find_and_leave_a_mark() -> str:
    found = [os.environ.get("MARK"), vars(os).get("mark")]
    os.environ["MARK"] = vars(os)["mark"] = "here before"
    return str(found)


ANSWERS: dict[str, Callable[[], str]] = {
    "reply": lambda: os.environ.get("WAYWARD", "done"),
    "folder": lambda: str(Path.cwd()),
    "out of memory": _allocate,
    "mark": _find_and_leave_a_mark,
    "chance": lambda: f"{random.random()} {np.random.random()}",  # noqa: S311  (no secret)
    "not imported": lambda: str([name for name in IMPORTED if name not in sys.modules]),
    "order": lambda: str(hash("the order of sets")),
    "parent": lambda: str(os.getppid()),
}


if __name__ == "__main__":
    worker.main(work, Job)
