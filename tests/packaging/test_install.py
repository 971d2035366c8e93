"""The wheel as it is installed, far from its source."""

import json
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest
import yaml

from contract.layout import Store
from contract.manifest import read_manifest
from tests.packaging.conftest import Distributions, Environment

HEAVY = ("fastapi", "grpc", "jinja2", "onnx", "onnxruntime", "torch", "tritonclient", "uvicorn")
MODEL = """
from torch import nn

def create():
    return nn.Linear(4, 2).eval()
"""
RECIPE = {
    "target": "cpu",
    "models": [
        {
            "name": "line",
            "source": "line:create",
            "inputs": [{"name": "x", "dtype": "FP32", "shape": [4]}],
            "outputs": ["y"],
            "max_batch_size": 2,
        }
    ],
}


def test_a_base_install_brings_none_of_the_heavy_libraries(base_install: Environment) -> None:
    code = f"from importlib.util import find_spec; print([m for m in {HEAVY} if find_spec(m)])"

    assert base_install.run("python", "-c", code).stdout.strip() == "[]"


def test_the_client_needs_no_extra(base_install: Environment) -> None:
    code = "import pilotlight.client; print(pilotlight.client.__file__)"

    done = base_install.run("python", "-c", code)

    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(base_install.packages)


def test_no_command_needs_an_extra_before_it_is_called(base_install: Environment) -> None:
    code = "from pilotlight.cli import *; [find(n) for p in COMMANDS.values() for n in p]"

    done = base_install.run("python", "-c", code)

    assert done.returncode == 0, done.stderr


def test_the_command_tells_its_version(
    base_install: Environment, distributions: Distributions
) -> None:
    done = base_install.run("pilotlight", "--version")

    _, version, *_ = distributions.wheel.name.split("-")
    assert (done.returncode, done.stdout.split()) == (0, ["pilotlight", version])


def test_the_command_teaches_without_any_extra(base_install: Environment) -> None:
    done = base_install.run("pilotlight", "--help")

    assert done.returncode == 0, done.stderr
    assert {"build", "up", "status", "release"} <= set(done.stdout.split())


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        (["build"], "generator"),
        (["serve"], "sidecar"),
        (["up"], "sidecar,embedded"),
        (["demo"], "all"),
        (["report", "m"], "charts"),
    ],
    ids=lambda given: given[0] if isinstance(given, list) else given,
)
def test_a_command_says_which_extra_it_needs(
    base_install: Environment, command: list[str], extra: str
) -> None:
    done = base_install.run("pilotlight", *command)

    assert done.returncode == 1
    assert f"pip install 'pilotlight[{extra}]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_schemas_are_shown_without_any_extra(base_install: Environment) -> None:
    done = base_install.run("pilotlight", "schema", "recipe")

    assert json.loads(done.stdout)["title"] == "Pilotlight recipe"


def test_nothing_is_written_but_for_what_was_asked(base_install: Environment) -> None:
    base_install.run("pilotlight", "status")

    assert list(base_install.folder.iterdir()) == []


@pytest.mark.build
def test_the_installed_command_builds_into_the_current_folder(
    base_install: Environment, tmp_path: Path
) -> None:
    """With libraries lent from this environment, and a recipe in a package, as the example is."""
    recipe = base_install.packages / "line" / "models.yaml"
    recipe.parent.mkdir()
    recipe.write_text(yaml.safe_dump(RECIPE))
    recipe.with_name("line.py").write_text(MODEL)

    done = subprocess.run(
        [base_install.home / "bin" / "pilotlight", "build", recipe, "--triton", "24.10"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model_repository"]
    version = Store(tmp_path / "model_repository").version("line", 1)
    assert 'name: "line"' in version.config.read_text()
    assert set(read_manifest(version.manifest).sources) == {"line.py"}
