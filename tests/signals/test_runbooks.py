"""Each alert has a page that says what to do."""

import json
import re
from typing import Any

import typer

from pilotlight.cli import app
from sidecar.core.fleet import Server
from sidecar.settings import Settings
from tests.signals.deployed import DEPLOY, RUNBOOKS, alerts

HEADINGS = ["## What it means", "## What users notice", "## How to look", "## How to mend it"]


def test_every_alert_leads_to_its_page_and_every_page_is_of_an_alert() -> None:
    pages = {path.stem for path in RUNBOOKS.glob("Pilotlight*.md")}
    assert pages == set(alerts())
    for name, rule in alerts().items():
        assert DEPLOY.parent / rule["annotations"]["runbook_url"] == RUNBOOKS / f"{name}.md"


def test_every_page_answers_the_same_questions() -> None:
    for name in alerts():
        lines = (RUNBOOKS / f"{name}.md").read_text().splitlines()
        assert lines[0] == f"# {name}"
        assert [line for line in lines if line.startswith("## ")][: len(HEADINGS)] == HEADINGS, name


def test_the_index_has_every_page_with_its_severity_and_patience() -> None:
    index = (RUNBOOKS / "index.md").read_text()
    for name, rule in alerts().items():
        severity, patience = rule["labels"]["severity"], rule.get("for", "at once")
        assert f"| [{name}]({name}.md) | {severity} | {patience} |" in index


def test_pages_name_commands_options_settings_and_metrics_that_there_are(exposition: str) -> None:
    known = {name: _options(command) for name, command in _commands().items()}
    told = set(re.findall(r"^# TYPE (\S+)", exposition, re.MULTILINE))
    for page in RUNBOOKS.glob("*.md"):
        for code in re.findall(r"`([^`]+)`", page.read_text()):
            if code.startswith("pilotlight "):
                _, command, *arguments = code.split()
                options = {each for each in arguments if each.startswith("-")}
                assert options <= known[command], f"{page.name}: {code}"
            elif re.match(r"(policy|gateway|servers)\.\w", code):
                assert _is_setting(code.split(":")[0].split(".")), f"{page.name}: {code}"
            else:
                named = set(re.findall(r"pilotlight_[a-z_]+", code))
                assert named <= told, f"{page.name}: {code}"


def _commands() -> dict[str, Any]:
    return vars(typer.main.get_command(app))["commands"]  # type: ignore[no-any-return]


def _options(command: Any) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


def _is_setting(path: list[str]) -> bool:
    """Names of servers are not in the schema."""
    text = json.dumps(Settings.model_json_schema())
    return all(f'"{name}":' in text for name in path if name not in set(Server))
