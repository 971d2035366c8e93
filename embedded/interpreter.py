"""Which Python runs the models of the embedded server."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from embedded.errors import ProvisionFailed

# Pythons for which the pinned wheels exist (numpy 1.26, onnxruntime 1.19) and for which
# nvidia-pytriton carries a stub; the project's own minimum comes first.
SUPPORTED = ("3.11", "3.12", "3.10")
_PROBE = """
import json, sys, sysconfig
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2],
    "folders": [
        sysconfig.get_config_var("LIBDIR"),
        "%s/%s" % (sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("MULTIARCH")),
        sys.base_prefix + "/lib",
        "/usr/lib/%s" % sysconfig.get_config_var("MULTIARCH"),
        "/usr/lib64",
        "/usr/local/lib",
    ],
}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that the stub can embed; `library_folder` holds its `libpython3.X.so.1.0`."""

    executable: str
    version: str
    library_folder: str


def choose() -> Interpreter:
    """This Python if it suits the stub, else the first of `SUPPORTED` on PATH that does.

    Raises:
        ProvisionFailed: none suits; says what is wrong with each and what to install.
    """
    refused = []
    for executable in _candidates():
        found = _inspect(executable)
        if isinstance(found, Interpreter):
            return found
        refused.append(f"{executable}: {found}")
    raise ProvisionFailed(
        "no Python here can run Triton's Python backend:\n  "
        + "\n  ".join(refused)
        + "\nIt needs Python 3.10, 3.11 or 3.12 with its shared library; on Debian and Ubuntu: "
        "apt-get install python3.11 python3.11-venv libpython3.11 (or the same for 3.10, 3.12)"
    )


def _candidates() -> Iterator[str]:
    yield sys.executable
    for version in SUPPORTED:
        if path := shutil.which(f"python{version}"):
            yield path


def _inspect(executable: str) -> Interpreter | str:
    """The interpreter, or why it cannot be used."""
    probe = subprocess.run(
        [executable, "-I", "-c", _PROBE], capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        return f"does not run: {probe.stderr.strip()[-200:]}"
    answer = json.loads(probe.stdout)
    version = answer["version"]
    if version not in SUPPORTED:
        return f"Python {version} is not among {', '.join(SUPPORTED)}"
    library = f"libpython{version}.so.1.0"
    for folder in answer["folders"]:
        if (Path(folder) / library).exists():
            return Interpreter(executable, version, folder)
    return f"{library} is in none of {', '.join(answer['folders'])}"
