"""Install tritonserver and the Python of its models, once, into a folder.

<home>/
    stamp.json        pins and interpreter; written last, so its presence means complete
    pytriton/         the wheel, unpacked
    venv/             numpy and onnxruntime for the models
    backends/         what `--backend-directory` gets
        python/       copies: Triton refuses symlinks that lead out of a backend directory
        onnxruntime/  this repository's `embedded/backends/onnxruntime/model.py`
"""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from embedded import interpreter
from embedded.errors import ProvisionFailed
from embedded.interpreter import Interpreter

# The only wheel on PyPI that carries tritonserver: 2.51.0, of NVIDIA's release 24.10.
SERVER = "nvidia-pytriton==0.7.0"
# With numpy 2 the stub reads tensors wrongly; 1.19.2 is what Triton 24.10 ships.
PACKAGES = ("numpy==1.26.4", "onnxruntime==1.19.2")

_BACKEND = Path(__file__).parent / "backends" / "onnxruntime" / "model.py"
_STAMP = "stamp.json"
_SHOWN_CHARACTERS = 2000


@dataclass(frozen=True, slots=True)
class Installation:
    """A provisioned server."""

    home: Path
    library_folder: Path

    @property
    def tritonserver(self) -> Path:
        return self.home / "pytriton/pytriton/tritonserver/bin/tritonserver"

    @property
    def backend_directory(self) -> Path:
        return self.home / "backends"

    @property
    def python(self) -> Path:
        """The interpreter whose packages the models see."""
        return self.home / "venv/bin/python"

    def environment(self) -> dict[str, str]:
        """The environment of a server process: this process's own with what Triton needs.

        The stub embeds Python, which takes `python3` on PATH for itself and so finds the
        venv beside it; variables such as PYTHONHOME and PYTHONPATH would override that.
        """
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("PYTHON") and name != "VIRTUAL_ENV"
        }
        # Else a machine with a GPU places models there by default, which the backend refuses.
        environment["CUDA_VISIBLE_DEVICES"] = ""
        libraries = [str(self.home / "pytriton/nvidia_pytriton.libs"), str(self.library_folder)]
        if inherited := environment.get("LD_LIBRARY_PATH"):
            libraries.append(inherited)
        environment["LD_LIBRARY_PATH"] = os.pathsep.join(libraries)
        environment["PATH"] = os.pathsep.join(
            [str(self.python.parent), environment.get("PATH", os.defpath)]
        )
        return environment


def provision(home: Path, report: Callable[[str], None]) -> Installation:
    """Make `home` a complete installation; milliseconds when it is one already.

    Processes that provision the same home wait for each other. The ONNX Runtime backend is
    copied anew whenever it has changed.

    Raises:
        ProvisionFailed: no usable Python, or pip failed; nothing half-done stays in `home`.
    """
    home = home.resolve()
    home.parent.mkdir(parents=True, exist_ok=True)
    with home.with_name(f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installation = _complete(home)
        if installation is None:
            _build(home, report)
            installation = _complete(home)
        if installation is None:
            raise ProvisionFailed(f"{home} does not last: its Python is gone again; try again")
        _refresh_backend(installation)
        return installation


def _complete(home: Path) -> Installation | None:
    """The installation in `home` unless it is missing, stale or its Python has gone."""
    try:
        stamp = json.loads((home / _STAMP).read_text())
    except FileNotFoundError:
        return None
    if stamp["pins"] != [SERVER, *PACKAGES]:
        return None
    python = Interpreter(**stamp["interpreter"])
    installation = Installation(home=home, library_folder=Path(python.library_folder))
    library = installation.library_folder / f"libpython{python.version}.so.1.0"
    return installation if library.exists() and installation.python.exists() else None


def _build(home: Path, report: Callable[[str], None]) -> None:
    python = interpreter.choose()
    for abandoned in home.parent.glob(f".{home.name}.*.building"):
        shutil.rmtree(abandoned)
    building = Path(tempfile.mkdtemp(prefix=f".{home.name}.", suffix=".building", dir=home.parent))
    try:
        _fill(building, python, report)
        if home.exists():
            shutil.rmtree(home)
        building.rename(home)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _fill(home: Path, python: Interpreter, report: Callable[[str], None]) -> None:
    venv = home / "venv"
    report(f"making an environment for models with Python {python.version}")
    _run(
        [python.executable, "-m", "venv", str(venv)],
        f"apt-get install python{python.version}-venv on Debian and Ubuntu",
    )
    pip = [str(venv / "bin/python"), "-m", "pip", "--disable-pip-version-check", "install"]
    remedy = "check that the package index can be reached and that glibc is 2.35 or newer"
    report(f"installing {', '.join(PACKAGES)}")
    _run([*pip, "--no-deps", *PACKAGES], remedy)
    report(f"installing {SERVER} (tritonserver 2.51.0, 144 MB)")
    _run([*pip, "--no-deps", "--target", str(home / "pytriton"), SERVER], remedy)
    _run([str(venv / "bin/python"), "-c", "import onnxruntime"], "see the error above")

    triton = home / "pytriton/pytriton/tritonserver"
    backend = home / "backends/python"
    shutil.copytree(triton / "backends/python", backend)
    shutil.copy2(
        triton / "python_backend_stubs" / python.version / "triton_python_backend_stub", backend
    )
    stamp = {"pins": [SERVER, *PACKAGES], "interpreter": asdict(python)}
    (home / _STAMP).write_text(json.dumps(stamp, indent=2))


def _run(command: list[str], remedy: str) -> None:
    ended = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if ended.returncode != 0:
        raise ProvisionFailed(
            f"`{' '.join(command)}` ended with {ended.returncode}; {remedy}:\n"
            f"{ended.stdout[-_SHOWN_CHARACTERS:].strip()}"
        )


def _refresh_backend(installation: Installation) -> None:
    target = installation.backend_directory / "onnxruntime" / _BACKEND.name
    if target.exists() and target.read_bytes() == _BACKEND.read_bytes():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # By rename: a server may be reading the old one.
    fresh = target.with_suffix(".new")
    shutil.copy2(_BACKEND, fresh)
    fresh.replace(target)
