"""What can be said of the compose files without starting anything."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.compose.product import FILES_OF_COMPOSE, ROOT


def test_the_files_are_valid_for_compose_v2() -> None:
    """By the schema of the Compose specification, which v2 checks against."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    ended = subprocess.run(
        [*command, *(ROOT / name for name in FILES_OF_COMPOSE)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize("service", ["triton", "triton-canary"])
@pytest.mark.parametrize(
    ("release", "is_told"),
    [("24.10", False), ("25.05", False), ("25.06", True), ("25.10", True), ("26.01", True)],
)
def test_a_triton_that_limits_http_bodies_is_told_to_leave_that_to_the_gateway(
    tmp_path: Path, service: str, release: str, *, is_told: bool
) -> None:
    """From 25.06 on; an older one would not start with a flag that it does not know."""
    for name, does in {"tritonserver": 'printf "%s\\n" "$@"', "cat": "echo key"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    command = [
        part.replace("${TRITON_RELEASE}", release).replace("$$", "$")
        for part in compose["services"][service]["command"]
    ]
    environment = os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"}

    ended = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)

    told = ended.stdout.splitlines()
    assert "--model-control-mode=explicit" in told
    assert "--http-restricted-api=model-repository:admin-key=key" in told
    assert ("--http-max-input-size=2147483647" in told) is is_told
