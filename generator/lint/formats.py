"""Findings as other programs read them."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from generator.lint.finding import Finding, Rule
from generator.lint.rules import RULES

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def sarif(findings: Iterable[Finding], root: Path, version: str) -> dict[str, Any]:
    """A SARIF 2.1.0 log, with all rules; addresses are relative to where it was called."""
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "pilotlight lint",
                        "version": version,
                        "rules": [_rule(each) for each in RULES],
                    }
                },
                "results": [_result(each, root) for each in findings],
            }
        ],
    }


def github(findings: Sequence[Finding], root: Path) -> str:
    """Commands that a GitHub workflow shows beside the lines of a pull request."""
    return "".join(f"{_annotation(each, root)}\n" for each in findings)


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.name.replace("-", " ")},
        "fullDescription": {"text": rule.why},
        "help": {"text": rule.remedy},
        "defaultConfiguration": {"level": rule.severity.value},
    }


def _result(finding: Finding, root: Path) -> dict[str, Any]:
    place: dict[str, Any] = {
        "artifactLocation": {"uri": quote((root / finding.place.path).as_posix())}
    }
    if finding.place.line is not None:
        place["region"] = {"startLine": finding.place.line}
    return {
        "ruleId": finding.rule.code,
        "ruleIndex": RULES.index(finding.rule),
        "level": finding.rule.severity.value,
        "message": {"text": f"{finding.problem.what}; {finding.rule.remedy}"},
        "locations": [{"physicalLocation": place}],
    }


def _annotation(finding: Finding, root: Path) -> str:
    rule, place = finding.rule, finding.place
    fields = {
        "file": (root / place.path).as_posix(),
        "line": place.line,
        "title": f"{rule.code} {rule.name}",
    }
    said = ",".join(
        f"{key}={_escaped(str(value), ',:')}" for key, value in fields.items() if value is not None
    )
    return f"::{rule.severity} {said}::{_escaped(f'{finding.problem.what}; {rule.remedy}')}"


def _escaped(text: str, more: str = "") -> str:
    """As GitHub wants it; `%` first, for it stands in what the others become."""
    for sign in ("%", "\r", "\n", *more):
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text
