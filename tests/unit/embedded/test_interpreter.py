import json
import sys
from pathlib import Path

import pytest

from embedded import interpreter
from embedded.errors import ProvisionFailed


def python(path: Path, version: str, libraries: Path) -> Path:
    """A program that answers the probe as that Python would."""
    answer = json.dumps({"version": version, "folders": [str(libraries)]})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def libraries(tmp_path: Path) -> Path:
    folder = tmp_path / "lib"
    folder.mkdir()
    for version in interpreter.SUPPORTED:
        (folder / f"libpython{version}.so.1.0").touch()
    return folder


@pytest.fixture(autouse=True)
def search_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "bin"


def test_the_running_python_comes_first(
    tmp_path: Path, libraries: Path, search_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = python(tmp_path / "running", "3.12", libraries)
    python(search_path / "python3.11", "3.11", libraries)
    monkeypatch.setattr(sys, "executable", str(running))

    assert interpreter.choose() == interpreter.Interpreter(str(running), "3.12", str(libraries))


def test_another_python_on_path_stands_in(
    tmp_path: Path, libraries: Path, search_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = python(tmp_path / "running", "3.14", libraries)
    python(search_path / "python3.11", "3.11", tmp_path / "without-library")
    suitable = python(search_path / "python3.12", "3.12", libraries)
    monkeypatch.setattr(sys, "executable", str(running))

    assert interpreter.choose().executable == str(suitable)


def test_when_none_suits_each_reason_and_a_remedy_are_named(
    tmp_path: Path, libraries: Path, search_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = python(tmp_path / "running", "3.14", libraries)
    python(search_path / "python3.11", "3.11", tmp_path / "without-library")
    (search_path / "python3.12").write_text("#!/bin/sh\necho not installed >&2\nexit 127\n")
    (search_path / "python3.12").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(running))

    with pytest.raises(ProvisionFailed) as raised:
        interpreter.choose()

    message = str(raised.value)
    assert "Python 3.14 is not among 3.11, 3.12, 3.10" in message
    assert "libpython3.11.so.1.0 is in none of" in message
    assert "does not run: not installed" in message
    assert "apt-get install python3.11 python3.11-venv libpython3.11" in message
