"""What a user gets: both distributions, and a virtual environment with the wheel alone in it."""

import shutil
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("contract", "embedded", "generator", "pilotlight", "sidecar")
_NOT_SOURCE = (
    *(".git", ".venv", ".pilotlight", ".hypothesis", ".*_cache"),
    *("*.egg-info", "__pycache__", "build"),
)
_PRIVATE = (
    "secrets/admin.key",
    ".env",
    ".pilotlight/up/admin.key",
    "model_repository/m/1/model.onnx",
)
_FIRST_S = 600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first pays for the fixtures."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(_FIRST_S))


@dataclass(frozen=True, slots=True)
class Distributions:
    wheel: Path
    sdist: Path

    def in_wheel(self) -> set[str]:
        with ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def in_sdist(self) -> set[str]:
        """Paths below the one folder that it unpacks to."""
        with tarfile.open(self.sdist) as archive:
            files = [member.name for member in archive if member.isfile()]
        return {name.partition("/")[2] for name in files}


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment. Commands run in `folder`, which was empty."""

    home: Path
    folder: Path

    @property
    def packages(self) -> Path:
        return next(self.home.glob("lib/python3*/site-packages"))

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        binary, *arguments = command
        return subprocess.run(
            [self.home / "bin" / binary, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """Built from a copy of the source, in which lies what must not leave the machine.

    The wheel is built from the source distribution, which so is complete.
    """
    source = tmp_path_factory.mktemp("source") / "pilotlight"
    shutil.copytree(ROOT, source, symlinks=True, ignore=shutil.ignore_patterns(*_NOT_SOURCE))
    for name in _PRIVATE:
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("private")
    target = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target), str(source))
    return Distributions(next(target.glob("*.whl")), next(target.glob("*.tar.gz")))


@pytest.fixture(scope="session")
def base_install(
    distributions: Distributions, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """After `pip install pilotlight`, without any extra."""
    home = tmp_path_factory.mktemp("venv")
    _run(sys.executable, "-m", "venv", "--without-pip", str(home))
    pip = [sys.executable, "-m", "pip", "--python", str(home), "install", "--quiet"]
    _run(*pip, "--constraint", str(ROOT / "constraints.txt"), str(distributions.wheel))
    return Environment(home, tmp_path_factory.mktemp("empty"))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
