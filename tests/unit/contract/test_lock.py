"""Two processes that want one file."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from contract.lock import Held, hold


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    with hold(file), pytest.raises(Held) as held, hold(file):
        pass

    assert re.fullmatch(rf"process {os.getpid()} on \S+ since \S+\+00:00", str(held.value))


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    file = tmp_path / "lock"
    code = (
        "import os; from pathlib import Path; from contract.lock import hold\n"
        f"with hold(Path({str(file)!r})): os.kill(os.getpid(), 9)"
    )
    killed = subprocess.run([sys.executable, "-c", code], check=False)

    assert (killed.returncode, file.read_text()[:8]) == (-9, "process ")
    with hold(file):
        pass
    assert file.read_text() == ""
