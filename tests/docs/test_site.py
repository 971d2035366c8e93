"""The documentation site, built as `make docs` does."""

import html
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from pilotlight.cli import app
from sidecar.api.problems import CODES
from sidecar.core.events import EventName
from sidecar.settings import GatewaySettings, PolicySettings, Settings
from tests.docs.pages import ROOT


@pytest.mark.timeout(600)
def test_the_site_is_built_without_a_warning_and_tells_what_the_code_has(tmp_path: Path) -> None:
    out = tmp_path / "site"
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", str(tmp_path / "trees"), str(ROOT / "docs"), str(out)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr

    def page(name: str) -> str:
        return html.unescape((out / "reference" / f"{name}.html").read_text(encoding="utf-8"))

    told = {
        "commands": [f"pilotlight {name}" for name in get_command(app).commands],  # type: ignore[attr-defined]
        "errors": [*CODES, "VersionTaken"],
        "metrics": [*EventName, "pilotlight_ready"],
        "recipe": ["max_queue_delay_us"],
        "rest": ["/v1/models/{model}:ensure", "held_bytes"],
        "settings": [
            *Settings.model_fields,
            *PolicySettings.model_fields,
            *GatewaySettings.model_fields,
        ],
    }
    missing = [
        f"{name}: {each}"
        for name, things in told.items()
        for each in things
        if each not in page(name)
    ]
    assert missing == []
