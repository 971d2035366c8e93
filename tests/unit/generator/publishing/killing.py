"""SIGKILL between any two operations on files."""

import os
import signal
import sys
from collections.abc import Callable, Iterator

_OPERATIONS = {"open", "os.mkdir", "os.rename", "os.symlink", "os.remove", "os.rmdir"}


def kill_at_every_step(work: Callable[[], None]) -> Iterator[int]:
    """Run `work` again and again in processes of their own, each killed one operation later.

    Yields the number of operations done, after each; ends when one came through.
    """
    steps = 0
    while _is_killed_after(steps, work):
        yield steps
        steps += 1


def _is_killed_after(steps: int, work: Callable[[], None]) -> bool:
    child = os.fork()
    if child == 0:
        left = steps

        def count(event: str, _: object) -> None:
            nonlocal left
            if event in _OPERATIONS:
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        sys.addaudithook(count)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), "the work itself failed"
    return status == signal.SIGKILL
