"""ONNX Runtime of another release of Triton, in a folder of its own.

<home>/
    stamp.json
    packages/     what `pip --target` unpacked; goes in front of the installed one
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from embedded.installing import installed, pip_install, read_stamp, write_stamp


def provide_onnxruntime(version: str, home: Path, report: Callable[[str], None]) -> Path:
    """Make `home` a complete ONNX Runtime for the CPU and return the folder to put on the path.

    Milliseconds when it is one already.

    Raises:
        ProvisionFailed: pip failed, as where that version has no wheel for this Python; nothing
            half-done stays in `home`.
    """
    pin = f"onnxruntime=={version}"
    find, fill = partial(_find, pin=pin), partial(_fill, pin=pin, report=report)
    with installed(home, find, fill) as packages:
        return packages


def _find(home: Path, *, pin: str) -> Path | None:
    return home / "packages" if read_stamp(home, [pin]) else None


def _fill(home: Path, *, pin: str, report: Callable[[str], None]) -> None:
    report(f"installing {pin} (about 20 MB) to prove models in it")
    pip_install(sys.executable, "--target", str(home / "packages"), pin)
    write_stamp(home, [pin])
