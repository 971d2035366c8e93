"""What can be said of the compose files without starting anything."""

import subprocess
import sys

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
