"""Commands of a page, run one after the other as a reader does, in a folder of their own."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from embedded.process import Process, wait_until
from tests.docs.pages import Command

_STAYS = ("pilotlight up", "pilotlight serve", "tritonserver ")
"""Begin what goes on until ctrl-C; a reader gives them a terminal each."""
_LONGEST_S = 240.0
_PORT = re.compile(r"(?<=[:= ])(8[012]0[012]|8080|809[01]|9901)\b")
_ANY_PORT = re.compile(r"(?<=127\.0\.0\.1:)\d+")
_NUMBER = r"\d[\d,]*(?:\.\d+)?(?:e-\d+)?"
_MEASURED = {
    "seconds": rf"{_NUMBER} (?:ms|s|min|h)\b",
    "bytes": rf"{_NUMBER} (?:B|KiB|MiB|GiB)\b",
    "share": f"{_NUMBER} ?%",
    "decimal": rf"(?=[\d,]*\.\d){_NUMBER}",
}
"""What differs from run to run: seconds stand for any seconds, and so on. Counts must agree."""
_ANY_MEASURED = re.compile("|".join(f"(?P<{kind}>{text})" for kind, text in _MEASURED.items()))


@dataclass
class Shell:
    """`ports` says which port stands here for the one that the pages name."""

    folder: Path
    ports: dict[str, str]
    replaced: Mapping[str, str] = field(default_factory=dict)
    _staying: list[Process] = field(default_factory=list)

    def run(self, command: Command) -> None:
        text = self.ported(self.replaced.get(command.text, command.text))
        if command.text.startswith(_STAYS):
            self._begin(text, command)
            return
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", text],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
        assert done.returncode == command.exit_code, f"$ {text}\n{done.stdout}"
        missing = not_shown(command.shown, done.stdout)
        assert missing is None, f"$ {text}\n{done.stdout}\nshows nothing like\n{missing}"

    def run_python(self, script: str) -> None:
        done = subprocess.run(
            [sys.executable, "-c", self.ported(script)],
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            timeout=_LONGEST_S,
            check=False,
        )
        assert done.returncode == 0, f"{script}\n{done.stderr}"

    def ported(self, text: str) -> str:
        """With the ports that are ours in place of the usual ones."""
        return _PORT.sub(lambda port: self.ports.get(port[0], port[0]), text)

    def close(self) -> None:
        for process in reversed(self._staying):
            process.stop()

    def _begin(self, text: str, command: Command) -> None:
        out = self.folder / f"terminal-{len(self._staying)}.log"
        process = Process(
            name=text,
            command=["bash", "-c", f"cd {self.folder} && exec {text}"],
            log=out,
            environment=self._environment(),
        )
        self._staying.append(process)
        process.start()
        said = wait_until(lambda: not_shown(command.shown, out.read_text()) is None, _LONGEST_S)
        assert said, f"$ {text}\n{out.read_text()}\nnever shows {command.shown}"
        for usual, found in _told_ports(out.read_text()):
            self.ports[usual] = found

    def _environment(self) -> dict[str, str]:
        ours = Path(sys.executable).parent
        return {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{ours}:{os.environ['PATH']}",
            "COLUMNS": "120",
            "PILOTLIGHT_URL": f"http://127.0.0.1:{self.ports.get('8080', '8080')}",
        }


def not_shown(lines: tuple[str, ...], printed: str) -> str | None:
    """The first line that is not there, after those before it; None when all are.

    Any figure that was measured stands for any other, `...` for anything, and space for any.
    """
    rest = iter(printed.splitlines())
    for line in lines:
        pattern = re.compile(_pattern(line))
        if not any(pattern.search(_squeezed(each)) for each in rest):
            return line
    return None


def _pattern(line: str) -> str:
    return ".*".join(_part(part.strip()) for part in _squeezed(line).split("..."))


def _part(text: str) -> str:
    found = list(_ANY_MEASURED.finditer(text))
    words = _ANY_MEASURED.sub("\0", text).split("\0")
    figures = [_MEASURED[str(each.lastgroup)] for each in found]
    return "".join(map("".join, zip(map(re.escape, words), [*figures, ""], strict=True)))


def _squeezed(text: str) -> str:
    return _ANY_PORT.sub("0", " ".join(text.split()))


def _told_ports(printed: str) -> list[tuple[str, str]]:
    """The ports that `pilotlight up --ports free` tells."""
    told = {
        "8000": r"models answer at http://127\.0\.0\.1:(\d+)/v2",
        "8001": r"and 127\.0\.0\.1:(\d+) \(gRPC\)",
        "8080": r"sidecar at http://127\.0\.0\.1:(\d+)",
    }
    found = ((usual, re.search(pattern, printed)) for usual, pattern in told.items())
    return [(usual, match[1]) for usual, match in found if match]
