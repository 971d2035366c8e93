"""A command that leaves nothing behind."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from embedded.errors import DidNotEnd, NotStarted

_POLL_S = 0.02
_KILL_TIMEOUT_S = 30.0
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
# Reads until the starter is gone, however it ended: only the starter holds the pipe's other
# end. PR_SET_PDEATHSIG needs no process but fires when the starting *thread* ends.
_GUARD = 'cat >/dev/null; kill -s KILL -- "-$1"; [ -z "$2" ] || rm -f "/dev/shm/$2"*'


class Process:
    """A command in a session and process group of its own, its output appended to a file.

    `stop`, and `start` after a crash, end the whole group and remove the shared memory files
    whose names begin with `shared_memory_prefix`. Should the starter die without stopping
    it, a guard process does the same.
    """

    def __init__(
        self,
        *,
        name: str,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        shared_memory_prefix: str = "",
    ) -> None:
        self.name = name
        self._command = list(command)
        self.log = log
        self._environment = environment
        self._shared_memory_prefix = shared_memory_prefix
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the last start; also the id of its process group and session.

        Raises:
            NotStarted: there was none yet.
        """
        if self._process is None:
            raise NotStarted(f"{self.name} has no pid before its first start")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self.returncode is None

    @property
    def returncode(self) -> int | None:
        """How the last run ended, negative for a signal; None before and while it runs."""
        process = self._process
        if process is None or process.returncode is not None:
            return None if process is None else process.returncode
        try:
            # Without reaping: the zombie keeps the group's id from being given to others.
            ended = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            # Another thread, a supervisor's, is reaping it in `_clear`.
            return process.wait()
        if ended is None:
            return None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def start(self) -> None:
        """Run the command unless it runs already."""
        if self.is_running:
            return
        self._clear()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )
        self._guard = subprocess.Popen(
            ["sh", "-c", _GUARD, "guard", str(self.pid), self._shared_memory_prefix],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def stop(self, timeout_s: float = 10.0) -> None:
        """SIGTERM, after `timeout_s` SIGKILL to the whole group; nothing of it stays."""
        if self.is_running:
            os.kill(self.pid, signal.SIGTERM)
            wait_until(lambda: not self.is_running, timeout_s)
        self._clear()

    def kill(self) -> None:
        """SIGKILL to the process alone, as a crash would; its children stay for now."""
        if self.is_running:
            os.kill(self.pid, signal.SIGKILL)
            wait_until(lambda: not self.is_running, _KILL_TIMEOUT_S)

    def _clear(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            if not wait_until(lambda: not group_members(self.pid), _KILL_TIMEOUT_S):
                raise DidNotEnd(
                    f"{self.name}: processes {group_members(self.pid)} live {_KILL_TIMEOUT_S:g} s "
                    "after SIGKILL; see what they wait for in /proc/<pid>/stack"
                )
            self._process.wait()
        if self._guard is not None:
            # Before its pipe closes, for what it would do then is done.
            self._guard.kill()
            self._guard.communicate()
            self._guard = None
        if self._shared_memory_prefix:
            for left in _SHARED_MEMORY.glob(f"{self._shared_memory_prefix}*"):
                left.unlink(missing_ok=True)


def group_members(group: int) -> list[int]:
    """Living processes of a process group; zombies are not."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # After the name, which may hold anything: state, parent, process group.
            state, _, process_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state not in "ZX":
                members.append(int(stat.parent.name))
    return members


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Whether the condition came true before the deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True
