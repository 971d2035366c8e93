"""All rules over a repository."""

from collections.abc import Iterable

from generator.lint.finding import Finding, Rule
from generator.lint.repository import Repository
from generator.lint.rules import RULES


def lint(repository: Repository, rules: Iterable[Rule] = RULES) -> list[Finding]:
    """What the rules find, by place."""
    # Two configs of a model may have the same thing to complain about.
    found = {finding for rule in rules for finding in rule.findings(repository)}
    return sorted(found, key=_order)


def _order(finding: Finding) -> tuple[str, int, str, str]:
    place = finding.place
    return place.path, place.line or 0, finding.rule.code, finding.problem.what
