"""What the distributions hold: all that the packages need, and nothing else."""

import os
from email import message_from_string
from pathlib import Path
from zipfile import ZipFile

from tests.packaging.conftest import PACKAGES, ROOT, Distributions


def in_packages() -> set[str]:
    """Every file of our packages, what links lead to included."""
    return {
        (Path(folder) / name).relative_to(ROOT).as_posix()
        for package in PACKAGES
        for folder, _, names in os.walk(ROOT / package, followlinks=True)
        for name in names
        if not folder.endswith("__pycache__")
    }


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(
    distributions: Distributions,
) -> None:
    files = {name for name in distributions.in_wheel() if ".dist-info/" not in name}

    assert files == in_packages()


def test_what_no_module_imports_is_there(distributions: Distributions) -> None:
    """Each stands for a kind of file that a wheel leaves out unless it is told."""
    assert distributions.in_wheel() >= {
        "embedded/backends/onnxruntime/model.py",
        "generator/templates/config.pbtxt.j2",
        "pilotlight/example/models.yaml",
        "pilotlight/example/sabotage.py",
        "pilotlight/py.typed",
        "pilotlight/report/page.css",
        "pilotlight/schema/v1/settings.json",
        "sidecar/adapters/envoy/scripts/release.lua",
        "sidecar/console/index.html",
    }


def test_the_source_distribution_holds_the_packages_and_what_builds_them(
    distributions: Distributions,
) -> None:
    files = {name for name in distributions.in_sdist() if ".egg-info/" not in name}

    about = {"LICENSE", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg"}
    assert files == in_packages() | about


def test_the_console_needs_no_python() -> None:
    assert not list((ROOT / "sidecar" / "console").rglob("*.py"))


def test_each_extra_that_is_promised_is_declared(distributions: Distributions) -> None:
    with ZipFile(distributions.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = message_from_string(archive.read(name).decode())

    assert {*metadata.get_all("Provides-Extra", [])} >= {
        "all",
        "charts",
        "embedded",
        "generator",
        "huggingface",
        "otel",
        "sidecar",
        "trt",
    }
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
