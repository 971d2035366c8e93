"""Modules run in children of the fork server, of which this process has at most one.

For each job, three file descriptors go to the server: one end of a socket, a file with the job, a
file for errors. The child's exit code comes back through the socket. Its end here is the child's
lifeline: closed, and the child dies. So does the server, when the socket is closed that jobs go
through.
"""

import functools
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import weakref
from contextlib import suppress
from typing import IO, NamedTuple

# A message needs a byte beside its file descriptors.
_JOB = b"."
_MAX_EXIT_CODE_BYTES = 8

_lock = threading.Lock()


class Job(NamedTuple):
    """A module to run as `python -m` does, in the folder `cwd`."""

    module: str
    arguments: list[str]
    cwd: str
    environment: dict[str, str]


def run(job: Job, *, timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a job and wait for its end. What it prints is thrown away.

    If the server dies, so does the job, with the server's exit code and errors.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was killed.
    """
    # What only an interpreter that starts would notice.
    start = frozenset(item for item in job.environment.items() if item[0].startswith("PYTHON"))
    with _lock:
        if not _server(start).is_alive():
            _server.cache_clear()
        server = _server(start)
    return server.run(job, timeout_s)


def renew() -> None:
    """From now on fork another server: one that orders sets otherwise, by its own hash seed."""
    with _lock:
        _server.cache_clear()


class _Server:
    def __init__(self, environment: dict[str, str]) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the server)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "generator.fork_server", str(theirs.fileno())],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
                pass_fds=[theirs.fileno()],
            )
        weakref.finalize(self, _end, self._control, self._process, self._errors)

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def run(self, job: Job, timeout_s: float) -> subprocess.CompletedProcess[str]:
        lifeline, theirs = socket.socketpair()
        with lifeline, tempfile.TemporaryFile() as asked, tempfile.TemporaryFile() as errors:
            asked.write(json.dumps(job).encode())
            asked.seek(0)
            # A server that is dead by now is told below.
            with theirs, suppress(BrokenPipeError):
                descriptors = [each.fileno() for each in (theirs, asked, errors)]
                socket.send_fds(self._control, [_JOB], descriptors)
            ready = self._wait(lifeline, timeout_s)
            if lifeline not in ready:
                lifeline.shutdown(socket.SHUT_WR)
            code = lifeline.recv(_MAX_EXIT_CODE_BYTES)
            if not ready:
                raise subprocess.TimeoutExpired(job.module, timeout_s)
            if not code:
                died = self._process.wait()
                return subprocess.CompletedProcess(job.module, died, stderr=_text(self._errors))
            return subprocess.CompletedProcess(job.module, int(code), stderr=_text(errors))

    def _wait(self, lifeline: socket.socket, timeout_s: float) -> list[object]:
        """Of lifeline and control, what has something to say; of control that is its end."""
        with selectors.DefaultSelector() as events:
            for each in (lifeline, self._control):
                events.register(each, selectors.EVENT_READ)
            return [key.fileobj for key, _ in events.select(timeout_s)]


@functools.lru_cache(maxsize=1)
def _server(start: frozenset[tuple[str, str]]) -> _Server:
    return _Server({**os.environ, **dict(start)})


def _end(control: socket.socket, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
    control.close()
    process.wait()
    errors.close()


def _text(file: IO[bytes]) -> str:
    descriptor = file.fileno()
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode(errors="replace")
